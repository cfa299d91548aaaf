/**
 * What a reward is: a number for every rollout of a group. A group holds G edits of one set of M views by one instruction; all
 * rewards compare them with each other only.
 */
import type { Image } from '../scene';
import type { Extrinsics } from './pose';

/** What the verifier says about one set of views. */
export interface SetReading {
  /** Per view: means over pixels of the confidences (>= 1) and of their logarithms. */
  depth: { mean: number[]; meanLog: number[] };
  point: { mean: number[]; meanLog: number[] };
  /** Estimated cameras, camera-from-world 3x4 row-major; the scale is arbitrary. */
  worldToCam: number[][];
  /** Estimated z-depth of every pixel, [V, H, W] at the verifier's size, where it was asked for. */
  depthMap?: { data: Float32Array; width: number; height: number };
}

/** A pinhole camera of a view at its size, OpenCV axes, pixel centres at +0.5. */
export interface ViewCamera {
  fx: number;
  fy: number;
  cx: number;
  cy: number;
  /** Camera-from-world 3x4 or 4x4 row-major. */
  worldToCam: Extrinsics;
}

/** G edits of M views. */
export interface RewardGroup {
  instruction: string;
  /** The unedited views, in grid order. */
  before: readonly Image[];
  cameras: readonly ViewCamera[];
  /** [G][M] edited views as the policy made them. In anchor-guided mode view `anchor.view` is the anchor itself. */
  rollouts: readonly (readonly Image[])[];
  /** A finished edit of one view: the pre-edit that keeps the 2D edit. */
  anchor: { view: number; picture: Image };
  /** [G] readings of the sets with view `anchor.view` replaced by the anchor (RL3DEdit §3.4), and of the unedited views. */
  readings: readonly SetReading[];
  readingBefore: SetReading;
  signal?: AbortSignal;
}

/** One reward. NaN marks a rollout whose value could not be computed: the group's lowest value takes its place. */
export interface RewardTerm {
  readonly name: string;
  readonly weight: number;
  /** A deviation inside a group below this counts as none. */
  floor(values: readonly number[]): number;
  /** [G] values, larger is better. */
  score(group: RewardGroup): number[] | Promise<number[]>;
  dispose?(): void | Promise<void>;
}

/** The rewards of one group: per term the values as they came and as they were used, and the advantages made of them. */
export interface GroupScores {
  terms: Record<string, { values: number[]; used: number[]; invalid: number }>;
  /** Weighted sum in the mode's own units, for logs. */
  total: number[];
  advantages: number[];
  /** No reward told the rollouts apart: the group is left out of the update. */
  zeroVariance: boolean;
}
