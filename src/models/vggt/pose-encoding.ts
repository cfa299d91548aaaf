/**
 * The pose encoding "absT_quaR_FoV": translation (3), quaternion (x, y, z, w), vertical and horizontal field of view in radians.
 * Rotation and translation are camera-from-world, OpenCV axes; the translation is not the camera centre. Computed in float64.
 */
import { ShapeError } from '../../binding/errors';
import { poseToExtrinsics } from '../../tensor/ops';
import { poseEncodingSize } from './camera-head';

/** A decoded camera. */
export interface DecodedCamera {
  /** 3x4 row-major, camera-from-world. */
  extrinsics: number[];
  /** 3x3 row-major, in pixels of the network's input; the principal point is its centre. Infinite for a field of view of 0. */
  intrinsics: number[];
}

/** Cameras of pose encodings [S, 9] for images of height × width pixels. A zero quaternion gives NaN. @throws ShapeError */
export function decodePoses(encodings: ArrayLike<number>, height: number, width: number): DecodedCamera[] {
  if (encodings.length % poseEncodingSize !== 0) {
    throw new ShapeError(`decodePoses: expected [S, ${poseEncodingSize}], got ${encodings.length} numbers`);
  }
  const numbers = Array.from(encodings);
  return Array.from({ length: numbers.length / poseEncodingSize }, (_, view) => {
    const one = numbers.slice(view * poseEncodingSize, (view + 1) * poseEncodingSize);
    const fy = height / 2 / Math.tan(one[7] / 2);
    const fx = width / 2 / Math.tan(one[8] / 2);
    return { extrinsics: poseToExtrinsics(one), intrinsics: [fx, 0, width / 2, 0, fy, height / 2, 0, 0, 1] };
  });
}

/** Encoding of one camera: `extrinsics` 3x4 row-major camera-from-world, focal lengths in pixels of a height × width image. */
export function encodePose(extrinsics: ArrayLike<number>, fx: number, fy: number, height: number, width: number): number[] {
  const m = extrinsics;
  const q = quaternion([m[0], m[1], m[2], m[4], m[5], m[6], m[8], m[9], m[10]]);
  return [m[3], m[7], m[11], ...q, 2 * Math.atan(height / 2 / fy), 2 * Math.atan(width / 2 / fx)];
}

/** Unit quaternion (x, y, z, w) with w >= 0 of a rotation matrix, by the largest of its four possible divisors. */
export function quaternion(r: readonly number[]): number[] {
  const [xx, yy, zz] = [r[0], r[4], r[8]];
  // Squares of 2w, 2x, 2y, 2z.
  const squares = [1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz];
  const best = squares.indexOf(Math.max(...squares));
  const d = Math.sqrt(squares[best]);
  const [wx, wy, wz] = [r[7] - r[5], r[2] - r[6], r[3] - r[1]];
  const [xy, xz, yz] = [r[1] + r[3], r[2] + r[6], r[5] + r[7]];
  // Each row is 2d · (x, y, z, w).
  const candidates = [
    [wx, wy, wz, squares[0]],
    [squares[1], xy, xz, wx],
    [xy, squares[2], yz, wy],
    [xz, yz, squares[3], wz],
  ];
  const sign = candidates[best][3] < 0 ? -1 : 1;
  return candidates[best].map((value) => (sign * value) / (2 * d));
}
