/**
 * How the cameras of a scene stand around what they look at: look-at point, up axis, azimuth order, overlap of pairs.
 */
import { Camera, cameraCentre, rightDirection, sees, upDirection, viewDirection } from './cameras';
import type { ScenePoints } from './scene';
import {
  add, angleBetween, cross, dot, median, norm, scale, solveSymmetric3, sub, symmetricEigen3, unit, Vec3,
} from './vec3';

const degrees = 180 / Math.PI;
/** Points used for overlap; more do not change the shares noticeably. */
const maxOverlapPoints = 1024;
/** Two rays more than 60 degrees apart see different sides of a surface, so the point does not count as shared. */
const sameSideCosine = 0.5;

/** Weight of the mean up; 3e-3 matches headings spread by 5 degrees, below which unsteady hands decide otherwise. */
const meanUpWeight = 3e-3;

export interface CameraArc {
  /** Point nearest to the optical axes. */
  readonly lookAt: Vec3;
  /** Unit vector. */
  readonly up: Vec3;
  /** True when the cameras look outward (a panorama from the inside). */
  readonly outward: boolean;
  /** Camera indices along the arc; the largest gap lies between the last and the first. */
  readonly order: readonly number[];
  /** Position along the arc in degrees for each entry of `order`, from 0, ascending. */
  readonly positionsDeg: readonly number[];
  /** Elevation above the look-at point in degrees and distance to it, by camera index. */
  readonly elevationsDeg: readonly number[];
  readonly distances: readonly number[];
}

/**
 * Point with the least (robustly weighted) sum of squared distances to the optical axes: Σ w (I - d dᵀ) p = Σ w (I - d
 * dᵀ) c, reweighted by 1/distance so that a few stray cameras do not move it. Parallel axes meet nowhere; then it is
 * the median depth of the sparse points, or three times the spread of the centres, ahead.
 */
export function lookAtPoint(cameras: readonly Camera[], points?: ScenePoints): Vec3 {
  const centres = cameras.map(cameraCentre);
  const directions = cameras.map(viewDirection);
  const mean = scale(centres.reduce(add, [0, 0, 0]), 1 / cameras.length);
  const spread = Math.max(...centres.map((c) => norm(sub(c, mean))), 1e-6);
  let weights = cameras.map(() => 1);
  let p: Vec3 = mean;
  for (let step = 0; step < 12; step++) {
    const a = new Array<number>(9).fill(0);
    let b: Vec3 = [0, 0, 0];
    const total = weights.reduce((x, y) => x + y, 0);
    cameras.forEach((_, i) => {
      const d = directions[i];
      const w = weights[i] / total;
      for (let r = 0; r < 3; r++) for (let c = 0; c < 3; c++) a[r * 3 + c] += w * ((r === c ? 1 : 0) - d[r] * d[c]);
      b = add(b, scale(sub(centres[i], scale(d, dot(d, centres[i]))), w));
    });
    // The smallest eigenvalue is sin² of the axes' spread; below one degree their meeting point is noise.
    if (symmetricEigen3(a).values[0] < 3e-4) return pointAhead(cameras, mean, spread, points);
    p = solveSymmetric3(a, b);
    weights = cameras.map((_, i) => {
      const toPoint = sub(p, centres[i]);
      return 1 / Math.max(norm(sub(toPoint, scale(directions[i], dot(directions[i], toPoint)))), 1e-3 * spread);
    });
  }
  return p;
}

function pointAhead(cameras: readonly Camera[], mean: Vec3, spread: number, points?: ScenePoints): Vec3 {
  const ahead = unit(cameras.map(viewDirection).reduce(add, [0, 0, 0]));
  const depths = samplePoints(points).map((p) => dot(sub(p, mean), ahead)).filter((z) => z > 0);
  return add(mean, scale(ahead, depths.length > 0 ? median(depths) : 3 * spread));
}

/**
 * Up axis: the direction most orthogonal to all cameras' horizontal image axes, held towards their mean up (which alone
 * decides for a single heading, where the first condition leaves a plane open).
 */
export function upAxis(cameras: readonly Camera[]): Vec3 {
  const meanUp = unit(cameras.map(upDirection).reduce(add, [0, 0, 0]));
  const a = new Array<number>(9).fill(0);
  for (const camera of cameras) {
    const r = rightDirection(camera);
    for (let i = 0; i < 9; i++) a[i] += (r[Math.floor(i / 3)] * r[i % 3]) / cameras.length;
  }
  for (let i = 0; i < 9; i++) a[i] -= meanUpWeight * meanUp[Math.floor(i / 3)] * meanUp[i % 3];
  const axis = symmetricEigen3(a).vectors[0];
  return dot(axis, meanUp) >= 0 ? axis : scale(axis, -1);
}

/** Evenly thinned sparse points. */
export function samplePoints(points: ScenePoints | undefined, limit = maxOverlapPoints): Vec3[] {
  if (!points) return [];
  const step = Math.max(1, points.count / limit);
  const out: Vec3[] = [];
  for (let k = 0; Math.floor(k * step) < points.count && out.length < limit; k++) {
    const i = 3 * Math.floor(k * step);
    out.push([points.positions[i], points.positions[i + 1], points.positions[i + 2]]);
  }
  return out;
}

