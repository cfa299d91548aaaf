/**
 * Ratios of step probabilities, as differentiable f32 graphs over [B, …] tensors; means run over all but the batch. The steps and
 * their log-probabilities themselves are the op sdeStep (sdeReplay for a stored step).
 */
import { mean, mul, scale, sub, unary } from '../tensor/ops';
import { scope } from '../tensor/scope';
import type { Tensor } from '../tensor/tensor';

/**
 * log of the probability ratio new / old of having reached `next`, per batch item: [B]. With D = mean - meanOld and
 * e = next - meanOld, l_new - l_old = weight / 2 · mean(D (2 e - D)): two nearly equal numbers are never subtracted, and
 * mean = meanOld gives exactly 0. `weight` is that of the step's log-probability, 1 / std² (SdeCoefficients.score).
 */
export function logRatio(next: Tensor, stepMean: Tensor, stepMeanOld: Tensor, weight: number): Tensor {
  return scope(() => {
    const shift = sub(stepMean, stepMeanOld);
    const error = sub(next, stepMeanOld);
    return scale(batchMean(mul(shift, sub(scale(error, 2), shift))), weight / 2);
  });
}

/** GRPO-Guard's normalised log-ratio (arXiv 2510.22319), mean(e D) / std: of mean 0 under the old policy, of one scale for all steps. */
export function guardedLogRatio(next: Tensor, stepMean: Tensor, stepMeanOld: Tensor, std: number): Tensor {
  return scope(() => scale(batchMean(mul(sub(next, stepMeanOld), sub(stepMean, stepMeanOld))), 1 / std));
}

/** mean (v - vReference)² per batch item: [B], the KL term on velocities. */
export function velocityKl(velocity: Tensor, reference: Tensor): Tensor {
  return scope(() => batchMean(unary(sub(velocity, reference), 'square')));
}

function batchMean(x: Tensor): Tensor {
  return mean(
    x,
    x.shape.slice(1).map((_, i) => i + 1),
  );
}
