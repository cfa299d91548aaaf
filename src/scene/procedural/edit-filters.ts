/**
 * Global edits as exact pixel functions: rgb [3, H, W] in [0, 1] -> the same shape. They serve procedural views and
 * photographs alike. Arithmetic is + - * / in double precision, stored as float32.
 */
import { ShapeError } from '../../binding/errors';
import { clamp } from './math';

export const globalEditNames = [
  'sepia', 'night', 'warm', 'cold', 'grayscale', 'invert', 'sketch', 'high-contrast', 'brighter',
] as const;
export type GlobalEditName = (typeof globalEditNames)[number];

type PixelMap = (r: number, g: number, b: number) => readonly [number, number, number];

/** Rec. 601 luma. */
const luma = (r: number, g: number, b: number): number => 0.299 * r + 0.587 * g + 0.114 * b;

/** Slope 1 at the ends of a mid-tone bump: x + k x (1 - x). */
const lift = (x: number, k: number): number => x + k * x * (1 - x);
const contrast = (x: number, gain: number): number => (x - 0.5) * gain + 0.5;

const pixelMaps: Readonly<Record<Exclude<GlobalEditName, 'sketch'>, PixelMap>> = {
  sepia: (r, g, b) => {
    const y = luma(r, g, b);
    return [y * 1.08 + 0.03, y * 0.86 + 0.01, y * 0.62];
  },
  night: (r, g, b) => {
    const y = luma(r, g, b);
    return [0.2 * r + 0.02 * y, 0.24 * g + 0.06 * y, 0.34 * b + 0.18 * y + 0.03];
  },
  warm: (r, g, b) => [lift(r, 0.25) * 1.06 + 0.03, g * 0.98 + 0.01, b * 0.7],
  cold: (r, g, b) => [r * 0.66, g * 0.96 + 0.02, lift(b, 0.3) * 1.04 + 0.05],
  grayscale: (r, g, b) => {
    const y = luma(r, g, b);
    return [y, y, y];
  },
  invert: (r, g, b) => [1 - r, 1 - g, 1 - b],
  'high-contrast': (r, g, b) => [contrast(r, 1.6), contrast(g, 1.6), contrast(b, 1.6)],
  brighter: (r, g, b) => [lift(r, 0.85), lift(g, 0.85), lift(b, 0.85)],
};

/** Mean over a (2 radius + 1)^2 window, cut off at the borders. */
function boxBlur(image: Float32Array, width: number, height: number, radius: number): Float32Array {
  const pass = (from: Float32Array, along: number, across: number, stepAlong: number, stepAcross: number) => {
    const out = new Float32Array(from.length);
    for (let j = 0; j < across; j++) {
      for (let i = 0; i < along; i++) {
        let sum = 0;
        const low = Math.max(0, i - radius);
        const high = Math.min(along - 1, i + radius);
        for (let k = low; k <= high; k++) sum += from[j * stepAcross + k * stepAlong];
        out[j * stepAcross + i * stepAlong] = sum / (high - low + 1);
      }
    }
    return out;
  };
  return pass(pass(image, width, height, 1, width), height, width, width, 1);
}

/**
 * Pencil drawing: grey tone divided by its blurred self (a dodge blend: flat areas become paper, the dark side of an
 * edge a line), over a faint tone of the picture. The blur grows with the picture, one pixel per 64.
 */
function sketch(rgb: Float32Array, width: number, height: number): Float32Array {
  const plane = width * height;
  const grey = new Float32Array(plane);
  for (let i = 0; i < plane; i++) grey[i] = 0.08 + 0.92 * luma(rgb[i], rgb[plane + i], rgb[2 * plane + i]);
  const blurred = boxBlur(grey, width, height, Math.max(1, Math.round(Math.max(width, height) / 64)));
  const out = new Float32Array(3 * plane);
  for (let i = 0; i < plane; i++) {
    const line = clamp(1 - 2.6 * (1 - Math.min(1, grey[i] / blurred[i])), 0.05, 1);
    const tone = 0.66 + 0.3 * grey[i];
    out[i] = out[plane + i] = out[2 * plane + i] = clamp(line * tone, 0, 1);
  }
  return out;
}

/** Applies a global edit to one picture. Throws ShapeError when rgb is not [3, height, width]. */
export function applyGlobalEdit(name: GlobalEditName, rgb: Float32Array, width: number, height: number): Float32Array {
  const plane = width * height;
  if (rgb.length !== 3 * plane) {
    throw new ShapeError(`${name} edit: expected 3x${height}x${width} = ${3 * plane} values, got ${rgb.length}`);
  }
  if (name === 'sketch') return sketch(rgb, width, height);
  const map = pixelMaps[name];
  const out = new Float32Array(3 * plane);
  for (let i = 0; i < plane; i++) {
    const pixel = map(rgb[i], rgb[plane + i], rgb[2 * plane + i]);
    for (let c = 0; c < 3; c++) out[c * plane + i] = clamp(pixel[c], 0, 1);
  }
  return out;
}
