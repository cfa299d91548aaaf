import { ShapeError } from '../../binding/errors';
import type { Tensor } from '../tensor';
import { callMany } from './call';

export interface PoseErrors {
  /** [P] angle of the relative rotation error, degrees. */
  rotationDeg: Tensor;
  /** [P] angle between the relative translation directions, degrees. */
  translationDeg: Tensor;
}

/**
 * Errors of the relative poses T_j T_i⁻¹ of the pairs (i, j): estimate and reference [V, 3, 4] f32 camera-from-world, pairs
 * i32 [P, 2]. The translation angle lies in [0°, 180°]; with `ignoreSign` it is min(a, 180° - a), as in VGGT's evaluation.
 * Degenerate baselines are described in native/ops/geom/pose_error.h. No gradient.
 */
export function poseError(estimate: Tensor, reference: Tensor, pairs: Tensor, { ignoreSign = false } = {}): PoseErrors {
  const [rotationDeg, translationDeg] = callMany('pose_error', estimate, reference, pairs, ignoreSign);
  return { rotationDeg: rotationDeg!, translationDeg: translationDeg! };
}

/** All pairs i < j of `views` views, flat [P, 2], for poseError. */
export function allPairs(views: number): Int32Array {
  const pairs: number[] = [];
  for (let i = 0; i < views; i++) for (let j = i + 1; j < views; j++) pairs.push(i, j);
  return Int32Array.from(pairs);
}

/**
 * Camera-from-world [R|t] (12 numbers, 3x4 row-major) from a pose encoding [t, q, …] with the quaternion scalar-last (x, y, z, w)
 * and of any length but 0. Computed in f64.
 */
export function poseToExtrinsics(encoding: ArrayLike<number>): number[] {
  if (encoding.length < 7) throw new ShapeError(`poseToExtrinsics: expected at least 7 numbers [t, q], got ${encoding.length}`);
  const [tx, ty, tz, x, y, z, w] = Array.from(encoding);
  const s = 2 / (x * x + y * y + z * z + w * w);
  return [
    1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w), tx,
    s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w), ty,
    s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y), tz,
  ];
}

export interface RaycastResult {
  /** [V, 3, H, W] in [0, 1]. */
  rgb: Tensor;
  /** [V, H, W] z-depth. */
  depth: Tensor;
  /** i32 [V, H, W]: 0 sky, i + 1 for primitive i. */
  ids: Tensor;
}

/**
 * Pictures of a packed procedural scene (layout in native/ops/geom/raycast.h): scene f32 [n], cameras f32 [V, 16]
 * (fx, fy, cx, cy, worldToCam 3x4), 1, 4 or 16 samples per pixel. CPU devices only: DeviceError elsewhere.
 */
export function raycast(scene: Tensor, cameras: Tensor, width: number, height: number, samplesPerPixel = 4): RaycastResult {
  const [rgb, depth, ids] = callMany('raycast', scene, cameras, width, height, samplesPerPixel);
  return { rgb: rgb!, depth: depth!, ids: ids! };
}
