/** Whole training runs on a random tiny model: same bits for one seed, also across an abort; guards; refusals; the LoRA they leave. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AppEvent } from '../../src/app/events';
import { loadEditor } from '../../src/app/model';
import { train } from '../../src/app/train';
import type { TrainResult } from '../../src/app/train';
import { checkpoints } from '../../src/app/train/checkpoint';
import { sampled } from '../../src/app/train/evaluate';
import { disposeCondition, Policy } from '../../src/app/train/policy';
import { AbortError, ConfigError, OutputError, WeightsError } from '../../src/binding/errors';
import { trainSchema } from '../../src/config/train';
import type { TrainSettings } from '../../src/config/train';
import { readMetrics } from '../../src/report/metrics-file';
import { Device } from '../../src/tensor/device';
import { normals } from '../unit/flux-fixtures';
import { temporaryFolder } from '../scene-fixtures';
import { runToEnd } from './run-app';
import type { Run } from './run-app';
import { writeRandomTinyModel } from './tiny-model';

const root = temporaryFolder();
const device = Device.open('cpu');
const model = join(root, 'model');
let folders = 0;
let live = 0;

beforeAll(async () => {
  await writeRandomTinyModel(model, device);
  live = device.memory().liveTensors;
});
// Whatever became of a run, it leaves no tensor.
afterEach(() => expect(device.memory().liveTensors).toBe(live));
afterAll(() => device.dispose());

function settingsFor(given: Record<string, unknown> = {}): TrainSettings {
  return trainSchema.parse({
    out: join(root, `run-${folders++}`),
    model,
    data: { world: { scenes: 3 } },
    views: 2,
    resolution: 32,
    group: 2,
    groupsPerUpdate: 2,
    steps: 4,
    window: { size: 2 },
    updates: 4,
    // The random networks hardly tell pictures apart: what moves them is made large.
    optimizer: { learningRate: 0.01 },
    ema: { decay: 0.5, every: 2 },
    adapter: { rank: 4 },
    evaluateEvery: 2,
    evaluationSamples: 1,
    sampleEvery: 2,
    checkpointEvery: 1,
    device: 'cpu',
    seed: 5,
    ...given,
  });
}

/** Runs to the end; `abortAt` is asked after every event. */
const run = (settings: TrainSettings, { resume = false, abortAt }: { resume?: boolean; abortAt?: (event: AppEvent) => boolean } = {}): Promise<Run<TrainResult>> =>
  runToEnd((context) => train(settings, context, { resume, device }), abortAt);

const after = (update: number) => (event: AppEvent): boolean => event.type === 'step' && event.step === update;
const weightFiles = ['adapter', 'average', 'optimizer', 'lora'].map((name) => `${name}.safetensors`);

/** All bits a run ends with: those of its last checkpoint and the file to be used. */
async function bitsOf({ out }: TrainSettings): Promise<Record<string, string>> {
  const last = join(out, 'checkpoints', (await checkpoints(out)).at(-1)!);
  const files = [...weightFiles.map((name) => join(last, name)), join(out, 'lora.safetensors')];
  return Object.fromEntries(files.map((file, i) => [`${i} ${file.slice(out.length)}`, readFileSync(file).toString('base64')]));
}

/** Everything logged but the seconds. */
async function metricsOf({ out }: TrainSettings): Promise<unknown> {
  const metrics = await readMetrics(out);
  return { ...metrics, updates: metrics.updates.map((line) => ({ ...line, seconds: 0 })) };
}

