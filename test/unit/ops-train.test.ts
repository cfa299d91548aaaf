import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, ShapeError } from '../../src/binding/errors';
import { Device } from '../../src/tensor/device';
import * as ops from '../../src/tensor/ops';
import type { SdeKind, SdeStepOptions } from '../../src/tensor/ops';
import { SafetensorsFile } from '../../src/tensor/safetensors';
import { scope } from '../../src/tensor/scope';
import { record } from '../../src/tensor/tape';
import type { Tensor } from '../../src/tensor/tensor';
import { checkGradients, numbers } from '../gradients';

const device = Device.open('cpu');
const golden = join(__dirname, '..', 'golden', 'flow-sde');

afterAll(() => device.dispose());

async function load(file: SafetensorsFile, name: string): Promise<{ tensor: Tensor; values: Float32Array }> {
  const tensor = file.load(name);
  return { tensor, values: await tensor.toFloat32() };
}

function worst(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let error = 0;
  let peak = 1e-6;
  for (let i = 0; i < expected.length; i++) {
    error = Math.max(error, Math.abs(found[i] - expected[i]));
    peak = Math.max(peak, Math.abs(expected[i]));
  }
  return found.length === expected.length ? error / peak : Infinity;
}

describe('sdeStep', () => {
  interface GoldenCase { sigma: number; sigma_next: number; sigma_max: number; noise_level: number }
  const { cases } = JSON.parse(readFileSync(join(golden, 'case.json'), 'utf8')) as { cases: GoldenCase[] };
  const inputs = new SafetensorsFile(device, join(golden, 'inputs.safetensors'));
  const expected = new SafetensorsFile(device, join(golden, 'expected.safetensors'));

  // The references are stored in f32: half a unit in the last place is 6e-8. Worst measured: 1.2e-7.
  test.each(cases.map((entry, i) => ({ ...entry, i })))('flow_sde matches the reference, $sigma to $sigma_next at noise $noise_level', async (entry) => {
    const { i, sigma, sigma_next: sigmaNext, sigma_max: sigmaMax, noise_level: noiseLevel } = entry;
    const [sample, velocity, noise] = await Promise.all(['sample', 'velocity', 'noise'].map((name) => load(inputs, `${i}.${name}`)));
    const step = ops.sdeStep(sample.tensor, velocity.tensor, noise.tensor, { kind: 'flow_sde', sigma, sigmaNext, sigmaMax, noiseLevel });
    expect(worst(await step.next.toFloat32(), (await load(expected, `${i}.next`)).values)).toBeLessThan(1.3e-7);
    expect(worst(await step.mean.toFloat32(), (await load(expected, `${i}.mean`)).values)).toBeLessThan(1.3e-7);
    expect(worst(await step.logProb!.toFloat32(), (await load(expected, `${i}.log_prob`)).values)).toBeLessThan(3e-7);
    expect(worst([step.std], (await load(expected, `${i}.std`)).values)).toBeLessThan(1e-7);
  });

  const inner: SdeStepOptions = { kind: 'flow_sde', sigma: 0.76, sigmaNext: 0.693, sigmaMax: 0.972, noiseLevel: 0.8 };
  const shape = [2, 5, 7];
  const draw = (seed: number): Tensor => device.tensor(numbers(shape, seed), shape);

  test('with noise level 0 every Gaussian kind is the Euler step', async () => {
    const [x, v, noise] = [draw(1), draw(2), draw(3)];
    const euler = await ops.sdeStep(x, v, null, { ...inner, kind: 'ode' }).next.toFloat32();
    for (const kind of ['flow_sde', 'flow_sde_cp', 'dance', 'cps'] as const) {
      const step = ops.sdeStep(x, v, noise, { ...inner, kind, noiseLevel: 0 });
      expect(worst(await step.next.toFloat32(), euler)).toBeLessThan(1e-7);
      expect(step.std).toBe(0);
    }
  });

  // mean = (1 - t') x0 + c x1 with c = t' - s²/(2t) for flow_sde and dance, sqrt(t'² - s²) for the two others.
  test.each<SdeKind>(['flow_sde', 'flow_sde_cp', 'dance', 'cps'])('%s has the mean of its definition', async (kind) => {
    const { sigma: t, sigmaNext: u, noiseLevel: a } = inner;
    const [x, v, noise] = [numbers(shape, 1), numbers(shape, 2), numbers(shape, 3)];
    const s = { flow_sde: a * Math.sqrt((t / (1 - t)) * (t - u)), flow_sde_cp: a * Math.sqrt((t / (1 - t)) * (t - u)), dance: a * Math.sqrt(t - u), cps: u * Math.sin((a * Math.PI) / 2), ode: 0 }[kind];
    const c = kind === 'flow_sde' || kind === 'dance' ? u - (s * s) / (2 * t) : Math.sqrt(u * u - s * s);
    const mean = x.map((value, i) => (1 - u) * (value - t * v[i]) + c * (value + (1 - t) * v[i]));
    const step = ops.sdeStep(draw(1), draw(2), draw(3), { ...inner, kind });
    expect(step.std).toBeCloseTo(s, 12);
    expect(worst(await step.mean.toFloat32(), mean)).toBeLessThan(1.3e-7);
    expect(worst(await step.next.toFloat32(), mean.map((value, i) => value + s * noise[i]))).toBeLessThan(1.3e-7);
    const error2 = [0, 1].map((b) => numbers(shape, 3).slice(b * 35, b * 35 + 35).reduce((sum, e) => sum + (s * e) ** 2 / 35, 0));
    const logProb = error2.map((e) => (kind === 'cps' ? -e : -e / (2 * s * s) - Math.log(s) - 0.5 * Math.log(2 * Math.PI)));
    expect(worst(await step.logProb!.toFloat32(), logProb)).toBeLessThan(1e-6);
  });

  test.each<SdeKind>(['flow_sde', 'flow_sde_cp', 'dance', 'cps'])('%s: a replay scores the drawn sample with the same bits', async (kind) => {
    const big = [3, 9000];
    const [x, v, noise] = [1, 2, 3].map((seed) => device.tensor(numbers(big, seed), big));
    const step = ops.sdeStep(x, v, noise, { ...inner, kind });
    const replay = ops.sdeReplay(x, v, step.next, { ...inner, kind });
    expect(replay.next).toBe(step.next);
    expect(await replay.mean.toFloat32()).toEqual(await step.mean.toFloat32());
    expect(await replay.logProb!.toFloat32()).toEqual(await step.logProb!.toFloat32());
  });

  // The log-probability is quadratic in the velocity: central differences are exact but for rounding.
  test.each<SdeKind>(['flow_sde', 'flow_sde_cp', 'dance', 'cps'])('%s: gradients of log-probability, mean and next', async (kind) => {
    const next = draw(4);
    const options = { ...inner, kind };
    await checkGradients(device, [shape, shape], ([x, v]) => ops.sdeReplay(x, v, next, options).logProb!, { tolerance: 2e-4, step: 0.25 });
    await checkGradients(device, [shape, shape], ([x, v]) => {
      const { mean, logProb } = ops.sdeReplay(x, v, next, options);
      return ops.mul(mean, ops.reshape(logProb!, [2, 1, 1]));
    });
    const noise = draw(5);
    await checkGradients(device, [shape, shape], ([x, v]) => ops.square(ops.sdeStep(x, v, noise, options).next));
  });

  test('next is constant in the log-probability of a drawn step', async () => {
    const v = draw(2);
    v.requiresGrad = true;
    const { result, tape } = record(() => ops.sdeStep(draw(1), v, draw(3), inner));
    const gradient = await tape.gradients([result.logProb!]).get(v)!.toFloat32();
    // d logProb / dv = (noise / std) * fromVelocity / D
    const { fromVelocity, std } = ops.sdeCoefficients(inner);
    expect(worst(gradient, numbers(shape, 3).map((e) => ((e / std) * fromVelocity) / 35))).toBeLessThan(1e-5);
  });

  test('cps is deterministic at the end, and impossible steps say why', () => {
    const [x, v, noise] = [draw(1), draw(2), draw(3)];
    expect(ops.sdeStep(x, v, noise, { ...inner, kind: 'cps', sigma: 0.2, sigmaNext: 0 }).std).toBe(0);
    expect(() => ops.sdeStep(x, v, null, inner)).toThrow(/needs noise/);
    expect(() => ops.sdeStep(x, v, noise, { ...inner, sigmaNext: 0.8 })).toThrow(ConfigError);
    expect(() => ops.sdeStep(x, v, noise, { ...inner, sigma: 1, sigmaMax: 1 })).toThrow(/sigmaMax/);
    expect(() => ops.sdeStep(x, v, noise, { ...inner, kind: 'flow_sde_cp', sigmaNext: 0.05 })).toThrow(/inner window/);
    expect(() => ops.sdeStep(x, device.tensor([1]), noise, inner)).toThrow(ShapeError);
  });
});

