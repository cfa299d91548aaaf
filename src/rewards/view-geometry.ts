/** Rays and projections of the given cameras, float64. Cameras as in `ViewCamera`: OpenCV axes, pixel centres at +0.5. */
import { add, dot, scale, solveSymmetric3, sub, unit, type Vec3 } from '../scene/vec3';
import type { ViewCamera } from './term';

export interface Projection {
  u: number;
  v: number;
  /** Camera depth: not positive behind the camera, where u and v mean nothing. */
  z: number;
}

export function project({ fx, fy, cx, cy, worldToCam: m }: ViewCamera, p: Vec3): Projection {
  const row = (i: number): number => m[4 * i] * p[0] + m[4 * i + 1] * p[1] + m[4 * i + 2] * p[2] + m[4 * i + 3];
  const z = row(2);
  return { u: (fx * row(0)) / z + cx, v: (fy * row(1)) / z + cy, z };
}

/** World point of a pixel position at a camera depth. */
export function unproject(camera: ViewCamera, u: number, v: number, z: number): Vec3 {
  const { fx, fy, cx, cy, worldToCam: m } = camera;
  const p = [((u - cx) / fx) * z - m[3], ((v - cy) / fy) * z - m[7], z - m[11]];
  const axis = (j: number): number => m[j] * p[0] + m[4 + j] * p[1] + m[8 + j] * p[2];
  return [axis(0), axis(1), axis(2)];
}

/** Centre −Rᵀt of a camera-from-world matrix. */
export function centreOf(m: ArrayLike<number>): Vec3 {
  const axis = (j: number): number => -(m[j] * m[3] + m[4 + j] * m[7] + m[8 + j] * m[11]);
  return [axis(0), axis(1), axis(2)];
}

/**
 * The world point nearest to the rays through the given pixel positions (least squares), undefined when the rays are parallel to
 * within a thousandth of a radian.
 */
export function triangulate(rays: readonly { camera: ViewCamera; u: number; v: number }[]): Vec3 | undefined {
  const a = new Array<number>(9).fill(0);
  let b: Vec3 = [0, 0, 0];
  let widest = 1;
  const directions: Vec3[] = [];
  for (const { camera, u, v } of rays) {
    const centre = centreOf(camera.worldToCam);
    const d = unit(sub(unproject(camera, u, v, 1), centre));
    for (const other of directions) widest = Math.min(widest, Math.abs(dot(d, other)));
    directions.push(d);
    for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++) a[3 * i + j] += (i === j ? 1 : 0) - d[i] * d[j];
    b = add(b, sub(centre, scale(d, dot(d, centre))));
  }
  return widest > 1 - 5e-7 ? undefined : solveSymmetric3(a, b);
}

/**
 * Distance in pixels of (u, v) in `to` from the image of the ray through (u0, v0) of `from`, by two points of that ray at the depths
 * `near` and `far`; undefined when one of them lies behind `to`.
 */
export function epipolarDistance(
  from: ViewCamera, to: ViewCamera, [u0, v0]: readonly [number, number], [near, far]: readonly [number, number],
): ((u: number, v: number) => number) | undefined {
  const [a, b] = [near, far].map((z) => project(to, unproject(from, u0, v0, z)));
  if (!(a.z > 0 && b.z > 0)) return undefined;
  const [dx, dy] = [b.u - a.u, b.v - a.v];
  const length = Math.hypot(dx, dy);
  if (length < 1e-9) return (u, v) => Math.hypot(u - a.u, v - a.v);
  return (u, v) => Math.abs((u - a.u) * dy - (v - a.v) * dx) / length;
}

/**
 * Scale from the estimated cameras' world to the given cameras': the ratio of the spreads (root mean square distance from the mean) of
 * the camera centres, Horn's symmetric similarity scale, which needs no rotation. NaN where the estimate has no spread.
 */
export function centreScale(estimate: readonly ArrayLike<number>[], given: readonly ArrayLike<number>[]): number {
  const spread = (cameras: readonly ArrayLike<number>[]): number => {
    const centres = cameras.map(centreOf);
    const middle = scale(centres.reduce(add, [0, 0, 0]), 1 / centres.length);
    return Math.sqrt(centres.reduce((sum, c) => sum + dot(sub(c, middle), sub(c, middle)), 0));
  };
  const [from, to] = [spread(estimate), spread(given)];
  return from > 0 && Number.isFinite(from) ? to / from : NaN;
}

/** Bilinear value of a plane [height, width] at offset `at`, at pixel position (u, v); the border is repeated beyond. */
export function sampleAt(plane: ArrayLike<number>, at: number, width: number, height: number, u: number, v: number): number {
  const x = Math.min(Math.max(u - 0.5, 0), width - 1);
  const y = Math.min(Math.max(v - 0.5, 0), height - 1);
  const [x0, y0] = [Math.floor(x), Math.floor(y)];
  const [x1, y1] = [Math.min(x0 + 1, width - 1), Math.min(y0 + 1, height - 1)];
  const [fx, fy] = [x - x0, y - y0];
  const top = plane[at + y0 * width + x0] * (1 - fx) + plane[at + y0 * width + x1] * fx;
  const bottom = plane[at + y1 * width + x0] * (1 - fx) + plane[at + y1 * width + x1] * fx;
  return top * (1 - fy) + bottom * fy;
}
