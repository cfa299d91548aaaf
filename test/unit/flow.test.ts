import { AbortError, ConfigError } from '../../src/binding/errors';
import { flowSigmas, guardedLogRatio, logRatio, sample, shiftMu, velocityKl } from '../../src/flow';
import type { SampledStep } from '../../src/flow';
import { Device } from '../../src/tensor/device';
import { addScalar, randn, scale, sdeCoefficients, sdeReplay, sdeStep } from '../../src/tensor/ops';
import type { SdeKind } from '../../src/tensor/ops';
import { record } from '../../src/tensor/tape';
import type { Tensor } from '../../src/tensor/tensor';
import { collectLeftovers } from '../leftovers';
import { normals, relative } from './flux-fixtures';

const device = Device.open('cpu');

function noiseOf(seed: number): (step: number, x: Tensor) => Tensor {
  return (step, x) => {
    const noise = device.empty(x.shape);
    randn(noise, { seed, stream: step });
    return noise;
  };
}

describe('schedule', () => {
  test('mu follows the line through the two published token counts and is not clamped', () => {
    const expected: [number, number][] = [[256, 0.5], [576, 0.55417], [1024, 0.63], [2304, 0.84667], [3969, 1.1285], [4096, 1.15], [9216, 2.01667]];
    for (const [tokens, mu] of expected) expect(shiftMu(tokens)).toBeCloseTo(mu, 4);
  });

  test('sigmas of the published schedules', () => {
    const twentyEight = [
      1, 0.9884, 0.9762, 0.9634, 0.9499, 0.9356, 0.9205, 0.9045, 0.8876, 0.8696, 0.8504, 0.83, 0.8081, 0.7847, 0.7595, 0.7324, 0.7031, 0.6714,
      0.637, 0.5994, 0.5582, 0.5128, 0.4627, 0.4071, 0.3448, 0.2748, 0.1955, 0.1047, 0,
    ];
    for (const [i, sigma] of flowSigmas(28, shiftMu(4096)).entries()) expect(Math.abs(sigma - twentyEight[i])).toBeLessThan(1e-4);
    const twelve = [1, 0.954, 0.904, 0.849, 0.79, 0.724, 0.653, 0.573, 0.484, 0.385, 0.273, 0.146, 0];
    for (const [i, sigma] of flowSigmas(12, shiftMu(1024)).entries()) expect(Math.abs(sigma - twelve[i])).toBeLessThan(1e-3);
  });

  test('starts at 1, ends at 0, falls strictly', () => {
    for (const steps of [1, 2, 7, 50]) {
      const sigmas = flowSigmas(steps, 0.8);
      expect(sigmas).toHaveLength(steps + 1);
      expect([sigmas[0], sigmas[steps]]).toEqual([1, 0]);
      for (let i = 0; i < steps; i++) expect(sigmas[i + 1]).toBeLessThan(sigmas[i]);
    }
    expect(() => flowSigmas(0, 1)).toThrow(ConfigError);
    expect(() => flowSigmas(2.5, 1)).toThrow(ConfigError);
  });
});

