/** Rewards of a group: the verifier reads every rollout with the anchor in its view's place (RL3DEdit §3.4), then each term scores. */
import type { TrainSettings } from '../../config/train';
import { scoreTerms } from '../../rewards';
import type { RewardGroup, RewardTerm, SetReading, TermValues } from '../../rewards';
import type { Image } from '../../scene';
import type { Verifier } from '../model/verifier';
import type { TrainSample } from './samples';

export class Judge {
  /** Readings of unedited views, by sample. */
  private readonly before = new Map<string, SetReading>();

  constructor(
    private readonly verifier: Verifier,
    private readonly settings: Pick<TrainSettings, 'rewards'>,
  ) {}

  /** @param rollouts [G][M] edited views; in anchor-guided mode with the anchor at its place */
  async judge(
    sample: TrainSample,
    rollouts: readonly (readonly Image[])[],
    terms: readonly RewardTerm[],
    signal: AbortSignal,
  ): Promise<TermValues[]> {
    const { anchor } = sample;
    const depth = this.settings.rewards.warp > 0;
    const swapped = this.settings.rewards.anchorSwap
      ? rollouts.map((views) => views.map((view, v) => (v === anchor.view ? anchor.picture : view)))
      : rollouts;
    const readings = await this.verifier.readSets(swapped, { depth, signal });
    const group: RewardGroup = {
      instruction: sample.instruction,
      before: sample.before,
      cameras: sample.cameras,
      rollouts,
      anchor,
      readings,
      readingBefore: await this.readBefore(sample, depth, signal),
      signal,
    };
    return scoreTerms(terms, group);
  }

  private async readBefore(sample: TrainSample, depth: boolean, signal: AbortSignal): Promise<SetReading> {
    const known = this.before.get(sample.id);
    if (known) return known;
    const [reading] = await this.verifier.readSets([sample.before], { depth, signal });
    if (this.before.size > 1024) this.before.clear();
    this.before.set(sample.id, reading);
    return reading;
  }
}
