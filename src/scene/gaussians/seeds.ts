/** New Gaussians where an edit put something, and old ones it hides: what moving old splats cannot do from nine views. */
import { cameraCentre, project, unproject } from '../cameras';
import type { Camera } from '../cameras';
import type { Image } from '../image';
import { quaternionOf } from '../quaternion';
import { add, cross, dot, median, scale, sub, symmetricEigen3, unit } from '../vec3';
import type { Vec3 } from '../vec3';
import { createCloud, SH_Y0 } from './cloud';
import type { GaussianCloud } from './cloud';
import { spread } from './edit-mask';

/** Depths closer than this share are one surface: what was put there needs no seed, and what stands there is not in front of it. */
const sameSurface = 0.01;
const inFront = 0.03;
/** The fit makes them as opaque as they must be: opaque ones at once hide their neighbours from it. */
const seedOpacity = 0.3;
/** Standard deviation of a seed over the width of its pixel on the surface, along it and across it. */
const seedWidth = 0.75;
const seedThickness = 0.3;
/** A slanted pixel's seed is drawn out along the slant so many times at most. */
const mostStretch = 3;
/** Seeds of other views keep this share of a pixel's width away. */
const spacing = 1 / 3;
/** Seeds are at least as wide as this share of a pixel of the view that is median by distance: smaller ones hide their neighbours in most others. */
const leastPixel = 0.8;
/** A pixel at the edge of an edit mixes in what lies behind: it seeds where no inner pixel up to so many times coarser does. */
const edgeCoarser = 4;
/** Pixels around one that its normal is taken from; a steeper step in depth, as tangent, is another surface. */
const normalRadius = 2;
const steepest = 4;
const leastPoints = 4;
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

/** An edited pixel on its surface. */
interface Sample {
  mean: Vec3;
  normal: Vec3;
  /** Unit vector to the eye. */
  toEye: Vec3;
  /** Width of the pixel across the ray, world units. */
  size: number;
  /** Width of its area on the surface: samples are taken in the order of their detail. */
  footprint: number;
  colour: number[];
}

/**
 * One flat Gaussian per edited pixel whose surface moved, lying on that surface, of that pixel's colour. Several views see the same surface:
 * the finest is taken first, and a pixel of a coarser one seeds only where nothing finer lies in its cell.
 */
export function seedCloud(views: readonly EditedSurface[], shDegree: number): GaussianCloud {
  const samples = samplesOfAll(views).sort((a, b) => a.footprint - b.footprint);
  const taken = new Set<string>();
  const levelOf = (width: number): number => Math.round(2 * Math.log2(spacing * width));
  const cellOf = (mean: Vec3, level: number): string => [level, ...mean.map((x) => Math.round(x / 2 ** (level / 2)))].join(',');
  const coarsest = levelOf(samples[samples.length - 1]?.footprint ?? 1);
  const seeds = samples.filter(({ mean, footprint }) => {
    const level = levelOf(footprint);
    if (taken.has(cellOf(mean, level))) return false;
    for (let coarser = level; coarser <= coarsest; coarser++) taken.add(cellOf(mean, coarser));
    return true;
  });
  const cloud = createCloud(seeds.length, shDegree);
  seeds.forEach(({ mean, normal, toEye, size, colour }, i) => {
    const cosine = dot(normal, toEye);
    const slant = unit(sub(toEye, scale(normal, cosine)), perpendicular(normal));
    const across = cross(normal, slant);
    const stretch = Math.min(1 / cosine, mostStretch);
    cloud.means.set(mean, 3 * i);
    cloud.quats.set(quaternionOf([slant[0], across[0], normal[0], slant[1], across[1], normal[1], slant[2], across[2], normal[2]]), 4 * i);
    cloud.logScales.set([stretch, 1, seedThickness].map((factor) => Math.log(factor * seedWidth * size)), 3 * i);
    cloud.opacityLogits[i] = Math.log(seedOpacity / (1 - seedOpacity));
    colour.forEach((value, k) => (cloud.sh0[3 * i + k] = (value - 0.5) / SH_Y0));
  });
  return cloud;
}

