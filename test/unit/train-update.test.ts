/** Invariants of updates (method 3.7): ratios of 1, clips, the guard, the distance to the base, groups without variance, aborts. */
import type { Judge } from '../../src/app/train/judge';
import { disposeBatches } from '../../src/app/train/rollout';
import type { RolloutBatch } from '../../src/app/train/rollout';
import { runUpdate } from '../../src/app/train/run';
import type { Run } from '../../src/app/train/run';
import type { TrainSample } from '../../src/app/train/samples';
import { accumulate } from '../../src/app/train/update';
import type { StepFigures } from '../../src/app/train/update';
import type { TrainSettings } from '../../src/config/train';
import { guardedLogRatio, logRatio, velocityKl } from '../../src/flow';
import type { UpdateFigures } from '../../src/report/metrics-file';
import { mean, mul, randn, scale, sdeCoefficients, sdeReplay, sdeStep, sum } from '../../src/tensor/ops';
import type { SdeKind, SdeStepOptions } from '../../src/tensor/ops';
import { AdamW, Ema } from '../../src/tensor/optim';
import { scope } from '../../src/tensor/scope';
import { record } from '../../src/tensor/tape';
import type { Tensor } from '../../src/tensor/tensor';
import { normals, relative } from './flux-fixtures';
import { device, group, lora, move, policy, rolled, settingsFor, signal, task, useTinyPolicy } from './train-fixtures';

useTinyPolicy();

/** Relative deviations of gradients: worst seen 4.1e-7, and 1.8e-4 where the factors of products are rounded to bf16. */
const gradientLimit = { f32: 4.3e-7, bf16: 1.9e-4 };

/** Gradients that `accumulate` adds up for some batches, in the order of the adapter's parameters, one after the other. */
async function accumulated(
  batches: readonly RolloutBatch[],
  advantages: readonly number[],
  settings: { clip: number; kl: number; guard: boolean },
  share: number,
): Promise<{ gradient: number[]; figures: StepFigures[] }> {
  const sums = new Map<Tensor, Tensor>();
  for (const parameter of lora.parameters().values()) sums.set(parameter, device.tensor(new Float32Array(parameter.size), parameter.shape));
  const figures: StepFigures[] = [];
  for (const batch of batches) {
    figures.push(await accumulate(policy, lora, batch, advantages.slice(batch.first, batch.first + batch.size), settings, share, sums));
  }
  const gradient = await flat(sums);
  for (const value of sums.values()) value.dispose();
  return { gradient, figures };
}

/** Gradients of the sum of a scalar per stored step, recorded on their own. */
async function recorded(
  batches: readonly RolloutBatch[],
  build: (velocity: Tensor, batch: RolloutBatch, step: number) => Tensor,
): Promise<number[]> {
  let total: number[] = [];
  for (const batch of batches) {
    for (const [i, { x, options }] of batch.steps.entries()) {
      const gradients = scope(() => {
        const { result, tape } = record(() => build(policy.velocity(x, options.sigma, batch.condition), batch, i));
        return tape.gradients([result]);
      });
      const values = await flat(gradients);
      for (const value of gradients.values()) value.dispose();
      total = total.length === 0 ? values : total.map((one, j) => one + values[j]);
    }
  }
  return total;
}

async function flat(of: ReadonlyMap<Tensor, Tensor>): Promise<number[]> {
  const all: number[] = [];
  for (const parameter of lora.parameters().values()) {
    const gradient = of.get(parameter);
    all.push(...(gradient ? await gradient.toFloat32() : new Float32Array(parameter.size)));
  }
  return all;
}

const largest = (values: readonly number[]): number => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
/** Σ_b weights[b] · values[b], of a tensor [B]. */
const weighted = (values: Tensor, weights: readonly number[]): Tensor => sum(mul(values, device.tensor(Float32Array.from(weights))));

