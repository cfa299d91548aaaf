/**
 * Separable image resize in float32 with one definition: output pixel i samples the input at (i + 0.5)·in/out; when
 * shrinking, the filter is widened by the factor (antialiased, as Pillow does); weights are normalised to sum 1 and cut
 * at the border.
 */
import { ShapeError } from '../binding/errors';
import { createImage, Image } from './image';

export type ResizeFilter = 'lanczos' | 'bicubic' | 'bilinear' | 'box';

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

const filters: Record<ResizeFilter, { support: number; weight: (x: number) => number }> = {
  lanczos: { support: 3, weight: (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0) },
  // Keys' cubic with a = -0.5.
  bicubic: {
    support: 2,
    weight: (x) => {
      const t = Math.abs(x);
      if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
      return t < 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0;
    },
  },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
};

interface Taps {
  readonly first: Int32Array;
  readonly count: number;
  /** [out, count] */
  readonly weights: Float64Array;
}

/** Taps of the last few sizes: the views of a run share theirs. */
const known = new Map<string, Taps>();
const mostKnown = 32;

function tapsOf(from: number, to: number, filter: ResizeFilter): Taps {
  const key = `${filter} ${from} ${to}`;
  let taps = known.get(key);
  if (!taps) {
    if (known.size >= mostKnown) known.clear();
    taps = tapsFor(from, to, filter);
    known.set(key, taps);
  }
  return taps;
}

function tapsFor(from: number, to: number, filter: ResizeFilter): Taps {
  const { support, weight } = filters[filter];
  const ratio = from / to;
  const stretch = Math.max(ratio, 1);
  const reach = support * stretch;
  const count = Math.min(from, Math.ceil(reach) * 2 + 1);
  const first = new Int32Array(to);
  const weights = new Float64Array(to * count);
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * ratio;
    const start = Math.min(Math.max(Math.floor(centre - reach), 0), from - count);
    first[i] = start;
    let sum = 0;
    for (let k = 0; k < count; k++) {
      const w = weight((start + k + 0.5 - centre) / stretch);
      weights[i * count + k] = w;
      sum += w;
    }
    for (let k = 0; k < count; k++) weights[i * count + k] /= sum;
  }
  return { first, count, weights };
}

/**
 * Resizes to width x height; the result is clamped to [0, 1] because Lanczos and bicubic overshoot at edges. The same
 * size returns the image itself.
 */
export function resizeImage(image: Image, width: number, height: number, filter: ResizeFilter = 'lanczos'): Image {
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    throw new ShapeError(`resize: expected a whole positive size, got ${width}x${height}`);
  }
  if (width === image.width && height === image.height) return image;
  const horizontal = tapsOf(image.width, width, filter);
  const vertical = tapsOf(image.height, height, filter);
  const rows = new Float32Array(image.height * width);
  const line = new Float64Array(width);
  const out = createImage(width, height);
  for (let c = 0; c < 3; c++) {
    shrinkRows(image.data, c * image.height * image.width, image.width, image.height, horizontal, rows);
    shrinkColumns(rows, width, vertical, line, out.data, c * height * width);
  }
  return out;
}

/** rows[y, x] = Σ_k weight[x, k] · source[y, first[x] + k]. Views are resized by the thousand: plain locals keep this loop fast. */
function shrinkRows(source: Float32Array, from: number, width: number, height: number, { first, count, weights }: Taps, rows: Float32Array): void {
  const columns = first.length;
  for (let y = 0; y < height; y++) {
    const start = from + y * width;
    for (let x = 0; x < columns; x++) {
      const at = start + first[x];
      const w = x * count;
      let sum = 0;
      for (let k = 0; k < count; k++) sum += source[at + k] * weights[w + k];
      rows[y * columns + x] = sum;
    }
  }
}

/** The same down the columns, cut to [0, 1]. */
function shrinkColumns(rows: Float32Array, width: number, { first, count, weights }: Taps, line: Float64Array, out: Float32Array, to: number): void {
  for (let y = 0; y < first.length; y++) {
    line.fill(0);
    for (let k = 0; k < count; k++) {
      const w = weights[y * count + k];
      const at = (first[y] + k) * width;
      for (let x = 0; x < width; x++) line[x] += w * rows[at + x];
    }
    const target = to + y * width;
    for (let x = 0; x < width; x++) out[target + x] = Math.min(Math.max(line[x], 0), 1);
  }
}
