/** Which steps of a rollout are stochastic and trained (MixGRPO, arXiv 2507.21802; method 3.2). */
import { windowRange } from '../../config/train';
import type { TrainSettings } from '../../config/train';
import { Rng } from '../../scene/procedural';

/** First step of the window of a group. Progressive windows move on every `every` updates and start over at the end. */
export function windowStart(settings: Pick<TrainSettings, 'steps' | 'window' | 'seed'>, update: number, group: number): number {
  const { window, seed } = settings;
  const [first, last] = windowRange(settings as TrainSettings);
  if (window.mode === 'progressive') return first + (Math.floor(update / window.every) % (last - first + 1));
  return first + new Rng(seed, windowStream, update * groupStride + group).int(last - first + 1);
}

const windowStream = 61;
/** More groups than an update ever has: keys of different updates never meet. */
export const groupStride = 4096;