describe('on the policy that made the rollouts', () => {
  const kinds: SdeKind[] = ['flow_sde', 'flow_sde_cp', 'cps', 'dance'];
  const advantages = [1.2, -0.3, -1.5, 0.6];

  it.each([
    ...kinds.map((sde) => [sde, 'f32', group] as const),
    ['flow_sde', 'bf16', group],
    ['flow_sde', 'f32', 3],
  ] as const)('%s, %s, batches of %d: ratios are exactly 1 and the gradient is −A∇ℓ', async (sde, matmul, batch) => {
    device.matmulPrecision = matmul;
    move(0.05);
    const settings = settingsFor({ sde, batch });
    const { batches } = await rolled(settings);
    const share = 1 / (2 * group);
    const { gradient, figures } = await accumulated(batches, advantages, { clip: 1e-4, kl: 0, guard: false }, share);
    for (const { ratios, clippedHigh, clippedLow } of figures) {
      expect(ratios.every((ratio) => ratio === 1)).toBe(true);
      expect([clippedHigh, clippedLow]).toEqual([0, 0]);
    }
    const loss = figures.reduce((total, one) => total + one.loss, 0);
    expect(loss).toBeCloseTo(-2 * share * advantages.reduce((a, b) => a + b), 6);
    const expected = await recorded(batches, (velocity, { first, size, steps }, i) => {
      const { logProb } = sdeReplay(steps[i].x, velocity, steps[i].next, steps[i].options);
      return weighted(logProb!, advantages.slice(first, first + size).map((a) => -a * share));
    });
    expect(largest(expected)).toBeGreaterThan(1e-4);
    expect(relative(gradient, expected)).toBeLessThan(gradientLimit[matmul]);
    disposeBatches(batches);
  });

  it.each(kinds)('%s, guarded: the gradient is −A∇ℓ over the scale of the step, 1 / (weight · std · |dt|)', async (sde) => {
    move(0.05);
    const { batches } = await rolled(settingsFor({ sde }));
    const { gradient, figures } = await accumulated(batches, advantages, { clip: 1e-4, kl: 0, guard: true }, 1 / 8);
    expect(figures[0].ratios.every((ratio) => ratio === 1)).toBe(true);
    const expected = await recorded(batches, (velocity, { steps }, i) => {
      const { options } = steps[i];
      const { std, score } = sdeCoefficients(options);
      const factor = 1 / (score!.weight * std * (options.sigma - options.sigmaNext));
      const { logProb } = sdeReplay(steps[i].x, velocity, steps[i].next, options);
      return weighted(logProb!, advantages.map((a) => (-a * factor) / 8));
    });
    expect(largest(expected)).toBeGreaterThan(1e-4);
    expect(relative(gradient, expected)).toBeLessThan(gradientLimit.f32);
    disposeBatches(batches);
  });
});

describe('the clip', () => {
  it('takes the gradient where a ratio went the way its advantage asks for beyond the range, and keeps it elsewhere', async () => {
    move(0.05);
    const { batches } = await rolled(settingsFor());
    move(0.05, 77);
    const [batch] = batches;
    const seen = { high: 0, low: 0, keptHigh: 0, keptLow: 0 };
    for (const stored of batch.steps) {
      const one = [{ ...batch, steps: [stored] }];
      const { figures } = await accumulated(one, [0, 0, 0, 0], { clip: 0.1, kl: 0, guard: false }, 1);
      const { ratios } = figures[0];
      const clip = Math.min(...ratios.map((ratio) => Math.abs(ratio - 1))) / 2;
      expect(clip).toBeGreaterThan(1e-5);
      for (const [b, ratio] of ratios.entries()) {
        for (const a of [0.7, -0.7]) {
          const advantages = ratios.map((_, i) => (i === b ? a : 0));
          const { gradient, figures: [{ clippedHigh, clippedLow }] } = await accumulated(one, advantages, { clip, kl: 0, guard: false }, 1);
          const high = ratio > 1 && a > 0;
          const low = ratio < 1 && a < 0;
          expect([clippedHigh, clippedLow]).toEqual([Number(high), Number(low)]);
          if (high || low) {
            expect(largest(gradient)).toBe(0);
          } else {
            const expected = await recorded(one, (velocity) => {
              const { logProb } = sdeReplay(stored.x, velocity, stored.next, stored.options);
              return weighted(logProb!, advantages.map((advantage) => -advantage * ratio));
            });
            expect(largest(expected)).toBeGreaterThan(1e-4);
            expect(relative(gradient, expected)).toBeLessThan(gradientLimit.f32);
          }
          if (high) seen.high += 1;
          else if (low) seen.low += 1;
          else if (ratio > 1) seen.keptHigh += 1;
          else seen.keptLow += 1;
        }
      }
    }
    expect(Object.values(seen).every((count) => count > 0)).toBe(true);
    disposeBatches(batches);
  });
});

