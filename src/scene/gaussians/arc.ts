/** Cameras for a splat scene that has none: an arc around what is there. */
import { ConfigError, SceneError } from '../../binding/errors';
import type { Camera } from '../cameras';
import type { ScenePoints } from '../scene';
import { add, cross, dot, norm, scale, sub, unit } from '../vec3';
import type { Vec3 } from '../vec3';
import { SH_Y0 } from './cloud';
import type { GaussianCloud } from './cloud';
import type { Gaussians } from './gaussians';
import { rasterize } from './rasterize';

/** Axes of the file that may point up; COLMAP's and the first Gaussian splatting code's scenes have -y up. */
export const upAxes = ['x', '-x', 'y', '-y', 'z', '-z'] as const;
export type UpAxis = (typeof upAxes)[number];

export interface ArcOptions {
  views: number;
  /** Of the pictures, in pixels. */
  width: number;
  height: number;
  up: UpAxis;
  /** Where the middle of the arc stands, degrees about the up axis; 0 is where a camera looks along +z (z up: along +y). */
  azimuthDeg?: number;
}

export interface SplatArc {
  /** Middle of what is there, world units. */
  lookAt: Vec3;
  /** Distance of the cameras from it. */
  radius: number;
  cameras: Camera[];
}

/** Along the longer side of a picture. */
const fieldOfViewDeg = 50;
const elevationDeg = 20;
/** The arc goes so far to either side of its middle. */
const halfArcDeg = 60;
/** Share of the opacity that must be in the pictures, per axis. */
const boxShare = 0.9;
/** Nearer than this share of the radius, what fills a picture is around the camera and not in front of it. */
const nearestShare = 0.3;
/** Factors on the radius that a camera inside of something is moved out by. */
const moves = [1, 1.25, 1.5, 2, 3] as const;
/** Share of a picture that must show something. */
const leastCover = 0.01;
const radians = Math.PI / 180;

/**
 * Cameras at even angles on an arc of ±60° at 20° elevation that look at the opacity-weighted median of the centres, as far away as the
 * box of 90 % of the opacity needs.
 * @throws SceneError for a cloud without extent
 */
export function splatArc(cloud: GaussianCloud, { views, width, height, up: axis, azimuthDeg = 0 }: ArcOptions): SplatArc {
  const { lookAt, low, high } = weightedBox(cloud);
  const up = axisVector(axis);
  const ahead: Vec3 = up[2] === 0 ? [0, 0, 1] : [0, 1, 0];
  const aside = cross(ahead, up);
  const longSide = Math.max(width, height);
  const focal = longSide / 2 / Math.tan((fieldOfViewDeg / 2) * radians);
  const [tanX, tanY] = [width / 2 / focal, height / 2 / focal];
  const poses = Array.from({ length: views }, (_, k) => {
    const azimuth = (azimuthDeg + (views > 1 ? -halfArcDeg + (2 * halfArcDeg * k) / (views - 1) : 0)) * radians;
    const level = add(scale(ahead, -Math.cos(azimuth)), scale(aside, Math.sin(azimuth)));
    // From the middle to the camera.
    const outward = add(scale(level, Math.cos(elevationDeg * radians)), scale(up, Math.sin(elevationDeg * radians)));
    const forward = scale(outward, -1);
    const right = unit(cross(forward, up));
    return { outward, right, down: cross(forward, right), forward };
  });
  let radius = 0;
  for (const corner of corners(low, high)) {
    const offset = sub(corner, lookAt);
    for (const { outward, right, down } of poses) {
      const needed = Math.max(Math.abs(dot(offset, right)) / tanX, Math.abs(dot(offset, down)) / tanY);
      radius = Math.max(radius, needed + dot(offset, outward));
    }
  }
  if (!(radius > 0) || !Number.isFinite(radius)) throw new SceneError('splats: all lie in one point, so there is nothing to place cameras around');
  const cameras = poses.map((pose) => cameraAt(pose, lookAt, radius, { width, height, fx: focal, fy: focal, cx: width / 2, cy: height / 2 }));
  return { lookAt, radius, cameras };
}

/**
 * Moves cameras of an arc that stand inside of something (median depth below 0.3 of the radius) outwards until they do not.
 * @returns cameras in the same order, and how many were moved
 * @throws SceneError naming the view for one that stays inside, or that sees nothing
 */
export async function clearArc(gaussians: Gaussians, { lookAt, radius, cameras }: SplatArc): Promise<{ cameras: Camera[]; moved: number }> {
  const cleared: Camera[] = [];
  let moved = 0;
  for (const [view, camera] of cameras.entries()) {
    let free: Camera | undefined;
    let nearest = 0;
    for (const factor of moves) {
      const tried = factor === 1 ? camera : movedOut(camera, lookAt, factor);
      const { cover, depth } = await looked(gaussians, tried);
      if (cover < leastCover) {
        throw new SceneError(
          `splats: the view ${view + 1} of ${cameras.length} sees nothing at a distance of ${(factor * radius).toPrecision(3)}; ` +
            'is another axis up (--up), or is the scene empty?',
        );
      }
      nearest = depth;
      if (depth < nearestShare * radius) continue;
      free = tried;
      if (factor !== 1) moved += 1;
      break;
    }
    if (!free) {
      throw new SceneError(
        `splats: the view ${view + 1} of ${cameras.length} stands inside of the scene (median depth ${nearest.toPrecision(3)} at a distance of ` +
          `${(moves[moves.length - 1] * radius).toPrecision(3)}); turn the arc with --azimuth or --up, or give a scene with cameras`,
      );
    }
    cleared.push(free);
  }
  return { cameras: cleared, moved };
}

