/**
 * A small structure-from-motion check with given cameras: corners matched between adjacent views along epipolar lines, chained into
 * tracks, triangulated. As a reward it is a negative control (RL3DEdit, arXiv 2603.03143, ablation): it sees sparse corners only.
 */
import { ShapeError } from '../binding/errors';
import type { Image } from '../scene';
import type { ViewCamera } from './term';
import { centreOf, epipolarDistance, project, triangulate } from './view-geometry';

export interface SfmReading {
  /** Views with at least `leastTracks` inlier tracks. */
  registered: number;
  /** Mean reprojection error in pixels over the inlier observations of registered views; 0 when there are none. */
  meanErrorPx: number;
  /** Inlier tracks per view. */
  tracks: number[];
}

/** Largest number of corners of a view, strongest first. */
const mostCorners = 300;
/** Smaller eigenvalue of the mean structure tensor (grey levels per pixel, squared) below which there is no corner. */
const leastCorner = 2e-4;
/** Half side of a patch in pixels, and the least correlation of two patches that match. */
const patchRadius = 3;
const leastCorrelation = 0.8;
/** A match's correlation distance over that of the next best candidate on the line. */
const mostRatio = 0.9;
const epipolarPx = 1.5;
/** A track whose worst reprojection error is larger is an outlier. */
const inlierPx = 2;
/** Views with fewer inlier tracks do not count as registered. */
const leastTracks = 8;

interface Corner {
  u: number;
  v: number;
  /** Patch of zero mean and unit length. */
  patch: Float64Array;
}

interface Observation {
  view: number;
  corner: Corner;
}

/** @throws ShapeError for another number of cameras than views */
export function sfmReading(views: readonly Image[], cameras: readonly ViewCamera[]): SfmReading {
  if (views.length !== cameras.length) throw new ShapeError(`SfM reward: ${views.length} views for ${cameras.length} cameras`);
  const corners = views.map(cornersOf);
  const range = depthRange(cameras);
  const tracks: Observation[][] = [];
  let open = new Map<Corner, Observation[]>();
  for (let v = 1; v < views.length; v++) {
    const continued = new Map<Corner, Observation[]>();
    for (const [first, second] of matches(corners[v - 1], corners[v], cameras[v - 1], cameras[v], range)) {
      let track = open.get(first);
      if (!track) tracks.push((track = [{ view: v - 1, corner: first }]));
      track.push({ view: v, corner: second });
      continued.set(second, track);
    }
    open = continued;
  }
  const perView = views.map(() => 0);
  const errorSum = views.map(() => 0);
  for (const track of tracks) {
    const errors = trackErrors(track, cameras);
    if (!errors || errors.some((error) => !(error <= inlierPx))) continue;
    track.forEach(({ view }, i) => {
      perView[view] += 1;
      errorSum[view] += errors[i];
    });
  }
  const registered = perView.map((count) => count >= leastTracks);
  const over = (values: readonly number[]): number => values.reduce((sum, value, v) => sum + (registered[v] ? value : 0), 0);
  const observations = over(perView);
  return {
    registered: registered.filter(Boolean).length,
    meanErrorPx: observations === 0 ? 0 : over(errorSum) / observations,
    tracks: perView,
  };
}

/** Two depths that span an epipolar line: one and ten times the largest distance of a camera from the cameras' middle. */
function depthRange(cameras: readonly ViewCamera[]): [number, number] {
  const centres = cameras.map((camera) => centreOf(camera.worldToCam));
  const middle = [0, 1, 2].map((k) => centres.reduce((sum, c) => sum + c[k], 0) / centres.length);
  const spread = Math.max(...centres.map((c) => Math.hypot(c[0] - middle[0], c[1] - middle[1], c[2] - middle[2])));
  return [spread, 10 * spread];
}

/** Reprojection errors of a track in pixels, undefined when it cannot be triangulated in front of its cameras. */
function trackErrors(track: readonly Observation[], cameras: readonly ViewCamera[]): number[] | undefined {
  const point = triangulate(track.map(({ view, corner }) => ({ camera: cameras[view], u: corner.u, v: corner.v })));
  if (!point) return undefined;
  const seen = track.map(({ view }) => project(cameras[view], point));
  if (seen.some(({ z }) => !(z > 0))) return undefined;
  return seen.map(({ u, v }, i) => Math.hypot(u - track[i].corner.u, v - track[i].corner.v));
}

