/** Invariants of rollouts and updates (method 3.7) on a random tiny editor: what is stored, ratios, clips, KL, groups without variance. */
import { join } from 'node:path';
import { loadEditor } from '../../src/app/model';
import { disposeCondition, Policy } from '../../src/app/train/policy';
import type { Condition } from '../../src/app/train/policy';
import { disposeBatches, rollOut } from '../../src/app/train/rollout';
import type { RolloutBatch, RolloutKey } from '../../src/app/train/rollout';
import type { Judge } from '../../src/app/train/judge';
import { runUpdate } from '../../src/app/train/run';
import type { Run, UpdateFigures } from '../../src/app/train/run';
import type { TrainSample } from '../../src/app/train/samples';
import { accumulate } from '../../src/app/train/update';
import type { StepFigures } from '../../src/app/train/update';
import { windowStart } from '../../src/app/train/window';
import { trainSchema, windowRange } from '../../src/config/train';
import type { TrainSettings } from '../../src/config/train';
import { guardedLogRatio, logRatio, velocityKl } from '../../src/flow';
import { createLora } from '../../src/models/lora';
import type { Lora } from '../../src/models/lora';
import type { Image } from '../../src/scene';
import { Device } from '../../src/tensor/device';
import { mean, mul, randn, scale, sdeCoefficients, sdeReplay, sdeStep, sum } from '../../src/tensor/ops';
import type { SdeKind, SdeStepOptions } from '../../src/tensor/ops';
import { AdamW, Ema } from '../../src/tensor/optim';
import { scope } from '../../src/tensor/scope';
import { record } from '../../src/tensor/tape';
import type { Tensor } from '../../src/tensor/tensor';
import { writeRandomTinyModel } from '../app/tiny-model';
import { temporaryFolder } from '../scene-fixtures';
import { normals, relative } from './flux-fixtures';

const device = Device.open('cpu');
const root = temporaryFolder();
const side = 32;
const signal = new AbortController().signal;
const group = 4;
/** Relative deviations of gradients: worst seen 4.1e-7, and 1.8e-4 where the factors of products are rounded to bf16. */
const gradientLimit = { f32: 4.3e-7, bf16: 1.9e-4 };
const key: RolloutKey = { update: 0, group: 0, start: 1 };
let policy: Policy;
let condition: Condition;
let lora: Lora;

const picture = (seed: number): Image => ({ width: side, height: side, data: normals(3 * side * side, seed, 0.1).map((x) => 0.5 + x) });
const roles = { targets: [0, 1], contexts: [] };
const task = { instruction: 'make it night', before: [picture(1), picture(2)], cells: [3, 7], roles, contexts: [] };

beforeAll(async () => {
  const model = await writeRandomTinyModel(join(root, 'model'), device);
  policy = await Policy.open(await loadEditor(model, device), {});
  condition = await policy.condition(task);
  // The network keeps the rotary tables of a geometry it has seen.
  disposeBatches((await rolled(settingsFor())).batches);
});
beforeEach(() => {
  device.matmulPrecision = 'f32';
  lora = createLora(device, policy.model.weights.registered(), { rank: 4, seed: 3 }).train();
});
afterEach(() => lora.dispose());
afterAll(() => {
  disposeCondition(condition);
  policy.editor.dispose();
  device.dispose();
});

function settingsFor(given: object = {}): TrainSettings {
  return trainSchema.parse({
    out: 'unused', data: { world: {} }, views: 2, group, steps: 6, window: { size: 2 }, noiseLevel: 0.3, groupsPerUpdate: 1,
    evaluateEvery: 0, ...given,
  });
}

/** Moves the adapter away from the base: B, too, is no longer 0. */
function move(std: number, seed = 5): void {
  for (const parameter of lora.parameters().values()) {
    parameter.write(normals(parameter.size, seed++, std));
  }
}

async function rolled(settings: TrainSettings, at = key): Promise<{ batches: RolloutBatch[]; latents: Float32Array }> {
  const { batches, latents } = await rollOut(policy, condition, settings, at, signal);
  const values = await latents.toFloat32();
  latents.dispose();
  return { batches, latents: values };
}

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
const bits = (values: Float32Array): Buffer => Buffer.from(values.buffer, values.byteOffset, values.byteLength);

