/** One update of the policy (method 3.5): clipped surrogate over the stored steps, distance to the base, gradients added up. */
import { guardedLogRatio, logRatio, velocityKl } from '../../flow';
import type { TrainSettings } from '../../config/train';
import type { Lora } from '../../models/lora';
import { add, axpyInPlace, clamp, exp, maximum, mean, mul, scale, sdeCoefficients, sdeReplay } from '../../tensor/ops';
import type { Gradients } from '../../tensor/optim';
import { scope } from '../../tensor/scope';
import { noGrad, record } from '../../tensor/tape';
import type { Tensor } from '../../tensor/tensor';
import type { Policy } from './policy';
import type { RolloutBatch, StoredStep } from './rollout';

/** Figures of the scored steps of one or several groups. */
export interface StepFigures {
  ratios: number[];
  /** Share of steps where the clip took the gradient away, by side. */
  clippedHigh: number;
  clippedLow: number;
  kl: number[];
  loss: number;
}

/** Range of the exponent of a ratio: e^20 is no ratio any more. */
const MOST_LOG_RATIO = 20;

/**
 * Adds the gradients of one batch of rollouts to `sums`. `advantages` are those of the batch's rollouts; `share` is one over the
 * number of steps and rollouts that the whole update averages over.
 */
export async function accumulate(
  policy: Policy,
  lora: Lora,
  batch: RolloutBatch,
  advantages: readonly number[],
  settings: Pick<TrainSettings, 'clip' | 'kl' | 'guard'>,
  share: number,
  sums: Gradients,
): Promise<StepFigures> {
  const figures: StepFigures = { ratios: [], clippedHigh: 0, clippedLow: 0, kl: [], loss: 0 };
  for (const stored of batch.steps) {
    const { ratio, kl, loss } = step(policy, lora, batch, stored, advantages, settings, share, sums);
    const [ratios, distances, [value]] = await Promise.all([ratio, kl, loss].map((tensor) => tensor.toFloat32()));
    for (const tensor of [ratio, kl, loss]) tensor.dispose();
    figures.ratios.push(...ratios);
    figures.kl.push(...distances);
    figures.loss += value;
    ratios.forEach((value, i) => {
      if (advantages[i] > 0 && value > 1 + settings.clip) figures.clippedHigh += 1;
      if (advantages[i] < 0 && value < 1 - settings.clip) figures.clippedLow += 1;
    });
  }
  return figures;
}

function step(
  policy: Policy,
  lora: Lora,
  { condition, size }: RolloutBatch,
  { x, next, mean: meanOld, options }: StoredStep,
  advantages: readonly number[],
  { clip, kl: klWeight, guard }: Pick<TrainSettings, 'clip' | 'kl' | 'guard'>,
  share: number,
  sums: Gradients,
): { ratio: Tensor; kl: Tensor; loss: Tensor } {
  return scope(() => {
    const { score, std } = sdeCoefficients(options);
    const weight = score?.weight ?? 0;
    const reference = klWeight > 0 ? baseVelocity(policy, lora, condition, x, options.sigma) : undefined;
    const { result, tape } = record(() => {
      const velocity = policy.velocity(x, options.sigma, condition, { checkpointBlocks: policy.checkpoints });
      const { mean: stepMean } = sdeReplay(x, velocity, next, options);
      const exponent = guard ? guardedLogRatio(next, stepMean, meanOld, std) : logRatio(next, stepMean, meanOld, weight);
      const ratio = exp(clamp(exponent, -MOST_LOG_RATIO, MOST_LOG_RATIO));
      const against = x.device.tensor(Float32Array.from(advantages, (a) => -a));
      const surrogate = maximum(mul(ratio, against), mul(clamp(ratio, 1 - clip, 1 + clip), against));
      const scaled = guard ? scale(surrogate, 1 / (options.sigma - options.sigmaNext)) : surrogate;
      const distance = reference ? velocityKl(velocity, reference) : undefined;
      const perRollout = distance ? add(scaled, scale(distance, klWeight)) : scaled;
      return { ratio, distance, loss: scale(mean(perRollout), share * size) };
    });
    const gradients = tape.gradients([result.loss]);
    for (const [parameter, gradient] of gradients) {
      const sum = sums.get(parameter);
      if (sum) axpyInPlace(sum, gradient, 1);
    }
    for (const gradient of gradients.values()) gradient.dispose();
    return { ratio: result.ratio, kl: result.distance ?? scale(result.ratio, 0), loss: result.loss };
  });
}

/** The velocity of the base: adapter off, nothing recorded, the same ops otherwise. */
function baseVelocity(policy: Policy, lora: Lora, condition: RolloutBatch['condition'], x: Tensor, sigma: number): Tensor {
  lora.enabled = false;
  try {
    return noGrad(() => policy.velocity(x, sigma, condition));
  } finally {
    lora.enabled = true;
  }
}
