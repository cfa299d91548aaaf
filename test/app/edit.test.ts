import { existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync, chmodSync } from 'node:fs';
import { join } from 'node:path';
import { edit, editStageNames } from '../../src/app/edit';
import type { EditResult } from '../../src/app/edit';
import type { AppEvent } from '../../src/app/events';
import { AbortError, ConfigError, OutputError, SceneError, WeightsError } from '../../src/binding/errors';
import { editSchema } from '../../src/config/edit';
import type { EditSettings } from '../../src/config/edit';
import { readImage } from '../../src/scene';
import { Device } from '../../src/tensor/device';
import { orbitTransforms, temporaryFolder, writeScene } from '../scene-fixtures';
import { expectRefusal, runToEnd, stepsOf } from './run-app';
import type { Refusal, Run } from './run-app';
import { writeRandomTinyModel } from './tiny-model';

const root = temporaryFolder();
const device = Device.open('cpu');
const model = join(root, 'model');
const scene = join(root, 'scene');
let folders = 0;

beforeAll(async () => {
  await writeRandomTinyModel(model, device);
  await writeScene(scene, orbitTransforms());
});
afterAll(() => device.dispose());

function settingsFor(given: Partial<EditSettings> = {}): EditSettings {
  const out = join(root, `out-${folders++}`);
  return editSchema.parse({
    scene,
    prompt: 'turn the photo into sepia',
    out,
    model,
    device: 'cpu',
    views: 4,
    seed: 7,
    refit: 'none',
    ...given,
  });
}

/** Runs an edit; an abort comes in the midst of what follows the event, not before it. */
const run = (settings: EditSettings, abortAt?: (event: AppEvent) => boolean): Promise<Run<EditResult>> =>
  runToEnd((context) => edit(settings, context), abortAt, 1);

const isStage =
  (name: string) =>
  (event: AppEvent): boolean =>
    event.type === 'stage' && event.name === name;