describe('sampler', () => {
  const sigmas = flowSigmas(12, 1.15);

  test('Euler steps of a constant field end at x - v', async () => {
    const start = device.tensor(normals(24, 1), [2, 12]);
    const velocity = device.tensor(normals(24, 2), [2, 12]);
    const end = await sample(start, () => scale(velocity, 1), { sigmas });
    const expected = (await start.toFloat32()).map((value, i) => value - normals(24, 2)[i]);
    expect(relative(await end.toFloat32(), expected)).toBeLessThan(1e-6);
    expect(start.disposed).toBe(false);
  });

  /**
   * Data N(0.7, 0.25) in one dimension has the exact velocity c + k x; the variance of the samples then follows a recursion.
   * The numbers are those of the closed recursion in float64, the sampler must agree within its own statistics.
   */
  test.each([
    ['ode', 0.1487],
    ['flow_sde', 0.1935],
  ] as const)('variance of %s samples of Gaussian data', async (kind, published) => {
    const count = 200_000;
    const [m, variance, a] = [0.7, 0.25, 0.8];
    const exact = (t: number): { c: number; k: number } => {
      const k = (t - (1 - t) * variance) / ((1 - t) ** 2 * variance + t ** 2);
      return { c: -m - k * (1 - t) * m, k };
    };
    let [mean, spread] = [0, 1];
    for (let i = 0; i < 12; i++) {
      const { fromSample, fromVelocity, std } = sdeCoefficients({ kind, sigma: sigmas[i], sigmaNext: sigmas[i + 1], sigmaMax: sigmas[1], noiseLevel: a });
      const { c, k } = exact(sigmas[i]);
      mean = (fromSample + fromVelocity * k) * mean + fromVelocity * c;
      spread = (fromSample + fromVelocity * k) ** 2 * spread + std ** 2;
    }
    expect(Math.abs(spread - published)).toBeLessThan(1e-3);
    const start = device.empty([1, count]);
    randn(start, { seed: 9 });
    const field = (x: Tensor, sigma: number): Tensor => addScalar(scale(x, exact(sigma).k), exact(sigma).c);
    const end = await (await sample(start, field, { sigmas, kind: () => kind, noiseLevel: a, noise: noiseOf(10) })).toFloat32();
    const got = end.reduce((sum, value) => sum + value, 0) / count;
    const gotSpread = end.reduce((sum, value) => sum + (value - got) ** 2, 0) / count;
    // Four standard errors of mean and variance.
    expect(Math.abs(got - mean)).toBeLessThan(4 * Math.sqrt(spread / count));
    expect(Math.abs(gotSpread - spread)).toBeLessThan(4 * spread * Math.sqrt(2 / count));
  });

  test('tells every step, stochastic ones with their log-probability', async () => {
    const seen: { step: number; kind: SdeKind; logProb: boolean }[] = [];
    const start = device.tensor(normals(24, 3), [2, 12]);
    const kind = (step: number): SdeKind => (step === 1 || step === 2 ? 'flow_sde' : 'ode');
    const onStep = ({ step, options, logProb }: SampledStep): void => void seen.push({ step, kind: options.kind, logProb: logProb !== null });
    await collectLeftovers();
    const before = device.memory().liveTensors;
    const end = await sample(start, (x) => scale(x, 0.5), { sigmas, kind, noiseLevel: 0.8, noise: noiseOf(4), onStep });
    expect(seen).toEqual(Array.from({ length: 12 }, (_, step) => ({ step, kind: kind(step), logProb: step === 1 || step === 2 })));
    expect(device.memory().liveTensors).toBe(before + 1);
    end.dispose();
  });

  test('no noise strength is the plain Euler sampler, and a prefix can be shared', async () => {
    const start = device.tensor(normals(24, 5), [2, 12]);
    const field = (x: Tensor): Tensor => scale(x, -0.3);
    const plain = await (await sample(start, field, { sigmas })).toFloat32();
    const still = await (await sample(start, field, { sigmas, kind: () => 'flow_sde', noiseLevel: 0 })).toFloat32();
    expect(relative(still, plain)).toBeLessThan(1e-7);
    const prefix = await sample(start, field, { sigmas: sigmas.slice(0, 5) });
    expect(await (await sample(prefix, field, { sigmas, firstStep: 4 })).toFloat32()).toEqual(plain);
  });

  test('an abort ends it and frees everything', async () => {
    const start = device.tensor(normals(24, 6), [2, 12]);
    await collectLeftovers();
    const before = device.memory().liveTensors;
    for (const at of [0, 3]) {
      const controller = new AbortController();
      const onStep = ({ step }: SampledStep): void => {
        if (step === at) controller.abort();
      };
      await expect(sample(start, (x) => scale(x, 1), { sigmas, onStep, signal: controller.signal })).rejects.toThrow(AbortError);
    }
    await expect(sample(start, (x) => scale(x, 1), { sigmas, signal: AbortSignal.abort() })).rejects.toThrow(AbortError);
    expect(device.memory().liveTensors).toBe(before);
    expect(await start.toFloat32()).toEqual(normals(24, 6));
  });

  test('a stochastic step without noise and a run without steps are refused', async () => {
    const start = device.tensor(normals(4, 7), [1, 4]);
    const field = (x: Tensor): Tensor => scale(x, 1);
    await expect(sample(start, field, { sigmas, kind: () => 'cps', noiseLevel: 0.8 })).rejects.toThrow(ConfigError);
    await expect(sample(start, field, { sigmas, firstStep: 12 })).rejects.toThrow(ConfigError);
  });
});

