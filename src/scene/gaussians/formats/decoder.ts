/** What the readers of splat files share: how they ask for bytes, what they return, and the checks every splat passes. */
import { SceneError } from '../../../binding/errors';
import { createCloud, restCoefficients, type GaussianCloud } from '../cloud';

export const maxSplats = 50_000_000;
export const maxFileBytes = 2 ** 32;

/** A logit this far from 0 stands for an opacity of exactly 0 or 1: the sigmoid still differs from 0 and 1 in f32. */
export const extremeLogit = 15;

/** Quaternions outside these lengths overflow or vanish when their squares are summed in f32. */
const shortestQuaternion = 1e-12;
const longestQuaternion = 1e12;

export interface DecodedSplats {
  readonly cloud: GaussianCloud;
  /** 'ply', 'compressed-ply', 'spz v2' … 'spz v4' or 'splat'. */
  readonly format: string;
  /** What the file holds and the cloud does not, in words for the user. */
  readonly warnings: readonly string[];
}

/** Bytes at … at + length of the file; both lie inside it. */
export interface ByteRange {
  readonly at: number;
  readonly length: number;
}

/**
 * A reader asks for byte ranges and is sent them, so the same code reads a buffer at once and a file in pieces. A piece is
 * valid until the next one is asked for.
 */
export type Decoder<T = DecodedSplats> = Generator<ByteRange, T, Uint8Array>;

/** Runs a decoder over bytes in memory. */
export function decodeBytes<T>(decoder: Decoder<T>, bytes: Uint8Array): T {
  let step = decoder.next();
  while (!step.done) {
    const { at, length } = step.value;
    step = decoder.next(bytes.subarray(at, at + length));
  }
  return step.value;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Bytes a cloud takes in memory. */
export function cloudBytes(count: number, shDegree: number): number {
  return 4 * count * (14 + 3 * restCoefficients(shDegree));
}

/**
 * A cloud for `count` splats of a file; call it only after `count` was held against the bytes present.
 * @throws SceneError over the limit of splats, or when the memory cannot be had
 */
export function allocateCloud(count: number, shDegree: number, name: string): GaussianCloud {
  if (count > maxSplats) throw new SceneError(`${name}: ${count} splats is over the limit of ${maxSplats}`);
  try {
    return createCloud(count, shDegree);
  } catch (error) {
    const gigabytes = (cloudBytes(count, shDegree) / 2 ** 30).toFixed(1);
    throw new SceneError(
      `${name}: ${count} splats of degree ${shDegree} need ${gigabytes} GiB of memory, more than can be had; ` +
        'decimate the scene or drop its harmonics',
      { cause: error },
    );
  }
}

/** Opacity held in 8 bits → logit. The ends of the range decode to the middle of the half step that rounds to them. */
export function logitOfByte(byte: number): number {
  const opacity = Math.min(Math.max(byte, 0.25), 254.75) / 255;
  return Math.log(opacity / (1 - opacity));
}

/**
 * Checks splats `first` … `last` − 1.
 * @returns how many opacities were ±∞ and have been brought to ±`extremeLogit` (none with `clampOpacity` false)
 * @throws SceneError naming the splat and the property for a number that is not finite or a quaternion without direction
 */
export function checkSplats(
  cloud: GaussianCloud,
  first: number,
  last: number,
  name: string,
  clampOpacity = true,
): number {
  requireFinite(cloud.means, 3, first, last, name, (k) => 'xyz'[k]);
  requireFinite(cloud.logScales, 3, first, last, name, (k) => `scale_${k}`);
  requireFinite(cloud.quats, 4, first, last, name, (k) => `rot_${k}`);
  for (let i = first; i < last; i++) {
    const q = 4 * i;
    const length = Math.sqrt(
      cloud.quats[q] ** 2 + cloud.quats[q + 1] ** 2 + cloud.quats[q + 2] ** 2 + cloud.quats[q + 3] ** 2,
    );
    if (!(length >= shortestQuaternion && length <= longestQuaternion)) {
      throw new SceneError(
        `${name}: splat ${i} has a rotation (rot_0 … rot_3) of length ${length}, ` +
          `expected ${shortestQuaternion} … ${longestQuaternion}`,
      );
    }
  }
  let clamped = 0;
  const { opacityLogits } = cloud;
  for (let i = first; i < last; i++) {
    const logit = opacityLogits[i];
    if (Number.isFinite(logit)) continue;
    if (Number.isNaN(logit) || !clampOpacity) {
      throw new SceneError(`${name}: splat ${i} has opacity = ${logit}, expected a number`);
    }
    opacityLogits[i] = logit > 0 ? extremeLogit : -extremeLogit;
    clamped++;
  }
  requireFinite(cloud.sh0, 3, first, last, name, (k) => `f_dc_${k}`);
  const rest = restCoefficients(cloud.shDegree);
  // Files name the coefficients channel by channel; the cloud keeps the channels of one coefficient together.
  requireFinite(cloud.shRest, 3 * rest, first, last, name, (k) => `f_rest_${(k % 3) * rest + Math.floor(k / 3)}`);
  return clamped;
}

function requireFinite(
  values: Float32Array,
  width: number,
  first: number,
  last: number,
  name: string,
  property: (index: number) => string,
): void {
  for (let at = first * width; at < last * width; at++) {
    if (!Number.isFinite(values[at])) {
      throw new SceneError(
        `${name}: splat ${Math.floor(at / width)} has ${property(at % width)} = ${values[at]}, expected a finite number`,
      );
    }
  }
}

/** The sentence for opacities that were brought to a finite logit. */
export function clampedOpacityWarning(clamped: number): string[] {
  if (clamped === 0) return [];
  return [`${clamped} splats had an infinite opacity logit; brought to ±${extremeLogit}`];
}

export const antialiasedWarning =
  'the splats were trained with antialiasing (mip); rendered without it, small ones look thicker';