describe('a run', () => {
  const straight = settingsFor();
  let ended: Run<TrainResult>;
  beforeAll(async () => {
    ended = await run(straight);
  });

  test('reports every update and leaves a LoRA, a report, checkpoints and pictures', async () => {
    expect(ended.error).toBeUndefined();
    expect(ended.result).toMatchObject({ updates: 4, out: straight.out, lora: join(straight.out, 'lora.safetensors') });
    expect(ended.events.at(-1)).toEqual({ type: 'done', result: ended.result });
    expect(ended.events.flatMap((event) => (event.type === 'step' ? [event.step] : []))).toEqual([1, 2, 3, 4]);
    expect(await checkpoints(straight.out)).toEqual(['000003', '000004']);
    expect(readdirSync(join(straight.out, 'samples'))).toEqual(['000002.png', '000004.png', 'evaluation-000000.png', 'evaluation-000002.png', 'evaluation-000004.png']);
    for (const name of ['run.yaml', 'report.html']) expect(existsSync(join(straight.out, name))).toBe(true);
    const { updates, evaluations } = await readMetrics(straight.out);
    expect(updates.map(({ update }) => update)).toEqual([1, 2, 3, 4]);
    expect(evaluations.map(({ update }) => update)).toEqual([0, 2, 4]);
    expect(evaluations.map(({ baseline }) => baseline)).toEqual(evaluations.map(() => evaluations[0].evaluation));
    for (const { ratio, clipFraction, gradientNorm, kl } of updates) {
      expect({ ratio, clipFraction }).toEqual({ ratio: { mean: 1, min: 1, max: 1 }, clipFraction: { high: 0, low: 0 } });
      expect(gradientNorm).toBeGreaterThan(0);
      expect(kl).toBeGreaterThanOrEqual(0);
    }
    expect(updates[0].kl).toBe(0);
    expect(updates[3].kl).toBeGreaterThan(0);
  });

  test('has the same bits and the same metrics a second time, and others for another seed', async () => {
    const again = settingsFor();
    expect((await run(again)).error).toBeUndefined();
    expect(await bitsOf(again)).toEqual(await bitsOf(straight));
    expect(await metricsOf(again)).toEqual(await metricsOf(straight));
    const other = settingsFor({ seed: 6, evaluateEvery: 0 });
    expect((await run(other)).error).toBeUndefined();
    expect((await bitsOf(other))['0 /checkpoints/000004/adapter.safetensors']).not.toBe(
      (await bitsOf(straight))['0 /checkpoints/000004/adapter.safetensors'],
    );
  });

  test.each([
    ['after update 1', after(1), 1],
    ['after update 3, which no checkpoint of its own follows', after(3), 2],
    ['in the evaluation after update 2', (event: AppEvent) => event.type === 'image' && event.path.endsWith('000002.png'), 1],
    ['before the first update', (event: AppEvent) => event.type === 'note', 1],
  ])('stopped %s and taken up again ends with the same bits and metrics', async (_, abortAt, checkpointEvery) => {
    const settings = settingsFor({ checkpointEvery, keep: 2 });
    const stopped = await run(settings, { abortAt });
    expect(stopped.error).toBeInstanceOf(AbortError);
    const resumed = await run(settings, { resume: true });
    expect(resumed.error).toBeUndefined();
    expect(await bitsOf(settings)).toEqual(await bitsOf(straight));
    expect(await metricsOf(settings)).toEqual(await metricsOf(straight));
    expect(resumed.result!.baseline).toEqual(ended.result!.baseline);
  });

  test('of two inner epochs is taken up again as well', async () => {
    const [whole, settings] = [settingsFor({ innerEpochs: 2, updates: 2, evaluateEvery: 0 }), settingsFor({ innerEpochs: 2, updates: 2, evaluateEvery: 0 })];
    expect((await run(whole)).error).toBeUndefined();
    expect((await run(settings, { abortAt: after(1) })).error).toBeInstanceOf(AbortError);
    expect((await run(settings, { resume: true })).error).toBeUndefined();
    expect(await bitsOf(settings)).toEqual(await bitsOf(whole));
    // Only the first epoch is on the policy that made the rollouts.
    expect((await readMetrics(whole.out)).updates[0].ratio.max).toBeGreaterThan(1);
  });

  test('can be made longer', async () => {
    const settings = settingsFor({ updates: 2 });
    expect((await run(settings)).error).toBeUndefined();
    expect((await run({ ...settings, updates: 4 }, { resume: true })).error).toBeUndefined();
    expect(await bitsOf(settings)).toEqual(await bitsOf(straight));
    expect(await metricsOf(settings)).toEqual(await metricsOf(straight));
  });

  test('begun anew with --overwrite takes nothing from the run before', async () => {
    const settings = settingsFor({ updates: 3, seed: 8 });
    expect((await run(settings)).error).toBeUndefined();
    const anew = { ...settings, updates: 1, seed: 5, overwrite: true };
    expect((await run(anew)).error).toBeUndefined();
    expect(await checkpoints(settings.out)).toEqual(['000001']);
    expect((await run({ ...anew, updates: 4 }, { resume: true })).error).toBeUndefined();
    expect(await bitsOf(settings)).toEqual(await bitsOf(straight));
    expect((await readMetrics(settings.out)).evaluations.map(({ update }) => update)).toEqual([0, 1, 2, 4]);
  });

  test('trains on after an evaluation as if there had been none: the average goes back out', async () => {
    const never = settingsFor({ evaluateEvery: 0 });
    expect((await run(never)).error).toBeUndefined();
    const [without, with_] = [await bitsOf(never), await bitsOf(straight)];
    expect(without).toEqual(with_);
    // … and it is the average that is saved for use, not the last step.
    expect(with_['3 /checkpoints/000004/lora.safetensors']).toBe(with_['4 /lora.safetensors']);
    expect(with_['0 /checkpoints/000004/adapter.safetensors']).not.toBe(with_['1 /checkpoints/000004/average.safetensors']);
  });

  test('leaves a LoRA that loads into the editor and changes its pictures', async () => {
    const pictures = async (lora?: string): Promise<Float32Array> => {
      const editor = await loadEditor(model, device, { lora });
      const policy = await Policy.open(editor, {});
      const view = { width: 32, height: 32, data: normals(3 * 32 * 32, 3, 0.1).map((x) => 0.5 + x) };
      const roles = { targets: [0], contexts: [] };
      const condition = await policy.condition({ instruction: 'make it night', before: [view], cells: [0], roles, contexts: [] });
      const [[picture]] = await sampled(policy, [condition], { steps: 4, noise: 'independent', seed: 1 }, 0, new AbortController().signal);
      disposeCondition(condition);
      editor.dispose();
      return picture.data;
    };
    const [base, adapted, again] = [await pictures(), await pictures(ended.result!.lora), await pictures(ended.result!.lora)];
    expect(Buffer.from(adapted.buffer).equals(Buffer.from(again.buffer))).toBe(true);
    expect(Math.max(...adapted.map((value, i) => Math.abs(value - base[i])))).toBeGreaterThan(1e-4);
  });

  test('with a context view trains too', async () => {
    const { error, result } = await run(settingsFor({ anchorGuided: true, updates: 2, batch: 1, sde: 'dance', guard: true, groupNoise: 'independent' }));
    expect(error).toBeUndefined();
    expect(result!.updates).toBe(2);
  });
});