/**
 * The samples of all views. A splat is drawn at least about a pixel wide, so that the many small ones of a view from nearer by would grow
 * over their surroundings in the other views.
 */
function samplesOfAll(views: readonly EditedSurface[]): Sample[] {
  const samples = views.map(samplesOf).filter((list) => list.length > 0);
  if (samples.length === 0) return [];
  const least = leastPixel * median(samples.map((list) => median(list.map(({ size }) => size))));
  return samples.flat().map((sample) => {
    const factor = Math.max(1, least / sample.size);
    return { ...sample, size: factor * sample.size, footprint: factor * sample.footprint };
  });
}

function samplesOf(view: EditedSurface): Sample[] {
  const { after, camera, depth } = view;
  const { width, height } = camera;
  const count = width * height;
  const surface = moved(view);
  const inner = spread(surface, width, height, 1, Math.min);
  const eye = cameraCentre(camera);
  const samples: Sample[] = [];
  for (let i = 0; i < count; i++) {
    if (surface[i] === 0) continue;
    const mean = pointAt(view, i);
    const toEye = unit(sub(eye, mean));
    const size = depth[i] / Math.sqrt(camera.fx * camera.fy);
    const normal = normalAt(view, surface, i, size, toEye);
    if (!normal) continue;
    const footprint = ((inner[i] > 0 ? 1 : edgeCoarser) * size) / Math.sqrt(dot(normal, toEye));
    samples.push({ mean, normal, toEye, size, footprint, colour: [0, 1, 2].map((c) => after.data[c * count + i]) });
  }
  return samples;
}

/** The world point that a pixel shows. */
function pointAt({ camera, depth }: EditedSurface, i: number): Vec3 {
  return unproject(camera, (i % camera.width) + 0.5, Math.floor(i / camera.width) + 0.5, depth[i]);
}

/** Cosine to the eye below which a normal tells nothing. */
const leastCosine = 0.05;

/**
 * Unit normal, turned to the eye, of the plane through the pixels around; the direction of the eye where that plane is seen from the side.
 * Nothing for a pixel that stands alone: at an edge, its depth is that of neither surface.
 */
function normalAt(view: EditedSurface, surface: Float32Array, i: number, size: number, toEye: Vec3): Vec3 | undefined {
  const { camera: { width, height }, depth } = view;
  const [x, y] = [i % width, Math.floor(i / width)];
  const points: Vec3[] = [];
  for (let b = Math.max(0, y - normalRadius); b <= Math.min(height - 1, y + normalRadius); b++) {
    for (let a = Math.max(0, x - normalRadius); a <= Math.min(width - 1, x + normalRadius); a++) {
      const j = b * width + a;
      const steps = Math.max(Math.abs(a - x), Math.abs(b - y));
      if (surface[j] > 0 && Math.abs(depth[j] - depth[i]) <= steepest * steps * size) points.push(pointAt(view, j));
    }
  }
  if (points.length < leastPoints) return undefined;
  const centre = scale(points.reduce(add), 1 / points.length);
  const spreadOf = new Float64Array(9);
  for (const point of points) {
    const d = sub(point, centre);
    for (let k = 0; k < 9; k++) spreadOf[k] += d[Math.floor(k / 3)] * d[k % 3];
  }
  const [normal] = symmetricEigen3(spreadOf).vectors;
  const cosine = dot(normal, toEye);
  return Math.abs(cosine) < leastCosine ? toEye : scale(normal, Math.sign(cosine));
}

/** A unit vector at a right angle. */
function perpendicular(n: Vec3): Vec3 {
  return unit(cross(n, Math.abs(n[0]) < 0.5 ? [1, 0, 0] : [0, 1, 0]));
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
