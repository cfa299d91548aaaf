/** A splat scene in host memory: what files hold and what a fit starts from and ends in. Parameters are before activation. */
import { ShapeError } from '../../binding/errors';

/** N Gaussians with spherical harmonics of one degree; K = (degree + 1)² coefficients. World axes are those of the cameras. */
export interface GaussianCloud {
  readonly count: number;
  /** 0 … 3. */
  readonly shDegree: number;
  /** [N, 3] centres. */
  readonly means: Float32Array;
  /** [N, 4] rotations (w, x, y, z), of any length but 0. */
  readonly quats: Float32Array;
  /** [N, 3] natural logarithms of the standard deviations. */
  readonly logScales: Float32Array;
  /** [N] logits of the opacities. */
  readonly opacityLogits: Float32Array;
  /** [N, 3] coefficients of Y₀, RGB: colour = ½ + Y₀ · sh0 where shRest is 0. */
  readonly sh0: Float32Array;
  /** [N, K − 1, 3] the other coefficients, coefficient outer, channel inner. */
  readonly shRest: Float32Array;
}

/** Zeroth spherical harmonic. */
export const SH_Y0 = 0.28209479177387814;
export const MAX_SH_DEGREE = 3;

/** Coefficients of a degree beyond the zeroth: 0, 3, 8, 15. */
export function restCoefficients(shDegree: number): number {
  return (shDegree + 1) ** 2 - 1;
}

/** An all-zero cloud of the given size, to be filled. */
export function createCloud(count: number, shDegree: number): GaussianCloud {
  if (!Number.isInteger(count) || count < 0) throw new ShapeError(`Gaussians: expected a count of 0 or more, got ${count}`);
  if (!Number.isInteger(shDegree) || shDegree < 0 || shDegree > MAX_SH_DEGREE) {
    throw new ShapeError(`Gaussians: expected a degree from 0 to ${MAX_SH_DEGREE}, got ${shDegree}`);
  }
  return {
    count,
    shDegree,
    means: new Float32Array(3 * count),
    quats: new Float32Array(4 * count),
    logScales: new Float32Array(3 * count),
    opacityLogits: new Float32Array(count),
    sh0: new Float32Array(3 * count),
    shRest: new Float32Array(3 * restCoefficients(shDegree) * count),
  };
}
