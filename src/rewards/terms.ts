/** The geometric rewards r_D, r_P and r_T (RL3DEdit, arXiv 2603.03143, eq. 1–3) as terms of a group. Float64 throughout. */
import { ShapeError } from '../binding/errors';
import { poseReward } from './pose';
import type { RewardGroup, RewardTerm, SetReading } from './term';

/** Deviations below this share of the mean count as none: the rounding of a mean confidence, whatever its scale. */
const relativeFloor = 1e-3;
/** The same for rewards of a known scale: logarithms, ratios and values in (0, 1]. */
export const absoluteFloor = 1e-3;
/** Largest confidence relative to the unedited views that still earns more. */
const calibratedMost = 1.5;

/** 1e-3 · |mean| of the values that are finite; 0 when none is. */
export function floorOfMean(values: readonly number[]): number {
  const finite = values.filter(Number.isFinite);
  return finite.length === 0 ? 0 : relativeFloor * Math.abs(mean(finite));
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/**
 * @throws ShapeError when a group has no rollout, its sets differ in their number of views, readings are missing, or the anchor's
 *   view is none of the group's
 */
export function checkGroup(group: RewardGroup, what: string): void {
  const { rollouts, readings, cameras, before, anchor } = group;
  const views = cameras.length;
  const wrong = (problem: string): never => {
    throw new ShapeError(`${what} reward: ${problem}`);
  };
  if (rollouts.length === 0) wrong('the group has no rollout');
  if (views === 0) wrong('the group has no view');
  if (before.length !== views) wrong(`${before.length} unedited views for ${views} cameras`);
  if (readings.length !== rollouts.length) wrong(`${readings.length} readings for ${rollouts.length} rollouts`);
  const uneven = rollouts.findIndex((set) => set.length !== views);
  if (uneven >= 0) wrong(`rollout ${uneven} has ${rollouts[uneven].length} views, expected ${views}`);
  if (!Number.isInteger(anchor.view) || anchor.view < 0 || anchor.view >= views) wrong(`anchor view ${anchor.view} is none of ${views} views`);
}

export interface ConfidenceOptions {
  /** Mean of the logarithms instead of the mean: not ruled by the few most confident pixels. */
  log?: boolean;
  /**
   * Divide by the same figure of the unedited views and clip to [0, 1.5] (method 1.6): a ratio of means, or with `log` of geometric
   * means, exp(difference of mean logarithms).
   */
  calibrated?: boolean;
}

function confidenceTerm(name: 'depth' | 'point', weight: number, { log = false, calibrated = false }: ConfidenceOptions): RewardTerm {
  const figure = (reading: SetReading): number => mean(log ? reading[name].meanLog : reading[name].mean);
  const value = (reading: SetReading, before: SetReading): number => {
    if (!calibrated) return figure(reading);
    const ratio = log ? Math.exp(figure(reading) - figure(before)) : figure(reading) / figure(before);
    return Math.min(Math.max(ratio, 0), calibratedMost);
  };
  return {
    name,
    weight,
    floor: (values) => (log || calibrated ? absoluteFloor : floorOfMean(values)),
    score: (group) => {
      checkGroup(group, name);
      for (const reading of calibrated ? [...group.readings, group.readingBefore] : group.readings) {
        const views = reading[name][log ? 'meanLog' : 'mean'].length;
        if (views !== group.cameras.length) throw new ShapeError(`${name} reward: a reading of ${views} views for ${group.cameras.length} cameras`);
      }
      return group.readings.map((reading) => value(reading, group.readingBefore));
    },
  };
}

/** r_D: the verifier's depth confidence, averaged over the views of the set with the anchor in its place. */
export function depthTerm(weight: number, options: ConfidenceOptions = {}): RewardTerm {
  return confidenceTerm('depth', weight, options);
}

/** r_P: the same of its point confidence. */
export function pointTerm(weight: number, options: ConfidenceOptions = {}): RewardTerm {
  return confidenceTerm('point', weight, options);
}

/** r_T: relative poses of adjacent views against the given cameras, in (0, 1]. */
export function poseTerm(weight: number): RewardTerm {
  return {
    name: 'pose',
    weight,
    floor: () => absoluteFloor,
    score: (group) => {
      checkGroup(group, 'pose');
      const given = group.cameras.map((camera) => camera.worldToCam);
      return group.readings.map((reading) => poseReward(reading.worldToCam, given).reward);
    },
  };
}