describe('optimiser ops', () => {
  test('adamw follows the float64 recursion', async () => {
    const n = 1003;
    const p = numbers([n], 1);
    const m = p.map(() => 0);
    const v = p.map(() => 0);
    const parameter = device.tensor(p);
    const [first, second] = [ops.full(device, [n], 0), ops.full(device, [n], 0)];
    const [lr, beta1, beta2, eps, weightDecay] = [0.01, 0.9, 0.98, 1e-8, 0.1];
    for (let step = 1; step <= 20; step++) {
      const g = numbers([n], 100 + step);
      ops.adamw(parameter, device.tensor(g), first, second, { lr, beta1, beta2, eps, weightDecay, step });
      for (let i = 0; i < n; i++) {
        m[i] = beta1 * m[i] + (1 - beta1) * g[i];
        v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
        p[i] = p[i] * (1 - lr * weightDecay) - (lr * (m[i] / (1 - beta1 ** step))) / (Math.sqrt(v[i] / (1 - beta2 ** step)) + eps);
      }
    }
    expect(worst(await parameter.toFloat32(), p)).toBeLessThan(5e-7);
    expect(worst(await first.toFloat32(), m)).toBeLessThan(5e-7);
    expect(worst(await second.toFloat32(), v)).toBeLessThan(5e-7);
  });

  test('in-place updates', async () => {
    const y = device.tensor([1, 2, NaN]);
    ops.scaleInPlace(y, 0);
    expect(Array.from(await y.read())).toEqual([0, 0, 0]);
    ops.axpyInPlace(y, device.tensor([1, 2, 3]), 2);
    ops.lerpInPlace(y, device.tensor([10, 10, 10]), 0.25);
    ops.scaleInPlace(y, 2);
    expect(Array.from(await y.read())).toEqual([8, 11, 14]);
    const mixed = ops.cast(device.tensor([1.5, -2, 0]), 'bf16');
    ops.axpyInPlace(y, mixed, 1);
    expect(Array.from(await y.read())).toEqual([9.5, 9, 14]);
    expect(() => ops.axpyInPlace(y, device.tensor([1]), 1)).toThrow(ShapeError);
  });

  test('sumOfSquares over several tensors', async () => {
    const parts = [[7], [3, 5], [2, 2, 2]].map((shape, i) => ({ shape, values: numbers(shape, i + 1) }));
    const total = ops.sumOfSquares(parts.map(({ shape, values }) => device.tensor(values, shape)));
    const reference = parts.flatMap(({ values }) => values).reduce((sum, value) => sum + value * value, 0);
    expect(total.shape).toEqual([]);
    expect(worst(await total.toFloat32(), [reference])).toBeLessThan(2e-7);
  });

  test.each([[6, 20], [20, 6], [16, 16]])('newtonSchulz of a %i x %i matrix is nearly orthogonal whatever its scale', async (rows, columns) => {
    for (const scale of [1e-3, 1, 1e3]) {
      const g = device.tensor(numbers([rows, columns], 5).map((value) => value * scale), [rows, columns]);
      const x = scope(() => ops.newtonSchulz(g));
      expect(x.shape).toEqual([rows, columns]);
      const small = Math.min(rows, columns);
      const gram = await ops.matmul(x, x, rows > columns ? { transposeA: true } : { transposeB: true }).toFloat32();
      // Squared singular values lie within 0.68² and 1.2²: so do diagonal entries, and trace / n shows the mean.
      for (let i = 0; i < small; i++) {
        expect(gram[i * small + i]).toBeGreaterThan(0.4);
        expect(gram[i * small + i]).toBeLessThan(1.5);
      }
      // <x, g> is the sum of the singular values of g times about one: g points the same way.
      const [xs, gs] = [await x.toFloat32(), await g.toFloat32()];
      let along = 0;
      let norm2 = 0;
      for (let i = 0; i < xs.length; i++) {
        along += xs[i] * gs[i];
        norm2 += gs[i] * gs[i];
      }
      expect(along).toBeGreaterThan(0.65 * Math.sqrt(norm2));
    }
  });
});

