/** Where a fit starts: Gaussians at sparse points, or at random in front of the cameras. */
import { SceneError } from '../../binding/errors';
import { cameraCentre, unproject } from '../cameras';
import type { Camera } from '../cameras';
import type { Rng } from '../procedural/rng';
import type { ScenePoints } from '../scene';
import { norm, sub } from '../vec3';
import type { Vec3 } from '../vec3';
import { createCloud, SH_Y0 } from './cloud';
import type { GaussianCloud } from './cloud';
import { meanNeighbourDistance } from './nearest';

const firstOpacity = 0.1;
const logit = (opacity: number): number => Math.log(opacity / (1 - opacity));

/** Extent of a scene: 1.1 times the largest distance of a camera to their mean (Kerbl et al. 2023); learning rates are in it. */
export function sceneExtent(cameras: readonly Camera[]): number {
  const centres = cameras.map(cameraCentre);
  const mean = [0, 1, 2].map((k) => centres.reduce((sum, centre) => sum + centre[k], 0) / centres.length) as unknown as Vec3;
  const largest = Math.max(...centres.map((centre) => norm(sub(centre, mean))));
  return largest > 0 ? 1.1 * largest : 1;
}

/**
 * One Gaussian per point, round, as wide as the mean distance to its three nearest, of opacity 0.1. At most `most` of them, drawn.
 * @throws SceneError without points
 */
export function cloudFromPoints(points: ScenePoints, { shDegree, most, rng }: { shDegree: number; most: number; rng: Rng }): GaussianCloud {
  if (points.count === 0) throw new SceneError('the scene has no points to start from; use --init random or --init verifier');
  const chosen = drawn(points.count, Math.min(points.count, most), rng);
  const cloud = createCloud(chosen.length, shDegree);
  chosen.forEach((from, i) => {
    for (let k = 0; k < 3; k++) {
      cloud.means[3 * i + k] = points.positions[3 * from + k];
      const colour = points.colors ? points.colors[3 * from + k] / 255 : 0.5;
      cloud.sh0[3 * i + k] = (colour - 0.5) / SH_Y0;
    }
  });
  return rounded(cloud);
}

/** `count` of 0 … total − 1, each once (Fisher and Yates): in order where that is all of them. */
function drawn(total: number, count: number, rng: Rng): Int32Array {
  const order = Int32Array.from({ length: total }, (_, i) => i);
  if (count === total) return order;
  for (let i = 0; i < count; i++) {
    const other = i + rng.int(total - i);
    [order[i], order[other]] = [order[other], order[i]];
  }
  return order.subarray(0, count);
}

/** Gaussians uniform in the space that the cameras see, between a tenth of and three times their distance to its middle. */
export function cloudAtRandom(cameras: readonly Camera[], { count, shDegree, rng }: { count: number; shDegree: number; rng: Rng }): GaussianCloud {
  const distance = 1.5 * sceneExtent(cameras);
  const cloud = createCloud(count, shDegree);
  for (let i = 0; i < count; i++) {
    const camera = rng.pick(cameras);
    // Uniform in volume: the density of a frustum grows with the square of the depth.
    const depth = distance * Math.cbrt(rng.range(0.001, 8));
    cloud.means.set(unproject(camera, rng.range(0, camera.width), rng.range(0, camera.height), depth), 3 * i);
    for (let k = 0; k < 3; k++) cloud.sh0[3 * i + k] = rng.range(-0.5, 0.5) / SH_Y0;
  }
  return rounded(cloud);
}

/** Sets what a position does not tell: round, as wide as the neighbours are far, faint. */
export function rounded(cloud: GaussianCloud): GaussianCloud {
  const distances = meanNeighbourDistance(cloud.means);
  const typical = Float32Array.from(distances).sort()[distances.length >> 1] || 1e-3;
  for (let i = 0; i < cloud.count; i++) {
    cloud.quats[4 * i] = 1;
    cloud.logScales.fill(Math.log(Math.max(distances[i], 1e-3 * typical)), 3 * i, 3 * i + 3);
    cloud.opacityLogits[i] = logit(firstOpacity);
  }
  return cloud;
}
