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
  const { min, max } = Math;
  const horizontal = tapsFor(image.width, width, filter);
  const vertical = tapsFor(image.height, height, filter);
  const rows = new Float32Array(image.height * width);
  const out = createImage(width, height);
  for (let c = 0; c < 3; c++) {
    for (let y = 0; y < image.height; y++) {
      const source = (c * image.height + y) * image.width;
      for (let x = 0; x < width; x++) {
        let sum = 0;
        const at = source + horizontal.first[x];
        for (let k = 0, w = x * horizontal.count; k < horizontal.count; k++) {
          sum += image.data[at + k] * horizontal.weights[w + k];
        }
        rows[y * width + x] = sum;
      }
    }
    const line = new Float64Array(width);
    for (let y = 0; y < height; y++) {
      line.fill(0);
      for (let k = 0; k < vertical.count; k++) {
        const w = vertical.weights[y * vertical.count + k];
        const at = (vertical.first[y] + k) * width;
        for (let x = 0; x < width; x++) line[x] += w * rows[at + x];
      }
      const target = (c * height + y) * width;
      for (let x = 0; x < width; x++) out.data[target + x] = min(max(line[x], 0), 1);
    }
  }
  return out;
}
