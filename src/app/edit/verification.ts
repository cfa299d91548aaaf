/**
 * What the verifier says about an edit: confidences before and after, and the poses it sees against the given cameras.
 */
import type { Image } from '../../scene';
import type { Verifier, VerifierMaps, VerifierReading } from '../model/verifier';
import type { AppEvent } from '../events';
import type { Device } from '../../tensor/device';
import { allPairs, poseError } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import { takeHost } from './encode';
import type { ChosenView } from './run';

/** Error of the relative pose of two views against the given cameras. */
export interface PairError {
  views: [number, number];
  rotationDeg: number;
  /** Angle between the translation directions, 0 to 180. */
  translationDeg: number;
}

/** The reading of one set of views. */
export interface SetReport {
  depthConfidence: number;
  pointConfidence: number;
  /** Means over all pairs; undefined for a single view. */
  rotationDeg?: number;
  translationDeg?: number;
  views: {
    name: string;
    depthConfidence: number;
    pointConfidence: number;
    /** Means over the pairs that the view is part of. */
    rotationDeg?: number;
    translationDeg?: number;
  }[];
  pairs: PairError[];
}

export interface Verification {
  before: SetReport;
  after: SetReport;
}

/** What can be shown of a reading: maps of the first views, before and after. */
export interface EditMaps {
  before: VerifierMaps;
  after: VerifierMaps;
}

/** Most views that the verifier looks at together: what it takes then grows with the number of views, not its square. */
const windowViews = 9;

/**
 * Reads one set of views and compares its cameras with the given ones. More than nine views are read in windows of
 * neighbours that overlap by one view; pairs are those within a window. Maps are those of the first window: depths of
 * another one would be of another scale.
 * @throws AbortError
 */
export async function verifySet(
  device: Device,
  verifier: Verifier,
  views: readonly ChosenView[],
  images: readonly Image[],
  signal: AbortSignal,
): Promise<{ report: SetReport; maps?: VerifierMaps }> {
  const depth: number[][] = views.map(() => []);
  const point: number[][] = views.map(() => []);
  const pairs: PairError[] = [];
  let maps: VerifierMaps | undefined;
  for (const [from, to] of windows(views.length)) {
    const reading = await verifier.read(images.slice(from, to), signal, { maps: from === 0 });
    maps ??= reading.maps;
    for (let view = from; view < to; view++) {
      depth[view].push(reading.depthConfidence[view - from]);
      point[view].push(reading.pointConfidence[view - from]);
    }
    for (const pair of await pairErrors(device, reading, views.slice(from, to))) {
      pairs.push({ ...pair, views: [pair.views[0] + from, pair.views[1] + from] });
    }
  }
  const average = (chosen: readonly PairError[], field: 'rotationDeg' | 'translationDeg'): number | undefined =>
    chosen.length > 0 ? mean(chosen.map((pair) => pair[field])) : undefined;
  const [depthConfidence, pointConfidence] = [depth.map(mean), point.map(mean)];
  const report: SetReport = {
    depthConfidence: mean(depthConfidence),
    pointConfidence: mean(pointConfidence),
    rotationDeg: average(pairs, 'rotationDeg'),
    translationDeg: average(pairs, 'translationDeg'),
    views: views.map(({ name }, view) => {
      const own = pairs.filter((pair) => pair.views.includes(view));
      return {
        name,
        depthConfidence: depthConfidence[view],
        pointConfidence: pointConfidence[view],
        rotationDeg: average(own, 'rotationDeg'),
        translationDeg: average(own, 'translationDeg'),
      };
    }),
    pairs,
  };
  return { report, maps };
}

/** Reads an edit's views before and after. @throws AbortError */
export async function* verifyEdit(
  device: Device,
  verifier: Verifier,
  views: readonly ChosenView[],
  { before, after, signal }: { before: readonly Image[]; after: readonly Image[]; signal: AbortSignal },
): AsyncGenerator<AppEvent, { verification: Verification; maps?: EditMaps }> {
  yield { type: 'step', stage: 'verify', step: 0, steps: 2 };
  const first = await verifySet(device, verifier, views, before, signal);
  yield { type: 'step', stage: 'verify', step: 1, steps: 2 };
  const second = await verifySet(device, verifier, views, after, signal);
  yield { type: 'step', stage: 'verify', step: 2, steps: 2 };
  return {
    verification: { before: first.report, after: second.report },
    ...(first.maps && second.maps ? { maps: { before: first.maps, after: second.maps } } : {}),
  };
}

/** Stretches [from, to) of about equal length that share their ends; one where all views fit. */
export function windows(views: number): [number, number][] {
  const count = Math.max(1, Math.ceil((views - 1) / (windowViews - 1)));
  const end = (i: number): number => Math.round((i * (views - 1)) / count);
  return Array.from({ length: count }, (_, i) => [end(i), end(i + 1) + 1]);
}

async function pairErrors(
  device: Device,
  { worldToCam }: VerifierReading,
  views: readonly ChosenView[],
): Promise<PairError[]> {
  const ids = allPairs(views.length);
  if (ids.length === 0) return [];
  const errors = scope(() => {
    const matrices = (rows: readonly (readonly number[])[]) =>
      device.tensor(Float32Array.from(rows.flatMap((row) => row.slice(0, 12))), [rows.length, 3, 4]);
    const given = matrices(views.map(({ camera }) => camera.worldToCam));
    return poseError(matrices(worldToCam), given, device.tensor(ids, [ids.length / 2, 2]));
  });
  const [rotation, translation] = await takeHost(errors.rotationDeg, errors.translationDeg);
  return Array.from({ length: ids.length / 2 }, (_, p) => ({
    views: [ids[2 * p], ids[2 * p + 1]],
    rotationDeg: rotation.data[p],
    translationDeg: translation.data[p],
  }));
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
