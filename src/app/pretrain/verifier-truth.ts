/** Exact targets of a set of views, and how unpredictable they shall count where the views disagree. */
import { encodePose } from '../../models/vggt/pose-encoding';
import { farDepth, objectId, pixelCamera } from '../../scene/procedural';
import type { ProceduralCamera, TracedViews } from '../../scene/procedural';

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
/** Mean difference of a channel at which targets are as unpredictable as they get, the logarithm's deviation there, and E|e^n − 1|. */
export const fullDifference = 0.25;
const fullNoise = 0.5;
const expectedError = fullNoise * Math.sqrt(2 / Math.PI);
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

/**
 * The expected relative error of a target that is made unpredictable where the views disagree, [S, H, W]: what log-normal noise of
 * deviation `fullNoise` · disagreement along a ray would add to it on average. Put into the loss as it is, it teaches the confidence
 * what noisy targets would, without their noise.
 */
export function doubt(difference: readonly Float32Array[]): Float32Array {
  const [{ length: pixels }] = difference;
  const out = new Float32Array(difference.length * pixels);
  difference.forEach((sum, v) => sum.forEach((value, p) => (out[v * pixels + p] = expectedError * Math.min(1, value / fullDifference))));
  return out;
}

/** Objects are small and what edits are about; the sky is neither. */
export function pixelWeights(ids: Int32Array): Float32Array {
  return Float32Array.from(ids, (id) => (id >= firstObjectId ? 5 : id === 1 ? 1 : 0.5));
}