describe('random numbers', () => {
  test('a cut sequence gives the same numbers', async () => {
    const whole = device.empty([1000]);
    ops.randn(whole, { seed: 7, stream: 3 });
    const values = await whole.toFloat32();
    for (const [offset, length] of [[0, 1], [1, 6], [7, 500], [507, 493]]) {
      const part = device.empty([length]);
      ops.randn(part, { seed: 7, stream: 3, offset });
      expect(await part.toFloat32()).toEqual(values.slice(offset, offset + length));
    }
    const other = device.empty([1000]);
    ops.randn(other, { seed: 8, stream: 3 });
    expect(worst(await other.toFloat32(), values)).toBeGreaterThan(0.1);
  });

  test('moments of a million normals', async () => {
    const x = device.empty([1000, 1000]);
    ops.randn(x, { seed: 1, mean: 2, std: 3 });
    const values = await x.toFloat32();
    const n = values.length;
    const mean = values.reduce((sum, value) => sum + value, 0) / n;
    const moments = [0, 0, 0, 0, 0];
    for (const value of values) {
      const z = (value - 2) / 3;
      for (let k = 1, power = z; k <= 4; k++, power *= z) moments[k] += power / n;
    }
    expect(Math.abs(mean - 2)).toBeLessThan(0.012);
    expect(Math.abs(moments[2] - 1)).toBeLessThan(0.006);
    expect(Math.abs(moments[3])).toBeLessThan(0.012);
    expect(Math.abs(moments[4] - 3)).toBeLessThan(0.04);
  });

  test('uniform numbers fill their interval evenly', async () => {
    const x = device.empty([100000]);
    ops.randu(x, { seed: 4, low: -1, high: 3 });
    const values = await x.toFloat32();
    const bins = new Array<number>(8).fill(0);
    for (const value of values) {
      if (value > -1 && value <= 3) bins[Math.min(7, Math.floor((value + 1) * 2))] += 1;
    }
    expect(bins.reduce((sum, count) => sum + count)).toBe(values.length);
    for (const count of bins) expect(Math.abs(count - 12500)).toBeLessThan(500);
  });

  test('wrong arguments are typed errors', () => {
    expect(() => ops.randn(device.empty([3]), { seed: -1 })).toThrow(ConfigError);
    expect(() => ops.randn(device.empty([3], 'i32'), { seed: 1 })).toThrow(ShapeError);
  });
});
