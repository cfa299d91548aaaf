/**
 * Negative controls (RL3DEdit, arXiv 2603.03143, ablation): verifiers that look reasonable and can be cheated. They are here to show
 * that, not to train an editor with.
 */
import { throwIfAborted } from '../scene';
import { sfmReading } from './sfm';
import { absoluteFloor, checkGroup } from './terms';
import type { RewardGroup, RewardTerm } from './term';
import { photometricLoss } from './warp';

/**
 * (registered views / views) · exp(−mean reprojection error in pixels), from corners matched under the given cameras, in [0, 1]. Blind
 * to everything that is no corner: colours, flat areas.
 */
export function sfmTerm(weight: number): RewardTerm {
  return control('sfm', weight, (group, i) => {
    const { registered, meanErrorPx } = sfmReading(group.rollouts[i], group.cameras);
    return (registered / group.cameras.length) * Math.exp(-meanErrorPx);
  });
}

/** exp(−Ph-Loss), in (0, 1]; NaN where no pair of views overlaps. Needs the readings' depth maps. Highest for blurred or empty views. */
export function warpTerm(weight: number): RewardTerm {
  return control('warp', weight, (group, i) => Math.exp(-photometricLoss(group.rollouts[i], group.cameras, group.readings[i]).loss));
}

/** Whether a term reads `SetReading.depthMap`: the verifier must then be asked for it. */
export function needsDepthMap(terms: readonly RewardTerm[]): boolean {
  return terms.some((term) => term.name === 'warp');
}

function control(name: string, weight: number, value: (group: RewardGroup, rollout: number) => number): RewardTerm {
  return {
    name,
    weight,
    floor: () => absoluteFloor,
    score: (group) => {
      checkGroup(group, name);
      return group.rollouts.map((_, i) => {
        throwIfAborted(group.signal);
        return value(group, i);
      });
    },
  };
}
