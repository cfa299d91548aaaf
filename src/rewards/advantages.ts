/**
 * Advantages from the rewards of groups (specs: method 3.4). Float64. Deviations are population standard deviations. A value that is
 * not finite counts as the lowest of its term in the group.
 */
import { ShapeError } from '../binding/errors';
import { hash } from '../scene/procedural/rng';
import { mean } from './terms';
import type { GroupScores, RewardGroup, RewardTerm } from './term';

/**
 * How rewards become one number. `per_reward`: every term standardised in its group, weighted, summed, standardised again. `gdpo`: the
 * last step over the whole batch of groups. `paper_literal`: the weighted sum as it is (RL3DEdit eq. 4), standardised in its group.
 * `calibrated`: the same, of confidences relative to the unedited views (the confidence terms are built that way).
 */
export type AggregationMode = 'per_reward' | 'gdpo' | 'paper_literal' | 'calibrated';

/** One term's values of a group. */
export interface TermValues {
  name: string;
  weight: number;
  /** [G] as the term gave them. */
  values: readonly number[];
  /** A deviation inside the group below this counts as none. */
  floor: number;
}

export interface ScoreSettings {
  aggregation: AggregationMode;
  /** Advantages are clamped to ± this (default 5). */
  advantageClip?: number;
  /** Control: deal the advantages of a group to other rollouts than those that earned them. */
  shuffle?: boolean;
  /** Seed of the shuffle: pass a number of its own for every batch. */
  seed?: number;
}

/** Groups whose summed reward deviates by less tell their rollouts apart by rounding only. */
const leastDeviation = 1e-4;
const deviationEpsilon = 1e-4;
/** Rounding of a mean: a floor under the floors of terms that have none. */
const rounding = 1e-12;
/** Keeps the shuffle's random numbers apart from those of the procedural scenes. */
const shuffleStream = 0x5f1e;

/** Runs the terms on one group. @throws ShapeError when a term does not give one number per rollout */
export async function scoreTerms(terms: readonly RewardTerm[], group: RewardGroup): Promise<TermValues[]> {
  const scored: TermValues[] = [];
  for (const term of terms) {
    const values = await term.score(group);
    if (values.length !== group.rollouts.length) {
      throw new ShapeError(`reward '${term.name}' gave ${values.length} values for ${group.rollouts.length} rollouts`);
    }
    scored.push({ name: term.name, weight: term.weight, values, floor: term.floor(values) });
  }
  return scored;
}

/**
 * Rewards and advantages of a batch of groups, in its order. Groups without variance get advantages of 0 and are flagged; a term that
 * gave no finite value in a group is left out of that group (`used` all 0, `invalid` = G).
 * @throws ShapeError for a group without terms or terms of different lengths
 */
export function scoreGroups(settings: ScoreSettings, groups: readonly (readonly TermValues[])[]): GroupScores[] {
  const { aggregation, advantageClip = 5, shuffle = false, seed = 0 } = settings;
  const scores = groups.map((terms, g) => totals(aggregation, terms, g));
  const standardised = aggregation === 'gdpo' ? overBatch(scores) : scores.map(({ total }) => standardise(total));
  return scores.map((score, g) => {
    const raw = score.zeroVariance ? score.total.map(() => 0) : standardised[g];
    const clamped = raw.map((a) => Math.min(Math.max(a, -advantageClip), advantageClip));
    return { ...score, advantages: shuffle ? deranged(clamped, seed, g) : clamped };
  });
}

/** The weighted sum of a group's terms in the mode's units. */
function totals(mode: AggregationMode, terms: readonly TermValues[], group: number): GroupScores {
  const size = terms[0]?.values.length ?? 0;
  if (size === 0) throw new ShapeError(`group ${group} has no reward`);
  const separate = mode === 'per_reward' || mode === 'gdpo';
  const total = new Array<number>(size).fill(0);
  const known: GroupScores['terms'] = {};
  for (const { name, weight, values, floor } of terms) {
    if (values.length !== size) throw new ShapeError(`group ${group}: reward '${name}' has ${values.length} values, another ${size}`);
    if (name in known) throw new ShapeError(`group ${group}: two rewards are called '${name}'`);
    const finite = values.filter(Number.isFinite);
    const invalid = size - finite.length;
    if (finite.length === 0) {
      known[name] = { values: [...values], used: values.map(() => 0), invalid };
      continue;
    }
    const least = Math.min(...finite);
    const used = values.map((value) => (Number.isFinite(value) ? value : least));
    known[name] = { values: [...values], used, invalid };
    const parts = separate ? deviations(used, floor) : used;
    parts.forEach((part, i) => (total[i] += weight * part));
  }
  return { terms: known, total, advantages: [], zeroVariance: deviation(total) < leastDeviation };
}

/** (x − mean) / max(std, floor). */
function deviations(values: readonly number[], floor: number): number[] {
  const centre = mean(values);
  const spread = Math.max(deviation(values), floor, rounding * Math.max(...values.map(Math.abs)));
  return values.map((value) => (spread === 0 ? 0 : (value - centre) / spread));
}

function standardise(values: readonly number[]): number[] {
  const centre = mean(values);
  const spread = deviation(values) + deviationEpsilon;
  return values.map((value) => (value - centre) / spread);
}

/** Standardised over all rollouts of the groups that have variance: the others take no part in the update. */
function overBatch(scores: readonly GroupScores[]): number[][] {
  const all = scores.filter(({ zeroVariance }) => !zeroVariance).flatMap(({ total }) => total);
  if (all.length === 0) return scores.map(({ total }) => total.map(() => 0));
  const centre = mean(all);
  const spread = deviation(all) + deviationEpsilon;
  return scores.map(({ total }) => total.map((value) => (value - centre) / spread));
}

/** Population standard deviation. */
export function deviation(values: readonly number[]): number {
  const centre = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - centre) ** 2)));
}

/**
 * A permutation without a fixed point, drawn by (seed, group) (Sattolo's cycles): no rollout keeps its own. A value at random among the
 * others of a group of G correlates with the own one by −1/(G − 1); in a group of two the signs are turned.
 */
function deranged(values: readonly number[], seed: number, group: number): number[] {
  const out = [...values];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor((hash(seed, group, shuffleStream, i) / 2 ** 32) * i);
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}
