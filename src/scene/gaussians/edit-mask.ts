/** Where an edit changed pictures, and which Gaussians show it. */
import type { Camera } from '../cameras';
import type { Image } from '../image';
import { scope, unscoped } from '../../tensor/scope';
import { colourMap } from './colour-map';
import type { Gaussians } from './gaussians';
import { rasterize } from './rasterize';

/** Mean absolute change of a pixel's channels from which it counts as edited: above what an autoencoder alone changes. */
const changed = 0.08;
/** An edit of a larger share of the pixels is one of the whole picture. */
const globalShare = 0.6;
/** So is one that a single map of colours explains up to this share of its squares. */
const unexplained = 0.35;
/** Pixels by which an edit's edge is closed. */
const closing = 3;

/** [H, W] per view, 1 where the edit changed the picture; undefined for an edit of whole pictures. */
export function editMasks(before: readonly Image[], after: readonly Image[]): Float32Array[] | undefined {
  const masks = before.map((image, v) => changedPixels(image, after[v]));
  const share = masks.reduce((sum, mask) => sum + mask.reduce((s, x) => s + x, 0) / mask.length, 0) / masks.length;
  if (share > globalShare || (share > 0 && isColourMap(before, after))) return undefined;
  return masks.map((mask, v) => closed(mask, before[v].width, before[v].height));
}

/** Whether one map of colours makes the edited pictures of the others: a mild one changes few pixels by much. */
export function isColourMap(before: readonly Image[], after: readonly Image[]): boolean {
  const map = colourMap(before, after);
  let [left, all] = [0, 0];
  before.forEach((image, v) => {
    const pixels = image.width * image.height;
    for (let i = 0; i < pixels; i++) {
      const rgb = [image.data[i], image.data[pixels + i], image.data[2 * pixels + i]];
      for (let c = 0; c < 3; c++) {
        const edited = after[v].data[c * pixels + i];
        const mapped = map[4 * c] * rgb[0] + map[4 * c + 1] * rgb[1] + map[4 * c + 2] * rgb[2] + map[4 * c + 3];
        left += (edited - mapped) ** 2;
        all += (edited - rgb[c]) ** 2;
      }
    }
  });
  return left < unexplained * all;
}

function changedPixels(a: Image, b: Image): Float32Array {
  const pixels = a.width * a.height;
  return Float32Array.from({ length: pixels }, (_, i) => {
    let sum = 0;
    for (let c = 0; c < 3; c++) sum += Math.abs(a.data[c * pixels + i] - b.data[c * pixels + i]);
    return sum / 3 > changed ? 1 : 0;
  });
}

/** Dilates and erodes again: gaps and holes narrower than twice the radius close. */
function closed(mask: Float32Array, width: number, height: number): Float32Array {
  return spread(spread(mask, width, height, closing, Math.max), width, height, closing, Math.min);
}

/** The largest (or smallest) value within a square of that radius. */
export function spread(
  mask: Float32Array, width: number, height: number, radius: number, pick: (a: number, b: number) => number,
): Float32Array {
  const along = (from: Float32Array, length: number, step: number, lines: number, stride: number): Float32Array => {
    const to = new Float32Array(from.length);
    for (let line = 0; line < lines; line++) {
      for (let i = 0; i < length; i++) {
        let value = from[line * stride + i * step];
        for (let k = Math.max(0, i - radius); k <= Math.min(length - 1, i + radius); k++) value = pick(value, from[line * stride + k * step]);
        to[line * stride + i * step] = value;
      }
    }
    return to;
  };
  return along(along(mask, width, 1, height, width), height, width, width, 1);
}

/**
 * Share of each Gaussian's visible weight that falls on edited pixels, [N]: Σ w·m / Σ w over the views, at pixels whose surface it is part
 * of (GaussianEditor 2023, weighted by the blend weight). 0 for Gaussians that no view sees.
 */
export async function liftMasks(gaussians: Gaussians, cameras: readonly Camera[], masks: readonly Float32Array[]): Promise<Float32Array> {
  const { device, count } = gaussians;
  const sums = new Float64Array(2 * count);
  for (const [v, camera] of cameras.entries()) {
    using rendering = await rasterize(gaussians, camera);
    const lifted = unscoped(() => scope(() => rendering.lift(device.tensor(masks[v], [camera.height, camera.width]))));
    (await lifted.toFloat32()).forEach((value, i) => (sums[i] += value));
    lifted.dispose();
  }
  return Float32Array.from({ length: count }, (_, i) => (sums[2 * i + 1] > 0 ? sums[2 * i] / sums[2 * i + 1] : 0));
}