/** Orders cameras along their arc. Needs at least one camera. */
export function cameraArc(cameras: readonly Camera[], points?: ScenePoints): CameraArc {
  const lookAt = lookAtPoint(cameras, points);
  const up = upAxis(cameras);
  const centres = cameras.map(cameraCentre);
  const ahead = cameras.filter((c, i) => dot(viewDirection(c), sub(lookAt, centres[i])) > 0).length;
  const outward = ahead * 2 < cameras.length;
  const offsets = cameras.map((c, i) => (outward ? viewDirection(c) : sub(centres[i], lookAt)));
  const meanOffset = offsets.reduce(add, [0, 0, 0]);
  const side = Math.abs(up[0]) < 0.9 ? cross(up, [1, 0, 0]) : cross(up, [0, 1, 0]);
  const x = unit(sub(meanOffset, scale(up, dot(meanOffset, up))), unit(side));
  const y = cross(up, x);
  const azimuths = offsets.map((o) => Math.atan2(dot(o, y), dot(o, x)) * degrees);
  const sorted = cameras.map((_, i) => i).sort((i, j) => azimuths[i] - azimuths[j] || i - j);
  let cut = 0;
  let widest = -1;
  sorted.forEach((camera, k) => {
    const before = k === 0 ? azimuths[sorted[sorted.length - 1]] - 360 : azimuths[sorted[k - 1]];
    if (azimuths[camera] - before > widest + 1e-9) [cut, widest] = [k, azimuths[camera] - before];
  });
  const order = [...sorted.slice(cut), ...sorted.slice(0, cut)];
  const start = azimuths[order[0]];
  return {
    lookAt, up, outward, order,
    positionsDeg: order.map((i, k) => (azimuths[i] - start + (k >= sorted.length - cut ? 360 : 0))),
    elevationsDeg: offsets.map((o) => Math.asin(Math.min(1, Math.max(-1, dot(unit(o), up)))) * degrees),
    distances: offsets.map(norm),
  };
}

/** Overlap of two views. */
export interface Overlap {
  /** Angle between the two directions from the look-at point (outward: between the optical axes), in degrees. */
  readonly angleDeg: number;
  /**
   * Share of the sparse points of the view that sees fewer which the other sees from the same side; absent without
   * points.
   */
  readonly sharedPoints?: number;
}

/** What one camera sees of the sampled points. */
interface Sight {
  /** [points, 3] unit vectors from each point to the camera; zero where the camera does not see the point. */
  readonly rays: Float64Array;
  readonly seen: number;
}

/** Overlap of pairs of cameras, computed on demand and remembered. */
export class OverlapTable {
  private readonly samples: Vec3[];
  private readonly sights: (Sight | undefined)[];
  private readonly memo = new Map<number, Overlap>();

  constructor(
    private readonly cameras: readonly Camera[],
    private readonly arc: CameraArc,
    points?: ScenePoints,
  ) {
    this.samples = samplePoints(points);
    this.sights = cameras.map(() => undefined);
  }

  between(i: number, j: number): Overlap {
    const key = Math.min(i, j) * this.cameras.length + Math.max(i, j);
    let overlap = this.memo.get(key);
    if (!overlap) this.memo.set(key, (overlap = this.compute(i, j)));
    return overlap;
  }

  private sightOf(i: number): Sight {
    return (this.sights[i] ??= this.look(this.cameras[i]));
  }

  private look(camera: Camera): Sight {
    const centre = cameraCentre(camera);
    const rays = new Float64Array(3 * this.samples.length);
    let seen = 0;
    for (let k = 0; k < this.samples.length; k++) {
      const p = this.samples[k];
      if (!sees(camera, p)) continue;
      seen++;
      const ray = unit(sub(centre, p));
      for (let i = 0; i < 3; i++) rays[3 * k + i] = ray[i];
    }
    return { rays, seen };
  }

  private compute(i: number, j: number): Overlap {
    const { lookAt, outward } = this.arc;
    const [from, to] = [i, j].map((k) => {
      const camera = this.cameras[k];
      return outward ? viewDirection(camera) : sub(cameraCentre(camera), lookAt);
    });
    const angleDeg = angleBetween(from, to) * degrees;
    if (this.samples.length === 0) return { angleDeg };
    const [a, b] = [this.sightOf(i), this.sightOf(j)];
    const shared = countSameSide(a.rays, b.rays);
    const fewer = Math.min(a.seen, b.seen);
    return { angleDeg, sharedPoints: fewer > 0 ? shared / fewer : 0 };
  }
}

/**
 * Number of points whose two rays are near enough. A function of arrays alone stays compiled when scenes come and go,
 * and compiled code makes no objects of its numbers.
 */
function countSameSide(a: Float64Array, b: Float64Array): number {
  let count = 0;
  for (let k = 0; k < a.length; k += 3) {
    if (a[k] * b[k] + a[k + 1] * b[k + 1] + a[k + 2] * b[k + 2] > sameSideCosine) count++;
  }
  return count;
}
