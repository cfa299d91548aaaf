/**
 * G rollouts of one sample (method 3.2): a deterministic prefix, a window of stochastic steps, a deterministic rest. With one
 * starting noise for the group the prefix is walked once, and all difference in reward comes from the actions in the window.
 */
import { sample } from '../../flow';
import type { SampledStep } from '../../flow';
import type { TrainSettings } from '../../config/train';
import { concat, randn } from '../../tensor/ops';
import type { SdeStepOptions } from '../../tensor/ops';
import { scope, unscoped } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { disposeCondition, repeated } from './policy';
import type { Condition, Policy } from './policy';
import { groupStride } from './window';

/** One stochastic step of a batch of rollouts, as it was taken: what an update scores again. */
export interface StoredStep {
  step: number;
  options: SdeStepOptions;
  /** [B, L, C] f32: where it started, where it led, and the mean it was drawn around. */
  x: Tensor;
  next: Tensor;
  mean: Tensor;
}

/** Rollouts that share a forward pass: conditions and steps of the same batch in rollout and update. */
export interface RolloutBatch {
  condition: Condition;
  /** Index in the group of its first rollout. */
  first: number;
  size: number;
  steps: StoredStep[];
}

export interface GroupRollout {
  batches: RolloutBatch[];
  /** [G, L, C] final latents. */
  latents: Tensor;
}

export interface RolloutKey {
  update: number;
  group: number;
  start: number;
}

const noiseStreams = { initial: 71, step: 72 } as const;

export async function rollOut(
  policy: Policy,
  condition: Condition,
  settings: TrainSettings,
  { update, group, start }: RolloutKey,
  signal: AbortSignal,
): Promise<GroupRollout> {
  const { steps, window, group: size, noiseLevel, sde } = settings;
  const batchSize = Math.min(settings.batch ?? size, size);
  const sigmas = policy.sigmas(steps, condition);
  const key = update * groupStride + group;
  const length = condition.targetTokens * policy.channels;
  const batches: RolloutBatch[] = [];
  const finals: Tensor[] = [];
  const owned: Tensor[] = [];
  const velocityOf = (of: Condition) => (x: Tensor, sigma: number): Tensor => policy.velocity(x, sigma, of);
  try {
    let prefix: Tensor | undefined;
    if (settings.groupNoise === 'shared') {
      const noise = initialNoise(policy, condition, settings, key, 1);
      owned.push(noise);
      prefix = await sample(noise, velocityOf(condition), { sigmas: sigmas.slice(0, start + 1), signal });
      owned.push(prefix);
    }
    for (let first = 0; first < size; first += batchSize) {
      const count = Math.min(batchSize, size - first);
      const batch: RolloutBatch = { condition: repeated(condition, count), first, size: count, steps: [] };
      batches.push(batch);
      const from = prefix
        ? unscoped(() => concat(new Array<Tensor>(count).fill(prefix), 0))
        : initialNoise(policy, condition, settings, key * size + first, count);
      owned.push(from);
      const draw = (step: number, x: Tensor): Tensor => {
        const noise = policy.device.empty(x.shape);
        // A rollout's noise is its own, however rollouts are grouped into batches.
        randn(noise, { seed: settings.seed, stream: noiseStreams.step, offset: ((key * steps + step) * size + first) * length });
        return noise;
      };
      const onStep = ({ step, options, x, next, mean }: SampledStep): void => {
        if (options.kind !== 'ode') batch.steps.push({ step, options, x: kept(x), next: kept(next), mean: kept(mean) });
      };
      const inWindow = (step: number): boolean => step >= start && step < start + window.size;
      const final = await sample(from, velocityOf(batch.condition), {
        sigmas,
        firstStep: prefix ? start : 0,
        kind: (step) => (inWindow(step) ? sde : 'ode'),
        noiseLevel,
        noise: draw,
        onStep,
        signal,
      });
      finals.push(final);
    }
    return { batches, latents: unscoped(() => concat(finals, 0)) };
  } catch (error) {
    disposeBatches(batches);
    throw error;
  } finally {
    for (const tensor of [...owned, ...finals]) tensor.dispose();
  }
}

export function disposeBatches(batches: readonly RolloutBatch[]): void {
  for (const { condition, steps } of batches) {
    disposeCondition(condition);
    for (const { x, next, mean } of steps) for (const tensor of [x, next, mean]) tensor.release();
  }
}

function kept(tensor: Tensor): Tensor {
  return tensor.retain();
}

/** N(0, 1) [count, L, C], drawn by `key` onwards; with shared view noise every target view starts from the same numbers. */
function initialNoise(policy: Policy, condition: Condition, settings: TrainSettings, key: number, count: number): Tensor {
  const { targetTokens, grid, roles } = condition;
  const views = roles.targets.length;
  const tokens = settings.noise === 'shared' ? grid.rows * grid.columns : targetTokens;
  return unscoped(() =>
    scope(() => {
      const noise = policy.device.empty([count, tokens, policy.channels]);
      randn(noise, { seed: settings.seed, stream: noiseStreams.initial, offset: key * tokens * policy.channels });
      return settings.noise === 'shared' ? concat(new Array<Tensor>(views).fill(noise), 1) : noise;
    }),
  );
}
