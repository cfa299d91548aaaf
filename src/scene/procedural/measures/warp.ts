/**
 * Multi-view error of pictures under the true depth and cameras: a pixel of one view is carried to another view, and the
 * two colours are compared where both views see the same surface.
 */
import { pixelCamera, type ProceduralCamera } from '../cameras';
import type { RenderSize, TracedViews } from '../render';
import type { EditTruth } from './truth';

/** Depths of one surface point may differ by this share before the point counts as hidden. */
const depthTolerance = 0.02;
/** A pixel carried to the other view and back must return to within this many pixels. */
const returnTolerance = 1;
/** Fewer mutually visible pixels than this over all pairs of a kind say nothing. */
const minPixels = 16;

/** Where the mutually visible pixels of view `to` lie in view `from`. Pixels of the edited region come first. */
export interface ViewWarp {
  readonly from: number;
  readonly to: number;
  readonly editedCount: number;
  /** Index y * W + x in view `to`. */
  readonly target: Int32Array;
  /** Index of the upper left of four neighbours in view `from`. */
  readonly corner: Int32Array;
  /** Bilinear weights: right and lower neighbours. */
  readonly right: Float32Array;
  readonly below: Float32Array;
}

/** Mean |colour difference| over channels and pixels, in [0, 1]; null below 16 pixels. */
export interface WarpErrorOf {
  readonly edited: number | null;
  readonly whole: number | null;
  readonly editedPixels: number;
  readonly wholePixels: number;
}

export interface WarpErrors {
  /** Over all ordered pairs of views. */
  readonly all: WarpErrorOf;
  /** Over pairs with the given view; empty without one. */
  readonly toAnchor: WarpErrorOf;
  /** Over pairs without the given view. */
  readonly amongViews: WarpErrorOf;
}

/** Camera-to-camera transform X_to = R X_from + t, row-major. */
function relative(from: ProceduralCamera, to: ProceduralCamera): { r: number[]; t: number[] } {
  const [a, b] = [from.worldToCam, to.worldToCam];
  const r = Array.from({ length: 9 }, (_, i) => {
    const [row, col] = [4 * Math.floor(i / 3), 4 * (i % 3)];
    return b[row] * a[col] + b[row + 1] * a[col + 1] + b[row + 2] * a[col + 2];
  });
  const t = [0, 1, 2].map(
    (i) => b[4 * i + 3] - (r[3 * i] * a[3] + r[3 * i + 1] * a[7] + r[3 * i + 2] * a[11]),
  );
  return { r, t };
}

function planWarp(
  cameras: readonly ProceduralCamera[],
  traced: Pick<TracedViews, 'depth' | 'ids'>,
  { width, height }: Pick<RenderSize, 'width' | 'height'>,
  region: number,
  from: number,
  to: number,
): ViewWarp {
  const pixels = width * height;
  const [a, b] = [cameras[from], cameras[to]];
  const [fxA, fyA, cxA, cyA] = pixelCamera(a, width, height);
  const [fxB, fyB, cxB, cyB] = pixelCamera(b, width, height);
  const forth = relative(b, a);
  const back = relative(a, b);
  const idsA = traced.ids.subarray(from * pixels, (from + 1) * pixels);
  const idsB = traced.ids.subarray(to * pixels, (to + 1) * pixels);
  const depthA = traced.depth.subarray(from * pixels, (from + 1) * pixels);
  const depthB = traced.depth.subarray(to * pixels, (to + 1) * pixels);
  const found: { target: number; corner: number; right: number; below: number }[] = [];
  for (let i = 0; i < pixels; i++) {
    const id = idsB[i];
    // The sky is at infinity: only the rotation carries it.
    const [z, translate] = id === 0 ? [1, 0] : [depthB[i], 1];
    const x = (((i % width) + 0.5 - cxB) / fxB) * z;
    const y = ((Math.floor(i / width) + 0.5 - cyB) / fyB) * z;
    const { r, t } = forth;
    const zA = r[6] * x + r[7] * y + r[8] * z + translate * t[2];
    if (zA <= 0) continue;
    const u = cxA + (fxA * (r[0] * x + r[1] * y + r[2] * z + translate * t[0])) / zA - 0.5;
    const v = cyA + (fyA * (r[3] * x + r[4] * y + r[5] * z + translate * t[1])) / zA - 0.5;
    if (!(u >= 0 && v >= 0 && u < width - 1 && v < height - 1)) continue;
    const corner = Math.floor(v) * width + Math.floor(u);
    // Four neighbours of one instance: the outline of an object is a mixture in both views.
    if (idsA[corner] !== id || idsA[corner + 1] !== id) continue;
    if (idsA[corner + width] !== id || idsA[corner + width + 1] !== id) continue;
    const [right, below] = [u - Math.floor(u), v - Math.floor(v)];
    if (id !== 0) {
      // The inverse depth of a plane is linear in the picture.
      const upper = (1 - right) / depthA[corner] + right / depthA[corner + 1];
      const lower = (1 - right) / depthA[corner + width] + right / depthA[corner + width + 1];
      const seen = 1 / ((1 - below) * upper + below * lower);
      if (Math.abs(seen - zA) > depthTolerance * zA) continue;
      const xA = ((u + 0.5 - cxA) / fxA) * seen;
      const yA = ((v + 0.5 - cyA) / fyA) * seen;
      const m = back.r;
      const zB = m[6] * xA + m[7] * yA + m[8] * seen + back.t[2];
      const dx = (fxB * (m[0] * xA + m[1] * yA + m[2] * seen + back.t[0])) / zB + cxB - 0.5 - (i % width);
      const dy = (fyB * (m[3] * xA + m[4] * yA + m[5] * seen + back.t[1])) / zB + cyB - 0.5 - Math.floor(i / width);
      if (dx * dx + dy * dy > returnTolerance * returnTolerance) continue;
    }
    found.push({ target: i, corner, right, below });
  }
  const edited = found.filter(({ target }) => idsB[target] === region);
  const sorted = [...edited, ...found.filter(({ target }) => idsB[target] !== region)];
  return {
    from,
    to,
    editedCount: edited.length,
    target: Int32Array.from(sorted, ({ target }) => target),
    corner: Int32Array.from(sorted, ({ corner }) => corner),
    right: Float32Array.from(sorted, ({ right }) => right),
    below: Float32Array.from(sorted, ({ below }) => below),
  };
}

