/** New Gaussians where an edit put something, and old ones it hides: what moving old splats cannot do from nine views. */
import { project, unproject } from '../cameras';
import type { Camera } from '../cameras';
import type { Image } from '../image';
import type { Vec3 } from '../vec3';
import { createCloud, SH_Y0 } from './cloud';
import type { GaussianCloud } from './cloud';
import { spread } from './edit-mask';

/** Depths closer than this share are one surface. */
const sameSurface = 0.03;
/** Pixels by which a seed stays inside the edit's silhouette. */
const insideBy = 1;
const seedOpacity = 0.9;
/** Standard deviation of a seed over the width of its pixel on the surface. */
const seedWidth = 0.6;
/** Views that must agree that a Gaussian stands in front of the edited surface. */
const votes = 2;

/** An edited view with its depth. */
export interface EditedSurface {
  after: Image;
  camera: Camera;
  /** [H, W] 1 where edited. */
  mask: Float32Array;
  /** [H, W] z-depth of the edited view in world units; 0 where unknown. */
  depth: Float32Array;
  /** [H, W] z-depth of the source scene; 0 where it has none. */
  sourceDepth: Float32Array;
}

/** One Gaussian per edited pixel whose surface moved, of that pixel's colour; at most one per cell of a pixel's width. */
export function seedCloud(views: readonly EditedSurface[], shDegree: number): GaussianCloud {
  const seeds: { mean: Vec3; width: number; colour: number[] }[] = [];
  const taken = new Set<string>();
  for (const view of views) {
    const { after, camera, depth } = view;
    const { width, height } = camera;
    const pixels = width * height;
    const at = spread(moved(view), width, height, insideBy, Math.min);
    for (let i = 0; i < pixels; i++) {
      if (at[i] === 0) continue;
      const mean = unproject(camera, (i % width) + 0.5, Math.floor(i / width) + 0.5, depth[i]);
      const size = depth[i] / Math.sqrt(camera.fx * camera.fy);
      // Several views see the same surface; cells that grow by halves keep one seed per patch whatever its distance.
      const cell = 2 ** (Math.round(2 * Math.log2(size)) / 2);
      const key = [cell, ...mean.map((x) => Math.round(x / cell))].join(',');
      if (taken.has(key)) continue;
      taken.add(key);
      seeds.push({ mean, width: seedWidth * size, colour: [0, 1, 2].map((c) => after.data[c * pixels + i]) });
    }
  }
  const cloud = createCloud(seeds.length, shDegree);
  seeds.forEach(({ mean, width, colour }, i) => {
    cloud.means.set(mean, 3 * i);
    cloud.quats[4 * i] = 1;
    cloud.logScales.fill(Math.log(width), 3 * i, 3 * i + 3);
    cloud.opacityLogits[i] = Math.log(seedOpacity / (1 - seedOpacity));
    colour.forEach((value, k) => (cloud.sh0[3 * i + k] = (value - 0.5) / SH_Y0));
  });
  return cloud;
}

/** 1 where the edited surface is not the source's. */
function moved({ mask, depth, sourceDepth }: EditedSurface): Float32Array {
  return mask.map((m, i) => (m > 0 && depth[i] > 0 && !(Math.abs(depth[i] - sourceDepth[i]) <= sameSurface * sourceDepth[i]) ? 1 : 0));
}

/** Indices of the Gaussians that do not stand in front of an edited surface in several views. */
export function unhidden(cloud: GaussianCloud, views: readonly EditedSurface[]): number[] {
  const surfaces = views.map(moved);
  return Array.from({ length: cloud.count }, (_, i) => i).filter((i) => {
    const mean = [cloud.means[3 * i], cloud.means[3 * i + 1], cloud.means[3 * i + 2]] as const;
    let against = 0;
    views.forEach(({ camera, depth }, v) => {
      const { u, v: row, z } = project(camera, mean);
      const [x, y] = [Math.floor(u), Math.floor(row)];
      if (!(z > 0) || x < 0 || y < 0 || x >= camera.width || y >= camera.height) return;
      const pixel = y * camera.width + x;
      if (surfaces[v][pixel] > 0 && z < (1 - sameSurface) * depth[pixel]) against += 1;
    });
    return against < votes;
  });
}
