/** New Gaussians where an edit put something, and old ones it hides: what moving old splats cannot do from nine views. */
import { project, unproject } from '../cameras';
import type { Camera } from '../cameras';
import type { Image } from '../image';
import type { Vec3 } from '../vec3';
import { createCloud, SH_Y0 } from './cloud';
import type { GaussianCloud } from './cloud';
import { spread } from './edit-mask';

/** Depths closer than this share are one surface: what was put there needs no seed, and what stands there is not in front of it. */
const sameSurface = 0.01;
const inFront = 0.03;
/** Pixels by which a seed stays inside the edit's silhouette. */
const insideBy = 1;
const seedOpacity = 0.9;
/** Standard deviation of a seed over the width of its pixel on the surface. */
const seedWidth = 0.75;
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

/**
 * One Gaussian per edited pixel whose surface moved, of that pixel's colour. Several views see the same surface: the finest is taken first,
 * and a pixel of a coarser one seeds only where nothing finer lies in its cell.
 */
export function seedCloud(views: readonly EditedSurface[], shDegree: number): GaussianCloud {
  const pixels: { mean: Vec3; size: number; colour: number[] }[] = [];
  for (const view of views) {
    const { after, camera, depth } = view;
    const { width, height } = camera;
    const count = width * height;
    const at = spread(moved(view), width, height, insideBy, Math.min);
    for (let i = 0; i < count; i++) {
      if (at[i] === 0) continue;
      const mean = unproject(camera, (i % width) + 0.5, Math.floor(i / width) + 0.5, depth[i]);
      const size = depth[i] / Math.sqrt(camera.fx * camera.fy);
      pixels.push({ mean, size, colour: [0, 1, 2].map((c) => after.data[c * count + i]) });
    }
  }
  pixels.sort((a, b) => a.size - b.size);
  const taken = new Set<string>();
  const levelOf = (size: number): number => Math.round(2 * Math.log2(size));
  const cellOf = (mean: Vec3, level: number): string => [level, ...mean.map((x) => Math.round(x / 2 ** (level / 2)))].join(',');
  const coarsest = levelOf((pixels[pixels.length - 1]?.size ?? 1) / 2);
  const seeds = pixels.filter(({ mean, size }) => {
    // Half a pixel: cells of a whole one would leave gaps where fine samples end.
    const level = levelOf(size / 2);
    if (taken.has(cellOf(mean, level))) return false;
    for (let coarser = level; coarser <= coarsest; coarser++) taken.add(cellOf(mean, coarser));
    return true;
  });
  const cloud = createCloud(seeds.length, shDegree);
  seeds.forEach(({ mean, size, colour }, i) => {
    cloud.means.set(mean, 3 * i);
    cloud.quats[4 * i] = 1;
    cloud.logScales.fill(Math.log(seedWidth * size), 3 * i, 3 * i + 3);
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
      if (surfaces[v][pixel] > 0 && z < (1 - inFront) * depth[pixel]) against += 1;
    });
    return against < votes;
  });
}
