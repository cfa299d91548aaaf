import { ConfigError } from '../../binding/errors';
import { onTape } from '../tape';
import { Tensor } from '../tensor';
import { call, callInPlace, callMany } from './call';
import { add, addScalar, concat, div, permute, reshape, scale, sum, unary } from './elem';
import { matmul } from './nn';

export interface RandomOptions {
  /** Seed, stream and offset are integers in [0, 2^53]. */
  seed: number;
  stream?: number;
  /** Element i is number offset + i of the sequence (seed, stream). */
  offset?: number;
}

/** Fills `out` with normal numbers, in place. */
export function randn(out: Tensor, { seed, stream = 0, offset = 0, mean = 0, std = 1 }: RandomOptions & { mean?: number; std?: number }): void {
  callInPlace('randn', out, seed, stream, offset, mean, std);
}

/** Fills `out` with numbers uniform in (low, high], in place. */
export function randu(out: Tensor, { seed, stream = 0, offset = 0, low = 0, high = 1 }: RandomOptions & { low?: number; high?: number }): void {
  callInPlace('randu', out, seed, stream, offset, low, high);
}

export interface AdamWStep {
  lr: number;
  beta1: number;
  beta2: number;
  eps: number;
  /** Decoupled: parameters shrink by lr * weightDecay. */
  weightDecay: number;
  /** Counts from 1. */
  step: number;
}

/** One AdamW update in place; all four tensors are f32 of one shape. Formula in native/ops/train/adamw.h. */
export function adamw(parameter: Tensor, gradient: Tensor, first: Tensor, second: Tensor, options: AdamWStep): void {
  const { lr, beta1, beta2, eps, weightDecay, step } = options;
  callInPlace('adamw', parameter, gradient, first, second, lr, beta1, beta2, eps, weightDecay, step);
}

/** y = factor * y in place; factor 0 writes zeros whatever y held. */
export function scaleInPlace(y: Tensor, factor: number): void {
  callInPlace('scale_in_place', y, factor);
}

/** y = y + factor * x in place. */
export function axpyInPlace(y: Tensor, x: Tensor, factor: number): void {
  callInPlace('axpy_in_place', y, x, factor);
}

/** y = y + weight * (x - y) in place: an exponential moving average of decay 1 - weight. */
export function lerpInPlace(y: Tensor, x: Tensor, weight: number): void {
  callInPlace('lerp_in_place', y, x, weight);
}

/** Σx² over all elements of a tensor or of several, a scalar in f32. No gradient. */
export function sumOfSquares(tensors: Tensor | readonly Tensor[]): Tensor {
  const parts = (tensors instanceof Tensor ? [tensors] : tensors).map((tensor) => call('reduce', tensor, 'sum_squares', [], false));
  if (parts.length === 1) return parts[0];
  const joined = concat(parts.map((part) => reshape(part, [1])), 0);
  return sum(joined);
}

/** Coefficients of the quintic whose iteration drives singular values towards 1 (Jordan et al. 2024, "Muon"). */
const NEWTON_SCHULZ = [3.4445, -4.775, 2.0315] as const;

/**
 * Nearest orthogonal matrix to `g` [rows, columns], approximately: five Newton-Schulz iterations on the smaller side, from
 * g over its Frobenius norm. Singular values end between about 0.68 and 1.2, so the result has spectral norm about 1 whatever
 * the scale of `g`; the caller multiplies by the update size it wants (Muon: lr * sqrt(max(1, rows / columns))). No gradient.
 */
export function newtonSchulz(g: Tensor, iterations = 5): Tensor {
  if (g.rank !== 2) throw new ConfigError(`newtonSchulz: expected a matrix, got [${g.shape}]`);
  const [a, b, c] = NEWTON_SCHULZ;
  const tall = g.dim(0) > g.dim(1);
  let x = tall ? permute(g, [1, 0]) : g;
  x = div(x, addScalar(unary(sumOfSquares(x), 'sqrt'), 1e-12));
  for (let i = 0; i < iterations; i++) {
    const gram = matmul(x, x, { transposeB: true });
    const polynomial = add(scale(gram, b), scale(matmul(gram, gram), c));
    x = add(scale(x, a), matmul(polynomial, x));
  }
  return tall ? permute(x, [1, 0]) : x;
}

export type SdeKind = 'flow_sde' | 'flow_sde_cp' | 'cps' | 'dance' | 'ode';

export interface SdeStepOptions {
  kind: SdeKind;
  /** Noise levels (times in [0, 1]) of the sample and of the next one; sigmaNext < sigma. */
  sigma: number;
  sigmaNext: number;
  /** The schedule's second sigma: replaces sigma in the divisor 1 - sigma where sigma is 1. */
  sigmaMax: number;
  /** `a` of Flow-SDE and CPS, the constant standard deviation of Dance-SDE. */
  noiseLevel: number;
}

export interface SdeCoefficients {
  /** mean = fromSample * sample + fromVelocity * velocity */
  fromSample: number;
  fromVelocity: number;
  /** Standard deviation of the step's noise: next = mean + std * noise. */
  std: number;
  /** log-probability = constant - weight / 2 * mean((next - mean)²); null for a deterministic step. */
  score: { weight: number; constant: number } | null;
}