describe('log-probability ratio', () => {
  const options = { kind: 'flow_sde', sigma: 0.9, sigmaNext: 0.75, sigmaMax: 0.96, noiseLevel: 0.8 } as const;
  const [batch, dims] = [2, 4096];
  const shape = [batch, dims];
  const [x, v, noise] = [11, 12, 13].map((seed) => device.tensor(normals(batch * dims, seed), shape));
  const taken = sdeStep(x, v, noise, options);
  const { weight } = sdeCoefficients(options).score!;
  const moved = device.tensor(normals(batch * dims, 12).map((value, i) => value + 1e-4 * Math.sin(i)), shape);
  const replayed = sdeReplay(x, moved, taken.next, options);

  /** l_new - l_old of each item in float64, from the stored f32 tensors. */
  async function expected(): Promise<number[]> {
    const [next, now, old] = await Promise.all([taken.next, replayed.mean, taken.mean].map((tensor) => tensor.toFloat32()));
    return Array.from({ length: batch }, (_, b) => {
      let sum = 0;
      for (let i = b * dims; i < (b + 1) * dims; i++) sum += (next[i] - old[i]) ** 2 - (next[i] - now[i]) ** 2;
      return (sum / dims) * (weight / 2);
    });
  }

  test('equals the difference of log-probabilities, and better than subtracting them', async () => {
    const exact = await expected();
    const direct = await logRatio(taken.next, replayed.mean, taken.mean, weight).toFloat32();
    const [now, old] = [await replayed.logProb!.toFloat32(), await taken.logProb!.toFloat32()];
    const error = (got: ArrayLike<number>): number => Math.max(...exact.map((value, i) => Math.abs(got[i] - value)));
    // Worst seen 2.7e-14 at a ratio of 4e-7, where subtracting the log-probabilities is off by 3.8e-8.
    expect(error(direct)).toBeLessThan(2.8e-14);
    expect(error(now.map((value, i) => value - old[i]))).toBeGreaterThan(1e-9);
  });

  test('is exactly 0 on the policy that drew the step', async () => {
    const again = sdeReplay(x, v, taken.next, options);
    expect([...(await logRatio(taken.next, again.mean, taken.mean, weight).toFloat32())]).toEqual([0, 0]);
    expect([...(await guardedLogRatio(taken.next, again.mean, taken.mean, taken.std).toFloat32())]).toEqual([0, 0]);
    expect([...(await again.logProb!.toFloat32())]).toEqual([...(await taken.logProb!.toFloat32())]);
  });

  test('the guarded form adds back what makes the ratio biased', async () => {
    const [next, now, old] = await Promise.all([taken.next, replayed.mean, taken.mean].map((tensor) => tensor.toFloat32()));
    const guarded = await guardedLogRatio(taken.next, replayed.mean, taken.mean, taken.std).toFloat32();
    for (const [b, ratio] of (await expected()).entries()) {
      let shift = 0;
      for (let i = b * dims; i < (b + 1) * dims; i++) shift += (now[i] - old[i]) ** 2 / dims;
      expect(Math.abs(guarded[b] - (taken.std * ratio + shift / (2 * taken.std)))).toBeLessThan(1e-10);
      expect(next[b]).not.toBe(old[b]);
    }
  });

  test('its gradient at the old policy is that of the log-probability', async () => {
    const velocity = device.tensor(normals(batch * dims, 12), shape);
    velocity.requiresGrad = true;
    const { result, tape } = record(() => logRatio(taken.next, sdeReplay(x, velocity, taken.next, options).mean, taken.mean, weight));
    const viaRatio = await tape.gradients([result]).get(velocity)!.toFloat32();
    const scored = record(() => sdeReplay(x, velocity, taken.next, options).logProb!);
    const viaLogProb = await scored.tape.gradients([scored.result]).get(velocity)!.toFloat32();
    const drawn = await noise.toFloat32();
    const { fromVelocity, std } = sdeCoefficients(options);
    // d l / d v = noise · fromVelocity / (std D)
    const closed = drawn.map((value) => (value * fromVelocity) / (std * dims));
    expect(relative(viaLogProb, closed)).toBeLessThan(2e-6);
    expect(relative(viaRatio, closed)).toBeLessThan(2e-6);
  });

  test('the velocity term is the mean square', async () => {
    const [a, b] = await Promise.all([v, moved].map((tensor) => tensor.toFloat32()));
    const exact = Array.from({ length: batch }, (_, item) => {
      let sum = 0;
      for (let i = item * dims; i < (item + 1) * dims; i++) sum += (a[i] - b[i]) ** 2 / dims;
      return sum;
    });
    expect(relative(await velocityKl(v, moved).toFloat32(), exact)).toBeLessThan(1e-6);
    expect([...(await velocityKl(v, v).toFloat32())]).toEqual([0, 0]);
  });
});