/**
 * Warps between all ordered pairs of views, `region` the instance id of the edited region. A pixel takes part when all
 * four neighbours of its place in the other view show the same instance, their depth agrees with its own within 2 %, and
 * the way back ends within a pixel of it (forward-backward test); the sky is carried by the rotation alone.
 */
export function planWarps(
  cameras: readonly ProceduralCamera[],
  traced: Pick<TracedViews, 'depth' | 'ids'>,
  size: Pick<RenderSize, 'width' | 'height'>,
  region: number,
): ViewWarp[] {
  return cameras.flatMap((_, from) =>
    cameras.flatMap((_, to) => (from === to ? [] : [planWarp(cameras, traced, size, region, from, to)])),
  );
}

/** Sum of mean |colour difference| over the warp's entries [begin, end). */
function sumDifference(
  warp: ViewWarp, from: Float32Array, to: Float32Array, width: number, begin: number, end: number,
): number {
  const { target, corner, right, below } = warp;
  const plane = to.length / 3;
  let sum = 0;
  for (let k = begin; k < end; k++) {
    const [r, b] = [right[k], below[k]];
    let at = corner[k];
    let t = target[k];
    for (let c = 0; c < 3; c++, at += plane, t += plane) {
      const upper = from[at] + r * (from[at + 1] - from[at]);
      const lower = from[at + width] + r * (from[at + width + 1] - from[at + width]);
      sum += Math.abs(upper + b * (lower - upper) - to[t]);
    }
  }
  return sum / 3;
}

class WarpSum {
  private edited_ = 0;
  private rest_ = 0;
  private editedPixels_ = 0;
  private restPixels_ = 0;

  add(edited: number, editedPixels: number, rest = 0, restPixels = 0): void {
    this.edited_ += edited;
    this.editedPixels_ += editedPixels;
    this.rest_ += rest;
    this.restPixels_ += restPixels;
  }

  result(): WarpErrorOf {
    const wholePixels = this.editedPixels_ + this.restPixels_;
    return {
      edited: this.editedPixels_ < minPixels ? null : this.edited_ / this.editedPixels_,
      whole: wholePixels < minPixels ? null : (this.edited_ + this.rest_) / wholePixels,
      editedPixels: this.editedPixels_,
      wholePixels,
    };
  }
}

/**
 * Warp error (1/N) sum |warp(I_from) - I_to| over channels and mutually visible pixels of the ordered pairs of views,
 * pooled over pixels. pictures: V of [3, H, W]; anchor: index of the given view, or null.
 */
export function warpError(truth: EditTruth, pictures: readonly Float32Array[], anchor: number | null): WarpErrors {
  const toAnchor = new WarpSum();
  const amongViews = new WarpSum();
  const all = new WarpSum();
  for (const warp of truth.warps) {
    const { from, to, editedCount, target } = warp;
    const edited = sumDifference(warp, pictures[from], pictures[to], truth.width, 0, editedCount);
    const rest = sumDifference(warp, pictures[from], pictures[to], truth.width, editedCount, target.length);
    for (const sum of [all, from === anchor || to === anchor ? toAnchor : amongViews]) {
      sum.add(edited, editedCount, rest, target.length - editedCount);
    }
  }
  return { all: all.result(), toAnchor: toAnchor.result(), amongViews: amongViews.result() };
}

/** `warpError(...).all.edited` alone. */
export function editedWarpError(truth: EditTruth, pictures: readonly Float32Array[]): number | null {
  const sum = new WarpSum();
  for (const warp of truth.warps) {
    sum.add(sumDifference(warp, pictures[warp.from], pictures[warp.to], truth.width, 0, warp.editedCount), warp.editedCount);
  }
  return sum.result().edited;
}
