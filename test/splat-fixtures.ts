/** A small made-up splat scene, cameras around it, and its file. */
import type { Camera } from '../src/scene';
import { createCloud } from '../src/scene/gaussians/cloud';
import type { GaussianCloud } from '../src/scene/gaussians/cloud';

/** Marsaglia's xorshift: numbers in [0, 1). */
function generator(seed: number): () => number {
  let state = (seed * 2654435761) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
}

/** Gaussians of all shapes and colours in a cube of side 2 about the origin; the colours depend on the direction. */
export function randomCloud(seed: number, count: number): GaussianCloud {
  const cloud = createCloud(count, 1);
  const next = generator(seed);
  const fill = (values: Float32Array, low: number, high: number): void => values.forEach((_, i) => (values[i] = low + (high - low) * next()));
  fill(cloud.means, -1, 1);
  fill(cloud.quats, -1, 1);
  fill(cloud.logScales, -4, -1.6);
  fill(cloud.opacityLogits, -1, 3);
  fill(cloud.sh0, -1.4, 1.4);
  fill(cloud.shRest, -0.3, 0.3);
  return cloud;
}

/** Three cameras about the cube: straight, from the side with an off-centre principal point, and from above and rolled. */
export function testCameras(): Camera[] {
  const lens = { width: 96, height: 72, fx: 90, fy: 90, cx: 48, cy: 36 };
  return [
    { ...lens, worldToCam: pose([0, 0, -3.5], [0, 0, 0], [0, -1, 0]) },
    { ...lens, cx: 40, cy: 30, fy: 84, worldToCam: pose([2.6, -0.4, -2.2], [0, 0, 0], [0, -1, 0]) },
    { ...lens, worldToCam: pose([-1, -2.8, -2], [0.1, 0, 0.2], [0.4, -1, 0]) },
  ];
}

/** Camera at `eye` that looks at `target`; 4x4 row-major, camera-from-world, OpenCV axes. */
function pose(eye: number[], target: number[], up: number[]): Float64Array {
  const unit = (v: number[]): number[] => v.map((value) => value / Math.hypot(...v));
  const cross = (a: number[], b: number[]): number[] => [0, 1, 2].map((k) => a[(k + 1) % 3] * b[(k + 2) % 3] - a[(k + 2) % 3] * b[(k + 1) % 3]);
  const forward = unit(target.map((value, k) => value - eye[k]));
  const right = unit(cross(forward, up));
  const down = cross(forward, right);
  const row = (axis: number[]): number[] => [...axis, -axis.reduce((sum, value, k) => sum + value * eye[k], 0)];
  return Float64Array.from([...row(right), ...row(down), ...row(forward), 0, 0, 0, 1]);
}

/** The PLY file of the original 3DGS code, harmonics channel-major. */
export function encodeTestPly(cloud: GaussianCloud): Buffer {
  const rest = (cloud.shDegree + 1) ** 2 - 1;
  const names = [
    ...['x', 'y', 'z', 'nx', 'ny', 'nz', 'f_dc_0', 'f_dc_1', 'f_dc_2'],
    ...Array.from({ length: 3 * rest }, (_, k) => `f_rest_${k}`),
    ...['opacity', 'scale_0', 'scale_1', 'scale_2', 'rot_0', 'rot_1', 'rot_2', 'rot_3'],
  ];
  const lines = ['ply', 'format binary_little_endian 1.0', `element vertex ${cloud.count}`, ...names.map((name) => `property float ${name}`), 'end_header', ''];
  const rows = Array.from({ length: cloud.count }, (_, i) => [
    ...cloud.means.subarray(3 * i, 3 * i + 3),
    ...[0, 0, 0],
    ...cloud.sh0.subarray(3 * i, 3 * i + 3),
    ...[0, 1, 2].flatMap((channel) => Array.from({ length: rest }, (_, k) => cloud.shRest[3 * (rest * i + k) + channel])),
    cloud.opacityLogits[i],
    ...cloud.logScales.subarray(3 * i, 3 * i + 3),
    ...cloud.quats.subarray(4 * i, 4 * i + 4),
  ]);
  return Buffer.concat([Buffer.from(lines.join('\n')), Buffer.from(Float32Array.from(rows.flat()).buffer)]);
}
