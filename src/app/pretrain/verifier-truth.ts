/** Exact targets of a set of views, and the noise that makes them unpredictable where the views disagree. */
import { encodePose } from '../../models/vggt/pose-encoding';
import { farDepth, objectId, pixelCamera } from '../../scene/procedural';
import type { ProceduralCamera, Rng, TracedViews } from '../../scene/procedural';

/** S views of H × W pixels. */
export interface Truth {
  /** [S, H, W] z-depth and [S, H, W, 3] points in the first camera's frame, over the mean distance of the scene's points. */
  depth: Float32Array;
  points: Float32Array;
  /** [S, 9] pose encodings. */
  poses: Float32Array;
}

/** Depths are cut here, in mean distances: the sky too must be something a network can predict. */
const farthest = 3;
/** Mean difference of a channel at which targets are as noisy as they get, and the logarithm's deviation there. */
export const fullDifference = 0.25;
const fullNoise = 0.5;
/** Side of the blocks that share one draw of target noise. */
const block = 8;
/** Id of the first object in the ray caster's id images. */
export const firstObjectId = objectId(0);

/** Exact targets of the views, in the first camera's frame and unit scale. */
export function exactTruth(cameras: readonly ProceduralCamera[], traced: TracedViews, size: number): Truth {
  const pixels = size * size;
  const relative = cameras.map((camera) => compose(camera.worldToCam, cameras[0].worldToCam));
  const rays = cameras.map((camera) => pixelCamera(camera, size, size));
  const points = new Float32Array(3 * cameras.length * pixels);
  const depth = Float32Array.from(traced.depth);
  const place = (i: number): number => {
    const v = Math.floor(i / pixels);
    const [fx, fy, cx, cy] = rays[v];
    const z = depth[i];
    const x = (((i % size) + 0.5 - cx) / fx) * z - relative[v][3];
    const y = ((Math.floor((i % pixels) / size) + 0.5 - cy) / fy) * z - relative[v][7];
    const w = z - relative[v][11];
    const m = relative[v];
    points[3 * i] = m[0] * x + m[4] * y + m[8] * w;
    points[3 * i + 1] = m[1] * x + m[5] * y + m[9] * w;
    points[3 * i + 2] = m[2] * x + m[6] * y + m[10] * w;
    return Math.hypot(points[3 * i], points[3 * i + 1], points[3 * i + 2]);
  };
  let [sum, count] = [0, 0];
  for (let i = 0; i < depth.length; i++) {
    if (depth[i] >= farDepth) continue;
    sum += place(i);
    count += 1;
  }
  const unit = sum / Math.max(1, count);
  for (let i = 0; i < depth.length; i++) {
    if (depth[i] > farthest * unit) {
      depth[i] = farthest * unit;
      place(i);
    }
    depth[i] /= unit;
    for (let k = 0; k < 3; k++) points[3 * i + k] /= unit;
  }
  const poses = cameras.flatMap((_, v) => {
    const m = relative[v].map((value, k) => (k % 4 === 3 ? value / unit : value));
    return encodePose(m, rays[v][0], rays[v][1], size, size);
  });
  return { depth, points, poses: Float32Array.from(poses) };
}

/** camera · first⁻¹: [R|t] of a camera when the first camera's frame is the world. */
function compose(camera: readonly number[], first: readonly number[]): number[] {
  const out: number[] = [];
  for (let i = 0; i < 3; i++) {
    const r = [0, 1, 2].map((j) => camera[4 * i] * first[4 * j] + camera[4 * i + 1] * first[4 * j + 1] + camera[4 * i + 2] * first[4 * j + 2]);
    out.push(...r, camera[4 * i + 3] - (r[0] * first[3] + r[1] * first[7] + r[2] * first[11]));
  }
  return out;
}

/** Log-normal noise on the targets along each view's rays, one draw per block of pixels, as strong as the views disagree there. */
export function corrupt({ depth, points, poses }: Truth, difference: readonly Float32Array[], size: number, rng: Rng): void {
  const across = Math.ceil(size / block);
  difference.forEach((sum, v) => {
    if (!sum.some((value) => value > 0)) return;
    const draws = Array.from({ length: across * across }, () => normal(rng));
    const centre = cameraCentre(poses.subarray(9 * v, 9 * v + 9));
    for (let p = 0; p < sum.length; p++) {
      if (sum[p] === 0) continue;
      const draw = draws[Math.floor(p / size / block) * across + Math.floor((p % size) / block)];
      const factor = Math.exp(fullNoise * Math.min(1, sum[p] / fullDifference) * draw);
      const i = v * sum.length + p;
      depth[i] *= factor;
      for (let k = 0; k < 3; k++) points[3 * i + k] = centre[k] + factor * (points[3 * i + k] - centre[k]);
    }
  });
}

/** −Rᵀ t of a pose encoding with a unit quaternion. */
function cameraCentre([tx, ty, tz, x, y, z, w]: ArrayLike<number> & Iterable<number>): number[] {
  const r = [
    1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
    2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
    2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
  ];
  return [0, 1, 2].map((k) => -(r[k] * tx + r[3 + k] * ty + r[6 + k] * tz));
}

/** Objects are small and what edits are about; the sky is neither. */
export function pixelWeights(ids: Int32Array): Float32Array {
  return Float32Array.from(ids, (id) => (id >= firstObjectId ? 5 : id === 1 ? 1 : 0.5));
}

function normal(rng: Rng): number {
  return Math.sqrt(-2 * Math.log(1 - rng.range())) * Math.cos(2 * Math.PI * rng.range());
}
