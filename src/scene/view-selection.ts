/**
 * Which views of a scene are edited together: evenly spread along the cameras' arc, neighbours overlapping, in arc
 * order, because the verifier compares the poses of neighbours. Deterministic.
 */
import { ConfigError, SceneError } from '../binding/errors';
import { CameraArc, cameraArc, Overlap, OverlapTable } from './arc';
import { Camera, project } from './cameras';
import type { Scene, SceneView } from './scene';
import { median } from './vec3';

export interface SelectViewsOptions {
  /** Distinct views wanted; default: the number of cells. */
  views?: number;
  /** Cells to fill; default 9. */
  cells?: number;
  /** The user's own choice by view name or index, kept in the given order; not together with `views`. */
  choose?: readonly (string | number)[];
  /** Widest wanted angle between neighbours, in degrees; default 45. */
  maxStepDeg?: number;
  /** Least wanted share of sparse points that neighbours have in common; default 0.3. */
  minSharedPoints?: number;
}

export interface ViewSelection {
  /** One view per cell. */
  readonly views: readonly SceneView[];
  /** Index into scene.views per cell. */
  readonly indices: readonly number[];
  /** Per cell: the first cell with the same view when this one repeats it, else null. */
  readonly duplicateOf: readonly (number | null)[];
  /** Overlap of each pair of neighbouring distinct views, in order: one fewer than there are distinct views. */
  readonly neighbours: readonly Overlap[];
  readonly warnings: readonly string[];
}

/** With more cameras than this, an even sample along the arc is searched. */
const maxCandidates = 300;

/**
 * Chooses the views to edit. Fewer distinct views than cells are repeated back and forth (0 1 2 3 2 1 0 …): neighbours
 * in the grid then are neighbours on the arc and never the same picture twice, which would have no relative
 * translation.
 * @throws SceneError when the scene has no views; ConfigError for counts, names or indices that do not fit.
 */
export function selectViews(scene: Scene, options: SelectViewsOptions = {}): ViewSelection {
  const { cells = 9, choose } = options;
  if (!Number.isInteger(cells) || cells < 1) {
    throw new ConfigError(`views: cells is ${cells}, expected a whole number of at least 1`);
  }
  if (scene.views.length === 0) throw new SceneError(`scene ${scene.name}: it has no views to edit`);
  if (choose && options.views !== undefined) {
    throw new ConfigError('views: give a number of views or a list of them, not both');
  }
  const cameras = scene.views.map((view) => view.camera);
  const arc = cameraArc(cameras, scene.points);
  const overlaps = new OverlapTable(cameras, arc, scene.points);
  const warnings: string[] = [];
  let distinct: number[];
  if (choose) {
    distinct = chosenViews(scene, choose, cells);
  } else {
    const wanted = options.views ?? cells;
    if (!Number.isInteger(wanted) || wanted < 1 || wanted > cells) {
      throw new ConfigError(`views: ${wanted} views were asked for, expected a whole number from 1 to ${cells}`);
    }
    if (scene.views.length < wanted) {
      warnings.push(
        `the scene has ${scene.views.length} views, fewer than the ${wanted} wanted; views are repeated to ` +
          'fill the grid',
      );
    }
    distinct = spreadViews(cameras, arc, overlaps, Math.min(wanted, scene.views.length), options);
  }
  const neighbours = distinct.slice(1).map((index, k) => overlaps.between(distinct[k], index));
  warnings.push(...overlapWarnings(scene, distinct, neighbours, options));
  const cellOf = backAndForth(distinct.length, cells);
  const indices = cellOf.map((k) => distinct[k]);
  return {
    views: indices.map((index) => scene.views[index]),
    indices,
    duplicateOf: cellOf.map((k, cell) => (cellOf.indexOf(k) < cell ? cellOf.indexOf(k) : null)),
    neighbours,
    warnings,
  };
}

/** 0 1 … n-1 n-2 … 1 0 1 … of the given length. */
function backAndForth(count: number, length: number): number[] {
  const period = Math.max(1, 2 * (count - 1));
  return Array.from({ length }, (_, i) => {
    const k = i % period;
    return k < count ? k : period - k;
  });
}

function chosenViews(scene: Scene, choose: readonly (string | number)[], cells: number): number[] {
  if (choose.length < 1 || choose.length > cells) {
    throw new ConfigError(`views: ${choose.length} views were listed, expected 1 to ${cells}`);
  }
  const indices = choose.map((item) => {
    const index = typeof item === 'number' ? item : scene.views.findIndex((view) => view.name === item);
    if (Number.isInteger(index) && index >= 0 && index < scene.views.length) return index;
    const some = scene.views.slice(0, 3).map((view) => view.name).join(', ');
    throw new ConfigError(
      `views: the scene has no view ${JSON.stringify(item)}; it has ${scene.views.length}, index 0 to ` +
        `${scene.views.length - 1}, named ${some} …`,
    );
  });
  const twice = indices.find((index, k) => indices.indexOf(index) < k);
  if (twice !== undefined) throw new ConfigError(`views: ${scene.views[twice].name} is listed twice`);
  return indices;
}