describe('the guarded ratio', () => {
  it('has mean 0 under the old policy, where the plain one has −mean(Δ²) / (2 s²)', async () => {
    const [draws, dims] = [40_000, 8];
    const options: SdeStepOptions = { kind: 'flow_sde', sigma: 0.9, sigmaNext: 0.75, sigmaMax: 0.96, noiseLevel: 0.8 };
    const { fromVelocity } = sdeCoefficients(options);
    const x = device.tensor(new Float32Array(draws * dims), [draws, dims]);
    const velocity = device.tensor(new Float32Array(draws * dims), [draws, dims]);
    const noise = device.empty([draws, dims]);
    randn(noise, { seed: 4 });
    const shift = normals(dims, 8, 0.3);
    const moved = device.tensor(Float32Array.from({ length: draws * dims }, (_, i) => shift[i % dims]), [draws, dims]);
    const old = sdeStep(x, velocity, noise, options);
    const now = sdeReplay(x, moved, old.next, options);
    const { weight } = sdeCoefficients(options).score!;
    const squared = shift.reduce((total, value) => total + (value * fromVelocity) ** 2, 0) / dims;
    const average = async (of: Tensor): Promise<{ mean: number; error: number }> => {
      const values = await of.toFloat32();
      of.dispose();
      const centre = values.reduce((total, value) => total + value, 0) / draws;
      return { mean: centre, error: Math.sqrt(values.reduce((total, value) => total + (value - centre) ** 2, 0) / draws / draws) };
    };
    const guarded = await average(guardedLogRatio(old.next, now.mean, old.mean, old.std));
    const plain = await average(logRatio(old.next, now.mean, old.mean, weight));
    // Four standard errors; the bias of the plain ratio lies far outside of its own.
    expect(Math.abs(guarded.mean)).toBeLessThan(4 * guarded.error);
    expect(Math.abs(plain.mean + squared / (2 * old.std ** 2))).toBeLessThan(4 * plain.error);
    expect(-plain.mean).toBeGreaterThan(8 * plain.error);
    for (const { next, mean: centre, logProb } of [old, now]) for (const tensor of [next, centre, logProb]) tensor?.dispose();
    for (const tensor of [x, velocity, noise, moved]) tensor.dispose();
  });
});

describe('the distance to the base', () => {
  const still = [0, 0, 0, 0];

  it('is 0 at a fresh adapter and gives no gradient there', async () => {
    const { batches } = await rolled(settingsFor());
    const { gradient, figures } = await accumulated(batches, still, { clip: 1e-4, kl: 1, guard: false }, 1);
    expect(figures[0].kl).toEqual(new Array(2 * group).fill(0));
    expect(largest(gradient)).toBe(0);
    disposeBatches(batches);
  });

  it('is positive once the adapter moved, and only the policy, not the base, gets its gradient', async () => {
    const { batches } = await rolled(settingsFor());
    move(0.05);
    const share = 1 / (2 * group);
    const { gradient, figures } = await accumulated(batches, still, { clip: 1e-4, kl: 0.5, guard: false }, share);
    expect(Math.min(...figures[0].kl)).toBeGreaterThan(1e-8);
    expect(lora.enabled).toBe(true);
    // The base as numbers: nothing could flow into them.
    lora.enabled = false;
    const bases = await Promise.all(
      batches[0].steps.map(({ x, options }) => policy.velocity(x, options.sigma, batches[0].condition)).map(async (base) => {
        const tensor = device.tensor(await base.toFloat32(), base.shape);
        base.dispose();
        return tensor;
      }),
    );
    lora.enabled = true;
    const expected = await recorded(batches, (velocity, _, i) => scale(mean(velocityKl(velocity, bases[i])), 0.5 * share * group));
    expect(largest(expected)).toBeGreaterThan(1e-6);
    expect(relative(gradient, expected)).toBeLessThan(gradientLimit.f32);
    const loss = figures[0].kl.reduce((total, value) => total + 0.5 * share * value, 0);
    expect(Math.abs(figures[0].loss - loss) / loss).toBeLessThan(1e-6);
    for (const tensor of bases) tensor.dispose();
    disposeBatches(batches);
  });
});

const sample: TrainSample = {
  id: 'one', instruction: task.instruction, before: task.before, cameras: [], cells: task.cells, anchor: { view: 0, picture: task.before[0] },
};

