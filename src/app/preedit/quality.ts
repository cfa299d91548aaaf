/** A light filter for single-view edits: what is plainly no edit is marked, so that training does not follow it. */
import type { Image } from '../../scene';

export const flaws = ['not finite', 'flat', 'unchanged', 'blurred'] as const;
export type Flaw = (typeof flaws)[number];

/** Pixels lie in [0, 1]. */
export interface Quality {
  /** Mean absolute change of pixels. */
  strength: number;
  /** Mean gradient of the brightness, as a share of that of the unedited view. */
  sharpness: number;
  /** Standard deviation of the brightness. */
  contrast: number;
}

export interface QualityLimits {
  minStrength: number;
  minSharpness: number;
  minContrast: number;
}

/** Compares an edit with its view; both of one size. */
export function measureQuality(before: Image, after: Image): Quality {
  let change = 0;
  for (let i = 0; i < after.data.length; i++) change += Math.abs(after.data[i] - before.data[i]);
  const [from, to] = [brightness(before), brightness(after)];
  const gradient = meanGradient(from, before.width);
  return {
    strength: change / after.data.length,
    // A view without any detail cannot lose any.
    sharpness: gradient > 0 ? meanGradient(to, after.width) / gradient : 1,
    contrast: deviation(to),
  };
}

/** What is wrong with an edit, worst first; empty for a usable one. */
export function flawsOf(
  { strength, sharpness, contrast }: Quality,
  { minStrength, minSharpness, minContrast }: QualityLimits,
): Flaw[] {
  if (![strength, sharpness, contrast].every(Number.isFinite)) return ['not finite'];
  const found: Flaw[] = [];
  if (contrast < minContrast) found.push('flat');
  if (strength < minStrength) found.push('unchanged');
  if (sharpness < minSharpness) found.push('blurred');
  return found;
}

export function isFinitePicture({ data }: Image): boolean {
  return data.every(Number.isFinite);
}

/** Rec. 601 luma, [height, width]. */
function brightness({ data, width, height }: Image): Float32Array {
  const plane = width * height;
  return Float32Array.from(
    { length: plane },
    (_, i) => 0.299 * data[i] + 0.587 * data[plane + i] + 0.114 * data[2 * plane + i],
  );
}

/** Mean of |∂x| and |∂y| over neighbouring pixels. */
function meanGradient(luma: Float32Array, width: number): number {
  let sum = 0;
  let count = 0;
  for (let i = 0; i < luma.length; i++) {
    if (i % width < width - 1) {
      sum += Math.abs(luma[i + 1] - luma[i]);
      count += 1;
    }
    if (i + width < luma.length) {
      sum += Math.abs(luma[i + width] - luma[i]);
      count += 1;
    }
  }
  return count > 0 ? sum / count : 0;
}

function deviation(values: Float32Array): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}
