/** The rewards a run file asks for. */
import { ConfigError } from '../binding/errors';
import type { AggregationMode } from './advantages';
import { anchorTerm, openLpips, surrogateDistance, type AnchorTerm } from './anchor';
import { sfmTerm, warpTerm } from './controls';
import { openCustomReward } from './custom';
import type { RewardTerm } from './term';
import { depthTerm, pointTerm, poseTerm } from './terms';

/** The part of a run file's `rewards` that says which terms there are; a weight of 0 leaves a term out. */
export interface RewardRecipe {
  depth: number;
  point: number;
  pose: number;
  anchor: number;
  sfm: number;
  warp: number;
  logConfidence: boolean;
  aggregation: AggregationMode;
  /** λ of the anchor reward. */
  anchorScale: number;
  /** ONNX file of LPIPS; without one the surrogate measures the anchor reward. */
  lpips?: string;
  custom: readonly { path: string; weight: number }[];
}

/**
 * Opens the terms with a weight above 0, in the order depth, point, pose, anchor, sfm, warp, custom. Paths are relative to the working
 * folder. When one cannot be opened, those opened before are closed.
 * @throws ConfigError when all weights are 0 or a custom reward does not load; WeightsError for a network of another form; AbortError
 */
export async function buildRewards(recipe: RewardRecipe, signal?: AbortSignal): Promise<RewardTerm[]> {
  const confidence = { log: recipe.logConfidence, calibrated: recipe.aggregation === 'calibrated' };
  const terms: RewardTerm[] = [];
  try {
    if (recipe.depth > 0) terms.push(depthTerm(recipe.depth, confidence));
    if (recipe.point > 0) terms.push(pointTerm(recipe.point, confidence));
    if (recipe.pose > 0) terms.push(poseTerm(recipe.pose));
    if (recipe.anchor > 0) {
      const distance = recipe.lpips === undefined ? surrogateDistance() : await openLpips(recipe.lpips, signal);
      terms.push(anchorTerm(recipe.anchor, recipe.anchorScale, distance));
    }
    if (recipe.sfm > 0) terms.push(sfmTerm(recipe.sfm));
    if (recipe.warp > 0) terms.push(warpTerm(recipe.warp));
    for (const { path, weight } of recipe.custom) {
      if (weight > 0) terms.push(distinct(await openCustomReward(path, weight, signal), terms));
    }
    if (terms.length === 0) throw new ConfigError('rewards: all weights are 0; give one term a weight');
    return terms;
  } catch (error) {
    await disposeRewards(terms);
    throw error;
  }
}

/** Two rewards of one name would share a column in the logs: the later one gets a number. */
function distinct(term: RewardTerm, others: readonly RewardTerm[]): RewardTerm {
  const taken = (name: string): boolean => others.some((other) => other.name === name);
  if (!taken(term.name)) return term;
  let number = 2;
  while (taken(`${term.name}-${number}`)) number += 1;
  return { ...term, name: `${term.name}-${number}` };
}

/** Closes all terms, also when closing one of them fails; throws the first failure. */
export async function disposeRewards(terms: readonly RewardTerm[]): Promise<void> {
  const done = await Promise.allSettled(terms.map(async (term) => term.dispose?.()));
  const failed = done.find((result) => result.status === 'rejected');
  if (failed) throw failed.reason;
}

/** What the anchor reward of these terms measures with; undefined when there is none. Reports must say `surrogate` where it is. */
export function anchorDistance(terms: readonly RewardTerm[]): AnchorTerm['distance'] | undefined {
  const anchor = terms.find((term): term is AnchorTerm => 'distance' in term);
  return anchor?.distance;
}