/** The adapter's parameters, where gradients would stand. */
const own = (): Map<Tensor, Tensor> => new Map([...lora.parameters().values()].map((parameter) => [parameter, parameter]));

describe('a group without variance', () => {
  /** One update on groups that a judge gives these values. */
  async function update(settings: TrainSettings, values: readonly (readonly number[])[]): Promise<{ figures: UpdateFigures; moved: number }> {
    const optimizer = new AdamW(lora.parameters(), {});
    const ema = new Ema(lora.parameters(), 0.9);
    let judged = 0;
    const judge = {
      judge: () => Promise.resolve([{ name: 'given', weight: 1, values: values[judged++], floor: 1e-3 }]),
    } as unknown as Judge;
    const run: Run = {
      settings, policy, judge, terms: [], signal,
      trained: { device, lora, optimizer, ema },
      source: { description: 'one sample', sample: () => Promise.resolve(sample) },
    };
    const before = await flat(own());
    const live = device.memory().liveTensors;
    const figures = await runUpdate(run, 0, () => undefined);
    expect(device.memory().liveTensors).toBe(live);
    const after = await flat(own());
    optimizer.dispose();
    ema.dispose();
    return { figures, moved: largest(after.map((value, i) => value - before[i])) };
  }

  it('has no gradient at all, also none of the KL, and the adapter stays', async () => {
    move(0.05);
    const { figures, moved } = await update(settingsFor({ kl: 10, optimizer: { weightDecay: 0 } }), [[2, 2, 2, 2]]);
    expect(figures).toMatchObject({ gradientNorm: 0, loss: 0, kl: 0, zeroVarianceShare: 1, ratio: { mean: 1, min: 1, max: 1 } });
    expect(moved).toBe(0);
  });

  it('leaves the gradient of the others alone, at their share', async () => {
    move(0.05);
    const values = [0, 1, 2, 4];
    const alone = await update(settingsFor({ kl: 0 }), [values]);
    move(0.05);
    const beside = await update(settingsFor({ kl: 0, groupsPerUpdate: 2 }), [values, [3, 3, 3, 3]]);
    expect(beside.figures.zeroVarianceShare).toBe(0.5);
    expect(alone.moved).toBeGreaterThan(0);
    expect(beside.figures.gradientNorm / (alone.figures.gradientNorm / 2)).toBeCloseTo(1, 6);
  });
});

describe('an abort', () => {
  const judge = { judge: () => Promise.resolve([{ name: 'given', weight: 1, values: [0, 1, 2, 4], floor: 1e-3 }]) };

  /** An update that is aborted in `at`; gives its steps and how far the adapter moved. */
  async function aborted(at: 'judge' | 'step' | 'start'): Promise<{ error: unknown; steps: number; moved: number }> {
    const controller = new AbortController();
    if (at === 'start') controller.abort();
    const optimizer = new AdamW(lora.parameters(), {});
    const ema = new Ema(lora.parameters(), 0.9);
    const step = optimizer.step.bind(optimizer);
    optimizer.step = (...given) => {
      step(...given);
      if (at === 'step') controller.abort();
    };
    const run: Run = {
      settings: settingsFor({ innerEpochs: 3 }), policy, terms: [], signal: controller.signal,
      judge: { judge: () => (at === 'judge' && controller.abort(), judge.judge()) } as unknown as Judge,
      trained: { device, lora, optimizer, ema },
      source: { description: 'one sample', sample: () => Promise.resolve(sample) },
    };
    const before = await flat(own());
    const live = device.memory().liveTensors;
    const error = await runUpdate(run, 0, () => undefined).then(() => undefined, (thrown: unknown) => thrown);
    expect(device.memory().liveTensors).toBe(live);
    const after = await flat(own());
    const steps = optimizer.updates;
    optimizer.dispose();
    ema.dispose();
    return { error, steps, moved: largest(after.map((value, i) => value - before[i])) };
  }

  it.each(['start', 'judge'] as const)('before the first step (%s) ends the update and leaves the adapter as it was', async (at) => {
    const { error, steps, moved } = await aborted(at);
    expect(error).toMatchObject({ name: 'AbortError' });
    expect([steps, moved]).toEqual([0, 0]);
  });

  it('after the first of several inner epochs lets the update finish: half of one could not be taken up again', async () => {
    const { error, steps, moved } = await aborted('step');
    expect([error, steps]).toEqual([undefined, 3]);
    expect(moved).toBeGreaterThan(0);
  });
});