describe('edit', () => {
  let reference: Run<EditResult>;
  let referenceSettings: EditSettings;

  beforeAll(async () => {
    referenceSettings = settingsFor();
    reference = await run(referenceSettings);
    if (reference.error) throw reference.error;
  });

  test('reports its stages in order, steps from 0 to all, and ends with done', () => {
    const { events, result } = reference;
    expect(events.filter(({ type }) => type === 'stage')).toEqual(
      editStageNames.map((name, index) => ({ type: 'stage', name, index, count: editStageNames.length })),
    );
    expect(stepsOf(events, 'edit')).toEqual([0, 1, 2, 3, 4]);
    expect(
      events.some(
        (event) => event.type === 'step' && event.stage === 'edit' && event.etaSec !== undefined && event.etaSec > 0,
      ),
    ).toBe(true);
    expect(events[events.length - 1]).toEqual({ type: 'done', result });
  });

  test('writes the views before and after, the grid and the record, and nothing else', async () => {
    const { out } = referenceSettings;
    const names = ['000.png', '001.png', '002.png', '003.png'];
    expect(readdirSync(out).sort()).toEqual(['.rl3dedit', 'edit.json', 'grid.png', 'report.html', 'views']);
    expect(readdirSync(join(out, '.rl3dedit'))).toEqual(['edit.json']);
    expect(readdirSync(join(out, 'views/before')).sort()).toEqual(names);
    expect(readdirSync(join(out, 'views/after')).sort()).toEqual(names);
    const grid = await readImage(join(out, 'grid.png'));
    const view = await readImage(join(out, 'views/after/002.png'));
    // 40x32 photographs: long side 32, two tokens by two.
    expect([view.width, view.height, grid.width, grid.height]).toEqual([32, 32, 96, 96]);
    const record = JSON.parse(readFileSync(join(out, 'edit.json'), 'utf8')) as EditResult;
    expect(record.outputHash).toBe(reference.result?.outputHash);
    expect(record.outputHash).toMatch(/^[0-9a-f]{64}$/);
    expect(record.settings).toMatchObject({ steps: 4, guidance: 2.5, seed: 7, dtype: 'f32', views: 4 });
    expect(Object.keys(record.seconds ?? {})).toEqual(['scene', 'views', 'encode', 'edit', 'decode', 'verify', 'refit']);
    expect(record.cells).toEqual([0, 1, 2, 3, 2, 1, 0, 1, 2]);
  });

  test('reports confidences and pose errors of every view and pair, before and after', () => {
    const { verification } = reference.result!;
    for (const set of [verification!.before, verification!.after]) {
      expect(set.pairs.map(({ views }) => views)).toEqual([
        [0, 1],
        [0, 2],
        [0, 3],
        [1, 2],
        [1, 3],
        [2, 3],
      ]);
      expect(set.views).toHaveLength(4);
      for (const view of set.views) {
        expect(view.depthConfidence).toBeGreaterThan(1);
        expect(view.pointConfidence).toBeGreaterThan(1);
        const own = set.pairs
          .filter(({ views }) => views.includes(set.views.indexOf(view)))
          .map(({ rotationDeg }) => rotationDeg);
        expect(view.rotationDeg).toBeCloseTo(own.reduce((sum, value) => sum + value, 0) / 3, 9);
      }
    }
  });

  test('the same seed gives the same hash, another seed another one', async () => {
    const again = await run(settingsFor());
    const other = await run(settingsFor({ seed: 8 }));
    const shared = await run(settingsFor({ noise: 'shared' }));
    expect(again.result?.outputHash).toBe(reference.result?.outputHash);
    expect(new Set([reference, other, shared].map(({ result }) => result?.outputHash)).size).toBe(3);
  });

  test.each(['edit', 'views', 'decode'])(
    'stopped after %s and resumed, it ends with the same pictures',
    async (stage) => {
      const settings = settingsFor({ stopAfter: stage });
      const first = await run(settings);
      expect(first.result?.stoppedAfter).toBe(stage);
      const second = await run({ ...settings, stopAfter: undefined, resume: true });
      expect(second.result?.outputHash).toBe(reference.result?.outputHash);
      expect(second.events.filter(isStage(stage))).toEqual([]);
    },
  );

  test.each(editStageNames)(
    'an abort in stage %s rejects within a second, frees every tensor, and can be resumed',
    async (stage) => {
      const settings = settingsFor();
      const baseline = device.memory().liveTensors;
      const aborted = await run(settings, isStage(stage));
      // Stages shorter than the timer may end first; the last one has nothing left to abort.
      if (aborted.error === undefined) {
        expect(['scene', 'write']).toContain(stage);
        return;
      }
      expect(aborted.error).toBeInstanceOf(AbortError);
      expect(aborted.abortMs).toBeLessThan(1000);
      expect(device.memory().liveTensors).toBe(baseline);
      const resumed = await run({ ...settings, resume: true });
      expect(resumed.error).toBeUndefined();
      expect(resumed.result?.outputHash).toBe(reference.result?.outputHash);
    },
  );

  test('aborted in the middle of denoising, it goes on from the last finished step', async () => {
    const settings = settingsFor({ steps: 12 });
    const undisturbed = await run(settingsFor({ steps: 12 }));
    const aborted = await run(settings, (event) => event.type === 'step' && event.stage === 'edit' && event.step === 3);
    expect(aborted.error).toBeInstanceOf(AbortError);
    const done = Math.max(...stepsOf(aborted.events, 'edit'));
    const resumed = await run({ ...settings, resume: true });
    expect(stepsOf(resumed.events, 'edit')[0]).toBeGreaterThanOrEqual(done);
    expect(resumed.result?.outputHash).toBe(undisturbed.result?.outputHash);
  });

  test('a consumer that stops listening frees every tensor as well', async () => {
    const baseline = device.memory().liveTensors;
    const app = edit(settingsFor(), { signal: new AbortController().signal });
    for (;;) {
      const next = await app.next();
      if (!next.done && next.value.type === 'step' && next.value.stage === 'edit' && next.value.step === 2) break;
    }
    await app.return(undefined as never);
    expect(device.memory().liveTensors).toBe(baseline);
  });

  test('a finished edit is kept by --resume and refused without', async () => {
    const kept = await run({ ...referenceSettings, resume: true });
    expect(kept.result?.outputHash).toBe(reference.result?.outputHash);
    expect(kept.events.some(({ type }) => type === 'stage')).toBe(false);
    const refused = await run(referenceSettings);
    expect(refused.error).toBeInstanceOf(OutputError);
  });

  test('one view, chosen by name, has no pairs', async () => {
    const { result, error } = await run(settingsFor({ viewNames: ['f_002'] }));
    expect(error).toBeUndefined();
    expect(result?.views?.map(({ name }) => name)).toEqual(['f_002']);
    expect(result?.verification?.after.pairs).toEqual([]);
  });

  test('the mosaic can be encoded as one picture, whole or in tiles, with noise shared by the cells', async () => {
    const grid = await writeRandomTinyModel(join(root, 'model-grid'), device, {
      settings: { vae_input: 'grid', view_size: 48 },
      withVerifier: false,
    });
    const whole = await run(settingsFor({ model: grid, noise: 'shared' }));
    const tiles = await run(settingsFor({ model: grid, noise: 'shared', vaeTile: 64 }));
    expect(whole.error).toBeUndefined();
    expect(tiles.error).toBeUndefined();
    expect(whole.result?.verification).toBeNull();
    expect(whole.events.some((event) => event.type === 'note' && event.message.includes('no verifier'))).toBe(true);
    expect(tiles.result?.outputHash).not.toBe(whole.result?.outputHash);
  });

  test('bfloat16 runs on the CPU too', async () => {
    const { result, error } = await run(settingsFor({ dtype: 'bf16' }));
    expect(error).toBeUndefined();
    expect(result?.dtype).toBe('bf16');
  });
});