describe('a rollout', () => {
  it.each([1, 2, 3])('stores the steps of its window only, from start %d', async (start) => {
    const before = device.memory().liveTensors;
    const { batches } = await rolled(settingsFor({ window: { size: 2, first: 1, last: 3 } }), { ...key, start });
    expect(batches.map(({ first, size, steps }) => [first, size, steps.map(({ step }) => step)])).toEqual([[0, group, [start, start + 1]]]);
    const sigmas = policy.sigmas(6, condition);
    for (const { step, options, x } of batches[0].steps) {
      expect(options).toMatchObject({ kind: 'flow_sde', sigma: sigmas[step], sigmaNext: sigmas[step + 1], sigmaMax: sigmas[1] });
      expect(x.shape).toEqual([group, condition.targetTokens, policy.channels]);
      expect(x.dtype).toBe('f32');
    }
    // What one step led to is where the next begins.
    const [one, two] = batches[0].steps;
    expect(bits(await two.x.toFloat32()).equals(bits(await one.next.toFloat32()))).toBe(true);
    disposeBatches(batches);
    expect(device.memory().liveTensors).toBe(before);
  });

  it('has one prefix for the group and a window of its own for every rollout', async () => {
    const { batches, latents } = await rolled(settingsFor());
    const from = await batches[0].steps[0].x.toFloat32();
    const length = from.length / group;
    const rollout = (all: Float32Array, i: number): Buffer => bits(all.slice(i * length, (i + 1) * length));
    for (let i = 1; i < group; i++) {
      expect(rollout(from, i).equals(rollout(from, 0))).toBe(true);
      for (let j = 0; j < i; j++) expect(rollout(latents, i).equals(rollout(latents, j))).toBe(false);
    }
    disposeBatches(batches);
  });

  it.each([
    ['shared', 'independent'],
    ['shared', 'shared'],
    ['independent', 'independent'],
    ['independent', 'shared'],
  ])('is the same but for rounding however the group is cut into batches: group noise %s, views %s', async (groupNoise, noise) => {
    const whole = await rolled(settingsFor({ groupNoise, noise }));
    disposeBatches(whole.batches);
    for (const batch of [1, 2, 3]) {
      const cut = await rolled(settingsFor({ groupNoise, noise, batch }));
      expect(cut.batches.map(({ size }) => size)).toEqual({ 1: [1, 1, 1, 1], 2: [2, 2], 3: [3, 1] }[batch]);
      // The same noise; but products of another number of rows round differently. Worst seen 1.94e-7.
      expect(relative(cut.latents, whole.latents)).toBeLessThan(2.1e-7);
      disposeBatches(cut.batches);
    }
  });

  it('draws other noise for other groups, updates and seeds', async () => {
    const seen = new Set<string>();
    for (const [at, seed] of [[key, 0], [{ ...key, group: 1 }, 0], [{ ...key, update: 1 }, 0], [key, 1]] as const) {
      const { batches, latents } = await rolled(settingsFor({ seed }), at);
      disposeBatches(batches);
      seen.add(bits(latents).toString('base64'));
    }
    expect(seen.size).toBe(4);
  });
});

describe('windows', () => {
  it('stay between the first and the last step', () => {
    for (const steps of [4, 6, 12, 28]) {
      for (const size of [1, 2, 4]) {
        for (const mode of ['random', 'progressive']) {
          if (size > steps - 2) continue;
          const settings = settingsFor({ steps, window: { size, mode, every: 3 } });
          const [first, last] = windowRange(settings);
          const starts = Array.from({ length: 200 }, (_, update) => windowStart(settings, update, update % 4));
          expect(Math.min(...starts)).toBe(first);
          expect(Math.max(...starts)).toBe(last);
          expect(first).toBeGreaterThanOrEqual(1);
          expect(last + size - 1).toBeLessThanOrEqual(steps - 2);
        }
      }
    }
  });

  it('of twelve steps and four begin at 1 or 2; a progressive one goes through all and starts over', () => {
    expect(windowRange(settingsFor({ steps: 12, window: { size: 4 } }))).toEqual([1, 2]);
    const settings = settingsFor({ steps: 12, window: { size: 4, mode: 'progressive', every: 25 } });
    const starts = Array.from({ length: 200 }, (_, update) => windowStart(settings, update, 3));
    expect(starts).toEqual(Array.from({ length: 200 }, (_, update) => 1 + (Math.floor(update / 25) % 7)));
  });

  it.each([
    [{ size: 5 }, /5 stochastic steps do not fit/],
    [{ size: 2, first: 0 }, /the first step \(0\) must stay deterministic/],
    [{ size: 2, first: 3, last: 2 }, /lies before first = 3/],
    [{ size: 2, last: 4 }, /a window of 2 at step 4 reaches the last of 6 steps/],
    [{ size: 2, first: 4 }, /reaches the last of 6 steps/],
  ])('%j is refused', (window, message) => expect(() => settingsFor({ window })).toThrow(message));
});

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
      const centre = values.reduce((total, value) => total + value, 0) / draws;
      return { mean: centre, error: Math.sqrt(values.reduce((total, value) => total + (value - centre) ** 2, 0) / draws / draws) };
    };
    const guarded = await average(guardedLogRatio(old.next, now.mean, old.mean, old.std));
    const plain = await average(logRatio(old.next, now.mean, old.mean, weight));
    // Four standard errors; the bias of the plain ratio lies far outside of its own.
    expect(Math.abs(guarded.mean)).toBeLessThan(4 * guarded.error);
    expect(Math.abs(plain.mean + squared / (2 * old.std ** 2))).toBeLessThan(4 * plain.error);
    expect(-plain.mean).toBeGreaterThan(8 * plain.error);
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

describe('a group without variance', () => {
  const sample: TrainSample = {
    id: 'one', instruction: task.instruction, before: task.before, cameras: [], cells: task.cells, anchor: { view: 0, picture: task.before[0] },
  };

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
    const before = await flat(new Map([...lora.parameters().values()].map((parameter) => [parameter, parameter])));
    const live = device.memory().liveTensors;
    const figures = await runUpdate(run, 0, () => undefined);
    expect(device.memory().liveTensors).toBe(live);
    const after = await flat(new Map([...lora.parameters().values()].map((parameter) => [parameter, parameter])));
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

  it('an update that begins after an abort gives up and leaves the adapter and no tensor', async () => {
    const live = device.memory().liveTensors;
    const run = {
      settings: settingsFor(), policy, terms: [], signal: AbortSignal.abort(),
      source: { description: 'one sample', sample: () => Promise.resolve(sample) },
    } as unknown as Run;
    await expect(runUpdate(run, 0, () => undefined)).rejects.toMatchObject({ name: 'AbortError' });
    expect(device.memory().liveTensors).toBe(live);
  });
});