/**
 * The step from sigma t to t' as coefficients, in f64. x̂0 = x - t v and x̂1 = x + (1 - t) v are the predicted clean sample and
 * noise, dt = t' - t < 0.
 * - `ode`: Euler, x + v dt.
 * - `flow_sde` (Flow-GRPO, arXiv 2505.05470): σ = a sqrt(t / (1 - t)), s = σ sqrt(-dt),
 *   mean = x (1 + σ²/(2t) dt) + v (1 + σ²(1 - t)/(2t)) dt.
 * - `dance` (DanceGRPO, 2505.07818): the same mean with constant σ = a.
 * - `cps` (2509.05952): s = t' sin(a π/2), mean = (1 - t') x̂0 + sqrt(t'² - s²) x̂1; its log-probability is
 *   -mean((next - mean)²), without variance and constants.
 * - `flow_sde_cp`: s of flow_sde with the mean of cps; needs s <= t'.
 * The others score mean(-(next - mean)²/(2 s²)) - log s - log(2π)/2, which does not exist for s = 0.
 */
export function sdeCoefficients({ kind, sigma, sigmaNext, sigmaMax, noiseLevel }: SdeStepOptions): SdeCoefficients {
  if (!(sigma > 0 && sigma <= 1 && sigmaNext >= 0 && sigmaNext < sigma)) {
    throw new ConfigError(`sdeStep: expected 0 <= sigmaNext < sigma <= 1, got sigma ${sigma} and sigmaNext ${sigmaNext}`);
  }
  if (!(noiseLevel >= 0)) throw new ConfigError(`sdeStep: noiseLevel must not be negative, got ${noiseLevel}`);
  const dt = sigmaNext - sigma;
  if (kind === 'ode') return { fromSample: 1, fromVelocity: dt, std: 0, score: null };
  if (kind === 'cps') {
    const std = sigmaNext * Math.sin((noiseLevel * Math.PI) / 2);
    return { ...preservingMean(sigma, sigmaNext, std), std, score: { weight: 2, constant: 0 } };
  }
  const divisor = 1 - (sigma === 1 ? sigmaMax : sigma);
  if (kind !== 'dance' && !(divisor > 0)) {
    throw new ConfigError(`sdeStep: sigmaMax must lie below 1 where sigma is 1, got ${sigmaMax}`);
  }
  const diffusion = kind === 'dance' ? noiseLevel : noiseLevel * Math.sqrt(sigma / divisor);
  const std = diffusion * Math.sqrt(-dt);
  const score = std > 0 ? { weight: 1 / (std * std), constant: -Math.log(std) - 0.5 * Math.log(2 * Math.PI) } : null;
  if (kind === 'flow_sde_cp') {
    if (std > sigmaNext) {
      throw new ConfigError(`sdeStep: flow_sde_cp needs std <= sigmaNext, got ${std} and ${sigmaNext}; use it in an inner window`);
    }
    return { ...preservingMean(sigma, sigmaNext, std), std, score };
  }
  const drift = (diffusion * diffusion) / (2 * sigma);
  return { fromSample: 1 + drift * dt, fromVelocity: (1 + drift * (1 - sigma)) * dt, std, score };
}

/** (1 - t') x̂0 + sqrt(t'² - s²) x̂1. */
function preservingMean(sigma: number, sigmaNext: number, std: number): { fromSample: number; fromVelocity: number } {
  const kept = Math.sqrt(sigmaNext * sigmaNext - std * std);
  return { fromSample: 1 - sigmaNext + kept, fromVelocity: (1 - sigma) * kept - sigma * (1 - sigmaNext) };
}

export interface SdeStepResult {
  next: Tensor;
  mean: Tensor;
  /** [B], mean over all but the batch dimension; null for a deterministic step. */
  logProb: Tensor | null;
  std: number;
}

/**
 * One sampler step: sample, velocity and noise [B, ...] f32. Without noise only `ode` (or a step of standard deviation 0) makes
 * sense: next = mean. In the log-probability `next` is constant; through `next` itself the gradient flows to the mean.
 */
export function sdeStep(sample: Tensor, velocity: Tensor, noise: Tensor | null, options: SdeStepOptions): SdeStepResult {
  const coefficients = sdeCoefficients(options);
  if (coefficients.std > 0 && noise === null) throw new ConfigError(`sdeStep: a ${options.kind} step needs noise`);
  return transition(sample, velocity, coefficients.std > 0 ? noise : null, null, coefficients);
}

/** Scores a stored `next` under the step's distribution: mean and log-probability, same bits as the step that drew it. */
export function sdeReplay(sample: Tensor, velocity: Tensor, next: Tensor, options: SdeStepOptions): SdeStepResult {
  return transition(sample, velocity, null, next, sdeCoefficients(options));
}

function transition(sample: Tensor, velocity: Tensor, noise: Tensor | null, given: Tensor | null, c: SdeCoefficients): SdeStepResult {
  const scored = c.score !== null && (noise !== null || given !== null);
  const { weight, constant } = c.score ?? { weight: 0, constant: 0 };
  const [drawn, mean, logProb] = callMany(
    'sde_step', sample, velocity, noise, given, c.fromSample, c.fromVelocity, c.std, weight, constant, scored,
  );
  const next = given ?? drawn!;
  const outputs = [mean!, ...(logProb ? [logProb] : []), ...(drawn ? [drawn] : [])];
  onTape([sample, velocity], outputs, [mean, scored ? next : null], (incoming, needs) => {
    const dLogProb = logProb ? incoming[1] : null;
    const dNext = drawn ? incoming[outputs.length - 1] : null;
    return callMany(
      'sde_step_bwd', dNext, incoming[0], dLogProb, dLogProb ? next : null, mean!, c.fromSample, c.fromVelocity, weight, needs[0], needs[1],
    );
  });
  return { next, mean: mean!, logProb, std: c.std };
}