/** Evenly thinned centres of the Gaussians that are not see-through, with their colours. */
export function splatPoints({ count, means, opacityLogits, sh0 }: GaussianCloud, most: number): ScenePoints {
  const solid: number[] = [];
  for (let i = 0; i < count; i++) if (opacityLogits[i] > 0 && [0, 1, 2].every((k) => Number.isFinite(means[3 * i + k]))) solid.push(i);
  const step = Math.max(1, solid.length / most);
  const kept = Array.from({ length: Math.min(most, solid.length) }, (_, k) => solid[Math.floor(k * step)]);
  const colour = (value: number): number => Math.round(255 * Math.min(1, Math.max(0, 0.5 + SH_Y0 * value)));
  return {
    count: kept.length,
    positions: Float32Array.from(kept.flatMap((i) => [0, 1, 2].map((k) => means[3 * i + k]))),
    colors: Uint8Array.from(kept.flatMap((i) => [0, 1, 2].map((k) => colour(sh0[3 * i + k])))),
  };
}

/** Median and the box of most of the opacity, per axis. */
function weightedBox({ count, means, opacityLogits }: GaussianCloud): { lookAt: Vec3; low: Vec3; high: Vec3 } {
  const weights = Float64Array.from({ length: count }, (_, i) => 1 / (1 + Math.exp(-opacityLogits[i])));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (!(total > 0)) throw new SceneError('splats: there is none that could be seen');
  const quantiles = [0, 1, 2].map((k) => {
    const order = Uint32Array.from({ length: count }, (_, i) => i).sort((a, b) => means[3 * a + k] - means[3 * b + k] || a - b);
    const wanted = [(1 - boxShare) / 2, 0.5, (1 + boxShare) / 2].map((share) => share * total);
    const found: number[] = [];
    let sum = 0;
    for (const i of order) {
      sum += weights[i];
      while (found.length < wanted.length && sum >= wanted[found.length]) found.push(means[3 * i + k]);
    }
    // Rounding may leave the last sums a little short.
    while (found.length < wanted.length) found.push(means[3 * order[count - 1] + k]);
    return found;
  });
  const at = (which: number): Vec3 => [quantiles[0][which], quantiles[1][which], quantiles[2][which]];
  return { low: at(0), lookAt: at(1), high: at(2) };
}

function corners(low: Vec3, high: Vec3): Vec3[] {
  return Array.from({ length: 8 }, (_, bits): Vec3 => [bits & 1 ? high[0] : low[0], bits & 2 ? high[1] : low[1], bits & 4 ? high[2] : low[2]]);
}

function axisVector(axis: UpAxis): Vec3 {
  const sign = axis.startsWith('-') ? -1 : 1;
  const k = 'xyz'.indexOf(axis.slice(-1));
  if (k < 0) throw new ConfigError(`up: expected one of ${upAxes.join(', ')}, got ${axis}`);
  return [k === 0 ? sign : 0, k === 1 ? sign : 0, k === 2 ? sign : 0];
}

function cameraAt(
  { outward, right, down, forward }: { outward: Vec3; right: Vec3; down: Vec3; forward: Vec3 }, lookAt: Vec3, radius: number, lens: Omit<Camera, 'worldToCam'>,
): Camera {
  const centre = add(lookAt, scale(outward, radius));
  const row = (direction: Vec3): number[] => [...direction, -dot(direction, centre)];
  return { ...lens, worldToCam: Float64Array.from([...row(right), ...row(down), ...row(forward), 0, 0, 0, 1]) };
}

/** The camera at `factor` times its distance from a point that it looks at. */
function movedOut(camera: Camera, lookAt: Vec3, factor: number): Camera {
  const worldToCam = Float64Array.from(camera.worldToCam);
  const m = worldToCam;
  const away = norm([0, 4, 8].map((r) => m[r] * lookAt[0] + m[r + 1] * lookAt[1] + m[r + 2] * lookAt[2] + m[r + 3]) as unknown as Vec3);
  // The look-at point lies on the optical axis: going back adds to its z alone.
  m[11] += (factor - 1) * away;
  return { ...camera, worldToCam };
}

/** Mean coverage, and the median over what is covered of the median depth. */
async function looked(gaussians: Gaussians, camera: Camera): Promise<{ cover: number; depth: number }> {
  using rendering = await rasterize(gaussians, camera);
  const alpha = await rendering.alpha.toFloat32();
  const depths = (await rendering.medianDepth.toFloat32()).filter((z) => z > 0).sort();
  return {
    cover: alpha.reduce((sum, a) => sum + a, 0) / alpha.length,
    depth: depths.length > 0 ? depths[depths.length >> 1] : Infinity,
  };
}