describe('bad input', () => {
  const cases: Refusal<EditSettings>[] = [
    ['missing scene', () => ({ scene: join(root, 'nowhere') }), SceneError, /no such file or folder/],
    ['empty prompt', () => ({ prompt: '\u200b' }), ConfigError, /prompt/],
    ['no views', () => ({ views: 0 }), ConfigError, /views/],
    ['unknown view', () => ({ viewNames: ['f_900'] }), ConfigError, /f_900/],
    ['unknown model', () => ({ model: join(root, 'no-model') }), WeightsError, /no such file or folder/],
    ['unknown random model', () => ({ model: 'random:flux-9' }), ConfigError, /random:flux-kontext-dev/],
    ['size off the tokens', () => ({ resolution: 40 }), ConfigError, /multiple of 16/],
    ['unknown stage', () => ({ stopAfter: 'fit' }), ConfigError, /expected scene, views/],
    ['missing LoRA', () => ({ lora: join(root, 'none.safetensors') }), WeightsError, /none\.safetensors/],
  ];

  test.each(cases)('%s', (...refusal) => expectRefusal(device, run, { ...settingsFor(), ...refusal[1]() }, refusal));

  test('a picture that is none leaves nothing behind', async () => {
    const broken = await writeScene(join(root, 'broken'), orbitTransforms());
    writeFileSync(join(broken, 'images/f_003.png'), 'not a picture');
    const settings = settingsFor({ scene: broken, views: 6 });
    const { error } = await run(settings);
    expect(error).toBeInstanceOf(SceneError);
    expect(existsSync(settings.out)).toBe(false);
  });

  test('a truncated checkpoint leaves nothing behind', async () => {
    const cut = await writeRandomTinyModel(join(root, 'model-cut'), device);
    truncateSync(join(cut, 'vae/model.safetensors'), 20_000);
    const settings = settingsFor({ model: cut });
    const { error } = await run(settings);
    expect(error).toBeInstanceOf(WeightsError);
    expect(existsSync(settings.out)).toBe(false);
  });

  test('a folder without its text encoder says what is missing', async () => {
    const partial = await writeRandomTinyModel(join(root, 'model-partial'), device);
    rmSync(join(partial, 'text_encoder_2'), { recursive: true });
    const { error } = await run(settingsFor({ model: partial }));
    expect(error).toBeInstanceOf(WeightsError);
    expect((error as Error).message).toMatch(/missing .*text_encoder_2/);
  });

  test('a single file says which other parts it needs', async () => {
    const file = join(root, 'alone.safetensors');
    writeFileSync(file, readFileSync(join(model, 'transformer/model.safetensors')));
    const { error } = await run(settingsFor({ model: file }));
    expect((error as Error).message).toMatch(/--vae.*--text/);
  });

  test('networks that do not belong together are refused', async () => {
    const mixed = await writeRandomTinyModel(join(root, 'model-mixed'), device);
    const file = join(mixed, 'text_encoder_2/config.json');
    writeFileSync(file, JSON.stringify({ ...(JSON.parse(readFileSync(file, 'utf8')) as object), d_model: 48 }));
    const { error } = await run(settingsFor({ model: mixed }));
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as Error).message).toMatch(/d_model/);
  });

  test('a place that cannot be written is found first', async () => {
    const file = join(root, 'a-file');
    writeFileSync(file, '');
    const { error, events } = await run(settingsFor({ out: join(file, 'out') }));
    expect(error).toBeInstanceOf(OutputError);
    expect(events).toEqual([]);
    if (process.getuid?.() === 0) return;
    const locked = join(root, 'locked');
    await writeScene(locked, orbitTransforms());
    chmodSync(locked, 0o500);
    expect((await run(settingsFor({ out: join(locked, 'out') }))).error).toBeInstanceOf(OutputError);
  });
});
