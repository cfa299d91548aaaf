/** Integrates a velocity field from noise to latents, step by step. Latents are f32 throughout. */
import { AbortError, ConfigError } from '../binding/errors';
import { sdeCoefficients, sdeStep } from '../tensor/ops';
import type { SdeKind, SdeStepOptions, SdeStepResult } from '../tensor/ops';
import { scope } from '../tensor/scope';
import type { Tensor } from '../tensor/tensor';

/** Velocity f32 [B, …] at x (same shape) and sigma. Synchronous: it only enqueues. */
export type VelocityField = (x: Tensor, sigma: number, step: number) => Tensor;

/** What one step did; the tensors live only until the callback's promise resolves (retain what is to be kept). */
export interface SampledStep extends SdeStepResult {
  step: number;
  /** What sdeReplay needs to score the step again. */
  options: SdeStepOptions;
  /** Where the step started. */
  x: Tensor;
  velocity: Tensor;
}

export interface SampleOptions {
  /** steps + 1 noise levels, decreasing to 0. */
  sigmas: readonly number[];
  /** Kind of each step; `ode` when absent. */
  kind?: (step: number) => SdeKind;
  /** Strength of the noise of stochastic steps. */
  noiseLevel?: number;
  /** Noise of a stochastic step: a new f32 tensor like `x`; freed after the step. */
  noise?: (step: number, x: Tensor) => Tensor;
  /** Called when a step has run on the device. */
  onStep?: (sampled: SampledStep) => void | Promise<void>;
  signal?: AbortSignal;
  /** First step to take: the latents are those of sigmas[firstStep]. */
  firstStep?: number;
}

/**
 * Runs the sampler from `latents` (which stay the caller's) and returns the final latents, a new tensor.
 * @throws AbortError when the signal fires: what is still queued on the device is dropped
 * @throws ConfigError when no step is left to take, or a stochastic one has no noise
 */
export async function sample(latents: Tensor, velocity: VelocityField, options: SampleOptions): Promise<Tensor> {
  const { sigmas, kind = () => 'ode', noiseLevel = 0, noise, onStep, signal, firstStep = 0 } = options;
  if (!(firstStep >= 0 && firstStep + 1 < sigmas.length)) {
    throw new ConfigError(`sample: no step to take from step ${firstStep} with ${sigmas.length} sigmas`);
  }
  const { device } = latents;
  let x = latents;
  const abort = (): void => device.abort();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    for (let step = firstStep; step + 1 < sigmas.length; step++) {
      if (signal?.aborted) throw new AbortError();
      const settings = { kind: kind(step), sigma: sigmas[step], sigmaNext: sigmas[step + 1], sigmaMax: sigmas[1], noiseLevel };
      const taken = scope(() => {
        const v = velocity(x, settings.sigma, step);
        const drawn = sdeCoefficients(settings).std > 0 ? (noise?.(step, x) ?? null) : null;
        return { velocity: v, ...sdeStep(x, v, drawn, settings) };
      });
      try {
        // One step of a large network is the unit in which progress, a failure or an abort is noticed.
        await device.sync();
        if (signal?.aborted) throw new AbortError();
        await onStep?.({ step, options: settings, x, ...taken });
      } catch (error) {
        taken.next.dispose();
        throw error;
      } finally {
        taken.velocity.dispose();
        taken.mean.dispose();
        taken.logProb?.dispose();
      }
      if (x !== latents) x.dispose();
      x = taken.next;
    }
    return x;
  } catch (error) {
    if (x !== latents) x.dispose();
    throw signal?.aborted && !(error instanceof AbortError) ? new AbortError('aborted', { cause: error }) : error;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}
