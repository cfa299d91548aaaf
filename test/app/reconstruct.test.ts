/** `rl3dedit reconstruct` on a small procedural scene. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AppEvent } from '../../src/app/events';
import { reconstruct } from '../../src/app/reconstruct';
import type { ReconstructResult } from '../../src/app/reconstruct';
import { AbortError, ConfigError, OutputError, SceneError } from '../../src/binding/errors';
import { reconstructSchema } from '../../src/config/reconstruct';
import type { ReconstructSettings } from '../../src/config/reconstruct';
import { readImage, loadScene, loadView } from '../../src/scene';
import { psnr } from '../../src/scene/gaussians/evaluate';
import { decodePly } from '../../src/scene/gaussians/formats';
import { Gaussians } from '../../src/scene/gaussians/gaussians';
import { renderImage } from '../../src/scene/gaussians/rasterize';
import { sampleScene, writeScene } from '../../src/scene/procedural';
import { nativeRenderer } from '../../src/scene/procedural/native';
import { Device } from '../../src/tensor/device';
import { temporaryFolder } from '../scene-fixtures';
import { runToEnd } from './run-app';
import type { Run } from './run-app';
import { writeRandomTinyModel } from './tiny-model';

const root = temporaryFolder();
const device = Device.open('cpu');
const scene = join(root, 'scene');
const withPoints = join(root, 'colmap');
const size = { width: 48, height: 36, spp: 4 };
let folders = 0;
let atStart: number;

beforeAll(async () => {
  const { raycast } = nativeRenderer();
  await writeScene(sampleScene(5), scene, size, raycast);
  await writeScene(sampleScene(5), withPoints, size, raycast, { colmap: true });
  rmSync(join(withPoints, 'transforms.json'));
  await device.sync();
  atStart = device.memory().liveTensors;
}, 60_000);
afterEach(async () => {
  await device.sync();
  expect(device.memory().liveTensors).toBe(atStart);
});
afterAll(() => device.dispose());

function settingsFor(given: Partial<ReconstructSettings> = {}): ReconstructSettings {
  return reconstructSchema.parse({
    scene: withPoints, out: join(root, `out-${folders++}`), device: 'cpu', resolution: 48, iterations: 300, shDegree: 1, testEvery: 4, seed: 3, ...given,
  });
}

const run = (settings: ReconstructSettings, abortAt?: (event: AppEvent) => boolean): Promise<Run<ReconstructResult>> =>
  runToEnd((context) => reconstruct(settings, context), abortAt);

describe('reconstruct', () => {
  let settings: ReconstructSettings;
  let whole: Run<ReconstructResult>;
  beforeAll(async () => {
    settings = settingsFor();
    whole = await run(settings);
    if (whole.error) throw whole.error;
  }, 60_000);

  test('measures views that it has not seen', () => {
    const result = whole.result!;
    // 25.1 dB and 0.913 on new views, 30.1 dB on those fitted.
    expect(result.heldOut!.psnr).toBeGreaterThan(24.5);
    expect(result.heldOut!.ssim).toBeGreaterThan(0.9);
    expect(result.train.psnr).toBeGreaterThan(29.5);
    expect(result.views.trained).toBe(6);
    expect(result.views.heldOut).toHaveLength(3);
    expect([result.width, result.height]).toEqual([48, 36]);
    expect(result.gaussians).toBeLessThanOrEqual(Math.round(1.2 * 48 * 36));
    expect(result.fitSeconds).toBeLessThan(result.seconds);
  });

  test('writes the splats, a picture and the record, and nothing else', async () => {
    const { out } = settings;
    expect(readdirSync(out).sort()).toEqual(['.rl3dedit', 'heldout.png', 'reconstruct.json', 'scene.ply']);
    const record = JSON.parse(readFileSync(join(out, 'reconstruct.json'), 'utf8')) as ReconstructResult;
    const { out: _, summary, ...rest } = whole.result!;
    expect(record).toEqual(JSON.parse(JSON.stringify(rest)));
    expect(summary[0]).toMatch(/scene\.ply: \d+ Gaussians from 6 views .* held-out PSNR \d+\.\d\d dB/);
    const picture = await readImage(join(out, 'heldout.png'));
    expect([picture.width >= 3 * 48, picture.height >= 2 * 36]).toEqual([true, true]);
  });

  test('the file shows the held-out views as well as the record says', async () => {
    const { cloud } = decodePly(readFileSync(join(settings.out, 'scene.ply')), 'scene.ply');
    const { heldOut, gaussians: count, views } = whole.result!;
    expect([cloud.count, cloud.shDegree]).toEqual([count, 1]);
    using gaussians = Gaussians.fromCloud(device, cloud);
    let mean = 0;
    const loaded = await loadScene(withPoints);
    for (const name of views.heldOut) {
      const { image, camera } = await loadView(loaded.views.find((view) => view.name === name)!, { width: 48, height: 36, signal: new AbortController().signal });
      mean += psnr(await renderImage(gaussians, camera), image) / 3;
    }
    expect(mean).toBeCloseTo(heldOut!.psnr, 3);
  });

  test('reports its stages in order, its steps and how it goes', () => {
    const { events, result } = whole;
    expect(events.filter((event) => event.type === 'stage')).toMatchObject([{ name: 'load' }, { name: 'fit' }, { name: 'measure' }]);
    const steps = events.flatMap((event) => (event.type === 'step' && event.stage === 'fit' ? [event.step] : []));
    expect(steps).toEqual([50, 100, 150, 200, 250, 300]);
    const l1 = events.flatMap((event) => (event.type === 'metric' && event.name === 'fit.l1' ? [event.value] : []));
    expect(l1.at(-1)).toBeLessThan(0.8 * l1[0]);
    expect(events.at(-1)).toEqual({ type: 'done', result });
  });

  test('the same seed gives the same file, another seed another one', async () => {
    const bytes = async (given: Partial<ReconstructSettings>): Promise<Buffer> => {
      const again = settingsFor({ iterations: 60, ...given });
      expect((await run(again)).error).toBeUndefined();
      return readFileSync(join(again.out, 'scene.ply'));
    };
    const first = await bytes({});
    expect((await bytes({})).equals(first)).toBe(true);
    expect((await bytes({ seed: 4 })).equals(first)).toBe(false);
  });
});

describe('starts and strategies', () => {
  test('random without points, by densification, within the cap; nothing held out', async () => {
    const { result, error, events } = await run(settingsFor({ scene, strategy: 'densify', cap: 400, iterations: 120, testEvery: 0, resolution: 32 }));
    expect(error).toBeUndefined();
    expect(events).toContainEqual({ type: 'note', message: 'starting from random Gaussians' });
    expect(result).toMatchObject({ width: 32, height: 24, views: { trained: 15, heldOut: [] } });
    expect(result!.heldOut).toBeUndefined();
    expect(result!.gaussians).toBeLessThanOrEqual(400);
    expect(result!.summary[0]).toMatch(/no view was held out/);
  });

  test('from the depths that a verifier sees', async () => {
    const other = Device.open('cpu');
    const model = await writeRandomTinyModel(join(root, 'model'), other);
    other.dispose();
    const { error, events, result } = await run(settingsFor({ scene, init: 'verifier', model, cap: 300, iterations: 40, resolution: 32 }));
    expect(error).toBeUndefined();
    expect(events).toContainEqual({ type: 'note', message: 'starting from depths of the verifier' });
    expect(result!.gaussians).toBe(300);
  });

  test('never enlarges photographs', async () => {
    expect((await run(settingsFor({ resolution: 500, iterations: 3 }))).result).toMatchObject({ width: 48, height: 36 });
  });
});

describe('what is refused before anything is written', () => {
  const empty = join(root, 'empty');
  test.each<[string, () => Partial<ReconstructSettings>, new (...args: never[]) => Error, RegExp]>([
    ['no scene', () => ({ scene: join(root, 'nowhere') }), SceneError, /nowhere/],
    ['all views held out', () => ({ testEvery: 1 }), ConfigError, /holds out all 9 views/],
    ['points where there are none', () => ({ scene, init: 'points' }), SceneError, /--init random or --init verifier/],
    ['a model that is not there', () => ({ scene, init: 'verifier', model: join(root, 'no-model') }), Error, /no-model/],
    ['a photograph that is broken', () => {
      mkdirSync(join(empty, 'images'), { recursive: true });
      writeFileSync(join(empty, 'transforms.json'), readFileSync(join(scene, 'transforms.json')));
      for (const name of readdirSync(join(scene, 'images'))) writeFileSync(join(empty, 'images', name), 'no picture');
      return { scene: empty };
    }, SceneError, /000\.png/],
  ])('%s', async (_, given, kind, message) => {
    const settings = settingsFor({ iterations: 10, ...given() });
    const { error } = await run(settings);
    expect(error).toBeInstanceOf(kind);
    expect((error as Error).message).toMatch(message);
    expect(existsSync(settings.out)).toBe(false);
  });

  test('a folder that holds something else, or an earlier result', async () => {
    const settings = settingsFor({ iterations: 5 });
    mkdirSync(settings.out);
    writeFileSync(join(settings.out, 'mine.txt'), 'mine');
    const foreign = await run(settings);
    expect(foreign.error).toBeInstanceOf(OutputError);
    expect(foreign.events).toEqual([]);
    expect(readdirSync(settings.out)).toEqual(['mine.txt']);
    expect((await run({ ...settings, overwrite: true })).error).toBeUndefined();
    expect(readdirSync(settings.out).sort()).toEqual(['.rl3dedit', 'heldout.png', 'mine.txt', 'reconstruct.json', 'scene.ply']);
    const again = await run(settings);
    expect(again.error).toBeInstanceOf(OutputError);
    expect((again.error as Error).message).toMatch(/--overwrite/);
  });
});

test.each<[string, (event: AppEvent) => boolean]>([
  ['while photographs are read', (event) => event.type === 'step' && event.stage === 'load'],
  ['as the fit begins', (event) => event.type === 'stage' && event.name === 'fit'],
  ['in mid-fit', (event) => event.type === 'step' && event.stage === 'fit' && event.step === 100],
  ['before measuring', (event) => event.type === 'stage' && event.name === 'measure'],
])('an abort %s leaves nothing', async (_, when) => {
  const settings = settingsFor();
  const { error } = await run(settings, when);
  expect(error).toBeInstanceOf(AbortError);
  expect(existsSync(settings.out)).toBe(false);
});