/** Mutual best matches that are clearly better than the next candidate on the same epipolar line. */
function matches(
  first: readonly Corner[], second: readonly Corner[], cameraA: ViewCamera, cameraB: ViewCamera, range: readonly [number, number],
): [Corner, Corner][] {
  const forward = first.map((corner) => bestMatch(corner, second, cameraA, cameraB, range));
  const backward = second.map((corner) => bestMatch(corner, first, cameraB, cameraA, range));
  return forward.flatMap((j, i): [Corner, Corner][] => (j >= 0 && backward[j] === i ? [[first[i], second[j]]] : []));
}

function bestMatch(corner: Corner, others: readonly Corner[], from: ViewCamera, to: ViewCamera, range: readonly [number, number]): number {
  const distance = epipolarDistance(from, to, [corner.u, corner.v], range);
  if (!distance) return -1;
  let [best, value, next] = [-1, -1, -1];
  others.forEach((other, j) => {
    if (distance(other.u, other.v) > epipolarPx) return;
    let correlation = 0;
    for (let k = 0; k < corner.patch.length; k++) correlation += corner.patch[k] * other.patch[k];
    if (correlation > value) [best, value, next] = [j, correlation, value];
    else if (correlation > next) next = correlation;
  });
  return value >= leastCorrelation && 1 - value <= mostRatio * (1 - next) ? best : -1;
}

/** Shi–Tomasi corners of the grey picture (3x3 windows, central differences), local maxima over 3x3 pixels, with their patches. */
function cornersOf({ width, height, data }: Image): Corner[] {
  const pixels = width * height;
  const grey = Float64Array.from({ length: pixels }, (_, i) => 0.299 * data[i] + 0.587 * data[pixels + i] + 0.114 * data[2 * pixels + i]);
  const response = new Float64Array(pixels);
  for (let y = 2; y < height - 2; y++) {
    for (let x = 2; x < width - 2; x++) response[y * width + x] = smallerEigenvalue(grey, width, x, y);
  }
  const found: { x: number; y: number; strength: number }[] = [];
  for (let y = patchRadius; y < height - patchRadius; y++) {
    for (let x = patchRadius; x < width - patchRadius; x++) {
      const strength = response[y * width + x];
      // Not a comparison with the own pixel; of equal neighbours the first in reading order wins.
      const peak = (d: number): boolean => (d < 0 ? strength > response[y * width + x + d] : strength >= response[y * width + x + d]);
      const around = [-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1];
      if (strength >= leastCorner && around.every(peak)) found.push({ x, y, strength });
    }
  }
  found.sort((a, b) => b.strength - a.strength || a.y - b.y || a.x - b.x);
  return found.slice(0, mostCorners).map(({ x, y }) => ({ u: x + 0.5, v: y + 0.5, patch: patchAt(grey, width, x, y) }));
}

function smallerEigenvalue(grey: Float64Array, width: number, x: number, y: number): number {
  let [xx, yy, xy] = [0, 0, 0];
  for (let dy = -1; dy <= 1; dy++) {
    for (let dx = -1; dx <= 1; dx++) {
      const i = (y + dy) * width + x + dx;
      const gx = (grey[i + 1] - grey[i - 1]) / 2;
      const gy = (grey[i + width] - grey[i - width]) / 2;
      xx += gx * gx;
      yy += gy * gy;
      xy += gx * gy;
    }
  }
  return (xx + yy - Math.hypot(xx - yy, 2 * xy)) / 18;
}

function patchAt(grey: Float64Array, width: number, x: number, y: number): Float64Array {
  const side = 2 * patchRadius + 1;
  const patch = Float64Array.from({ length: side * side }, (_, k) => {
    return grey[(y + Math.floor(k / side) - patchRadius) * width + x + (k % side) - patchRadius];
  });
  const centre = patch.reduce((sum, value) => sum + value, 0) / patch.length;
  const length = Math.sqrt(patch.reduce((sum, value) => sum + (value - centre) ** 2, 0));
  return patch.map((value) => (value - centre) / length);
}