describe('guards', () => {
  test('stop a run whose pictures lose what they had, with the reason in the log', async () => {
    const settings = settingsFor({ updates: 30, evaluateEvery: 30, evaluationSamples: 1, guards: { editStrength: 1, sharpness: 1, diversity: 1, patience: 1 } });
    const { result, events, error } = await run(settings);
    expect(error).toBeUndefined();
    expect(result!.stopped).toMatch(/^(editStrength|sharpness|diversity) .* stayed below .* for 1 updates: /);
    expect(result!.updates).toBeLessThan(30);
    expect(events).toContainEqual({ type: 'warning', message: `stopped after update ${result!.updates}: ${result!.stopped}` });
    const metrics = await readMetrics(settings.out);
    expect(metrics.stopped).toBe(result!.stopped);
    // What it came to is measured too.
    expect(metrics.evaluations.map(({ update }) => update)).toEqual([0, result!.updates]);
    expect((await checkpoints(settings.out)).at(-1)).toBe(String(result!.updates).padStart(6, '0'));
    expect(existsSync(result!.lora)).toBe(true);
  });

  test('stop a run that has no numbers any more', async () => {
    const settings = settingsFor({ updates: 30, evaluateEvery: 0, optimizer: { learningRate: 10, gradientNorm: 1e30 }, ema: { every: 1 }, matmul: 'f32', guards: { editStrength: 0, sharpness: 0, diversity: 0 } });
    const huge = join(root, 'huge.safetensors');
    // An adapter of this size overflows: the velocities are no numbers from the first step on.
    const { result: small } = await run(settingsFor({ updates: 1, evaluateEvery: 0 }));
    const bytes = readFileSync(small!.lora);
    const header = 8 + Number(bytes.readBigUInt64LE(0));
    for (let at = header; at < bytes.length; at += 4) bytes.writeFloatLE(3e38, at);
    writeFileSync(huge, bytes);
    const { result, error } = await run({ ...settings, lora: huge });
    expect(error).toBeUndefined();
    expect(result).toMatchObject({ updates: 1, stopped: expect.stringMatching(/is NaN: the run has no numbers any more/) as string });
  });
});

describe('before anything is written, a run refuses', () => {
  test.each([
    ['a model without a verifier', ConfigError, /has no verifier/, async () => ({ model: await writeRandomTinyModel(join(root, 'blind'), device, { withVerifier: false }) })],
    ['a model that is not there', Error, /nowhere/, () => ({ model: join(root, 'nowhere') })],
    ['views that are no whole tokens', ConfigError, /resolution 40: views need a multiple of 16/, () => ({ resolution: 40 })],
    ['more scenes than the split has', ConfigError, /data.world.scenes: split val has/, () => ({ data: { world: { split: 'val', scenes: 1_000_000 } } })],
    ['adapter targets the network lacks', WeightsError, /no module ends in nothing/, () => ({ adapter: { targets: ['nothing'] } })],
    ['a LoRA that is not there', WeightsError, /none.safetensors/, () => ({ lora: join(root, 'none.safetensors') })],
    ['a reward that does not load', ConfigError, /none.mjs/, () => ({ rewards: { custom: [{ path: join(root, 'none.mjs') }] } })],
  ])('%s', async (_, type, message, given) => {
    const settings = settingsFor(await given());
    const { error } = await run(settings);
    expect(error).toBeInstanceOf(type);
    expect((error as Error).message).toMatch(message);
    expect(existsSync(settings.out)).toBe(false);
  });

  test('a folder of someone else, and a run with other settings', async () => {
    const foreign = settingsFor();
    mkdirSync(foreign.out);
    writeFileSync(join(foreign.out, 'notes.txt'), 'mine');
    expect((await run(foreign)).error).toBeInstanceOf(OutputError);
    const begun = settingsFor({ updates: 1, evaluateEvery: 0 });
    expect((await run(begun)).error).toBeUndefined();
    expect((await run(begun)).error).toBeInstanceOf(OutputError);
    const other = await run({ ...begun, group: 4 }, { resume: true });
    expect((other.error as Error).message).toMatch(/begun with other settings \(group 2 → 4\)/);
  });
});