function overlapWarnings(
  scene: Scene, distinct: readonly number[], neighbours: readonly Overlap[], options: SelectViewsOptions,
): string[] {
  const { minSharedPoints = 0.3, maxStepDeg = 45 } = options;
  return neighbours.flatMap((overlap, k) => {
    const { angleDeg, sharedPoints } = overlap;
    // A third over the wanted angle is where matching by a network begins to fail in practice.
    if (angleDeg <= maxStepDeg * (4 / 3) && (sharedPoints ?? 1) >= minSharedPoints / 2) return [];
    const [a, b] = [distinct[k], distinct[k + 1]].map((index) => scene.views[index].name);
    const shared = sharedPoints === undefined ? '' : ` and ${(100 * sharedPoints).toFixed(0)} % shared points`;
    return [`neighbouring views ${a} and ${b} overlap little: ${angleDeg.toFixed(0)} degrees apart${shared}`];
  });
}

/**
 * `count` views in arc order that minimise, by dynamic programming over the ordered cameras, the squared relative error
 * of the steps against an even step, plus penalties for little overlap and for cameras that are unusual in height,
 * distance or aim.
 */
function spreadViews(
  cameras: readonly Camera[], arc: CameraArc, overlaps: OverlapTable, count: number, options: SelectViewsOptions,
): number[] {
  const { maxStepDeg = 45, minSharedPoints = 0.3 } = options;
  const total = arc.order.length;
  const kept = Array.from({ length: Math.min(total, maxCandidates) }, (_, k) =>
    Math.floor((k * total) / Math.min(total, maxCandidates)),
  );
  const candidates = kept.map((k) => arc.order[k]);
  const n = candidates.length;
  if (count >= n) return candidates;
  const quality = candidateCosts(cameras, arc, candidates);
  if (count === 1) return [candidates[indexOfLeast(quality.map((q, k) => q + Math.abs((2 * k) / (n - 1) - 1)))]];
  const span = arc.positionsDeg[total - 1];
  // Cameras stacked above one another have no azimuth; then the order itself is spread evenly.
  const flat = span < 2;
  const at = flat ? candidates.map((_, k) => k) : kept.map((k) => arc.positionsDeg[k]);
  const step = flat ? (n - 1) / (count - 1) : Math.min(span / (count - 1), 360 / count, maxStepDeg);
  const cost = Array.from({ length: count }, () => new Float64Array(n).fill(Infinity));
  const from = Array.from({ length: count }, () => new Int32Array(n).fill(-1));
  quality.forEach((q, k) => (cost[0][k] = q));
  for (let k = 1; k < n; k++) {
    for (let j = 0; j < k; j++) {
      const error = (at[k] - at[j]) / step - 1;
      let edge = 4 * error * error;
      // Pairs far from an even step lose anyway; their overlap is not worth computing.
      if (Math.abs(error) < 1.5) {
        edge += overlapCost(overlaps.between(candidates[j], candidates[k]), maxStepDeg, minSharedPoints);
      }
      for (let m = 1; m < count; m++) {
        const c = cost[m - 1][j] + edge + quality[k];
        if (c < cost[m][k]) [cost[m][k], from[m][k]] = [c, j];
      }
    }
  }
  let k = indexOfLeast(cost[count - 1]);
  const path = [k];
  for (let m = count - 1; m > 0; m--) path.unshift((k = from[m][k]));
  return path.map((index) => candidates[index]);
}

function overlapCost(overlap: Overlap, maxStepDeg: number, minSharedPoints: number): number {
  const tooWide = Math.max(0, overlap.angleDeg / maxStepDeg - 1.2);
  const tooLittle = Math.max(0, 1 - (overlap.sharedPoints ?? 1) / minSharedPoints);
  return 8 * tooWide * tooWide + 4 * tooLittle * tooLittle;
}

/** Cost of each candidate's own oddity: 0 for a typical camera, at most about 4. */
function candidateCosts(cameras: readonly Camera[], arc: CameraArc, candidates: readonly number[]): number[] {
  const elevation = median(arc.elevationsDeg);
  const distance = median(arc.distances);
  return candidates.map((i) => {
    const height = (arc.elevationsDeg[i] - elevation) / 20;
    const ratio = distance > 0 ? Math.log(Math.max(arc.distances[i], 1e-9) / distance) / Math.log(1.3) : 0;
    const camera = cameras[i];
    const { u, v, z } = project(camera, arc.lookAt);
    const off = z > 0 ? Math.max(Math.abs(u / camera.width - 0.5), Math.abs(v / camera.height - 0.5)) / 0.5 : 2;
    const aim = arc.outward ? 0 : Math.min(2, off);
    return 0.5 * (Math.min(2, height * height) + Math.min(2, ratio * ratio) + aim * aim);
  });
}

function indexOfLeast(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] < values[best]) best = i;
  return best;
}
