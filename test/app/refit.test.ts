/** `rl3dedit refit`: from an edit that stopped for approval, with pictures that somebody changed. */
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { edit } from '../../src/app/edit';
import type { EditRecord } from '../../src/app/edit';
import type { AppEvent } from '../../src/app/events';
import { refitEdit } from '../../src/app/refit';
import type { RefitCommandResult } from '../../src/app/refit';
import { AbortError, OutputError, SceneError } from '../../src/binding/errors';
import { editSchema } from '../../src/config/edit';
import { refitSchema } from '../../src/config/refit';
import type { RefitSettings } from '../../src/config/refit';
import { encodePng, readImage } from '../../src/scene';
import type { Image } from '../../src/scene';
import { psnr } from '../../src/scene/gaussians/evaluate';
import { decodePly } from '../../src/scene/gaussians/formats';
import { sampleScene, writeScene } from '../../src/scene/procedural';
import { nativeRenderer } from '../../src/scene/procedural/native';
import { Device } from '../../src/tensor/device';
import { temporaryFolder } from '../scene-fixtures';
import { runToEnd } from './run-app';
import type { Run } from './run-app';
import { writeRandomTinyModel } from './tiny-model';

const root = temporaryFolder();
const device = Device.open('cpu');
const model = join(root, 'model');
const scene = join(root, 'scene');
const approved = join(root, 'approved');
const viewNames = ['000.png', '001.png', '002.png', '003.png'];
let folders = 0;
let atStart: number;

async function drain(app: AsyncGenerator<AppEvent, unknown>): Promise<void> {
  while (!(await app.next()).done);
}

const editSettings = (given: object): object => ({ scene, prompt: 'turn the photo into sepia', model, device: 'cpu', views: 4, seed: 7, ...given });

beforeAll(async () => {
  await writeRandomTinyModel(model, device, { settings: { default_steps: 2 } });
  await writeScene(sampleScene(5), scene, { width: 48, height: 36, spp: 4 }, nativeRenderer().raycast, { colmap: true });
  rmSync(join(scene, 'transforms.json'));
  await drain(edit(editSchema.parse(editSettings({ out: approved, approve: true })), { signal: new AbortController().signal }));
  await device.sync();
  atStart = device.memory().liveTensors;
}, 60_000);
afterEach(async () => {
  await device.sync();
  expect(device.memory().liveTensors).toBe(atStart);
});
afterAll(() => device.dispose());

/** A copy of the approved edit whose edited views are its unedited ones, changed. */
async function folderWith(change: (image: Image, view: number) => Image): Promise<string> {
  const dir = join(root, `out-${folders++}`);
  cpSync(approved, dir, { recursive: true });
  await replace(dir, change);
  return dir;
}

async function replace(dir: string, change: (image: Image, view: number) => Image): Promise<void> {
  for (const [v, name] of viewNames.entries()) {
    writeFileSync(join(dir, 'views/after', name), await encodePng(change(await readImage(join(dir, 'views/before', name)), v)));
  }
}

/** Swaps red and blue and darkens. */
function recoloured({ data, ...image }: Image): Image {
  const pixels = image.width * image.height;
  return { ...image, data: data.map((_, i) => 0.8 * data[(2 - Math.floor(i / pixels)) * pixels + (i % pixels)]) };
}
const inverted = ({ data, ...image }: Image): Image => ({ ...image, data: data.map((value) => 1 - value) });

function run(dir: string, given: Partial<RefitSettings> = {}, abortAt?: (event: AppEvent) => boolean): Promise<Run<RefitCommandResult>> {
  const settings = refitSchema.parse({ dir, device: 'cpu', preset: 'appearance', sourceIterations: 200, refitIterations: 50, folds: 2, seed: 5, ...given });
  return runToEnd((context) => refitEdit(settings, context), abortAt);
}

/** Every file of a folder, by name. */
function contents(dir: string): Record<string, string> {
  const names = readdirSync(dir, { recursive: true }).map(String).filter((name) => statSync(join(dir, name)).isFile());
  return Object.fromEntries(names.sort().map((name) => [name, readFileSync(join(dir, name), 'latin1')]));
}
const recordOf = (dir: string): EditRecord => JSON.parse(readFileSync(join(dir, 'edit.json'), 'utf8')) as EditRecord;

test('an edit for approval stops before the refit', () => {
  expect(recordOf(approved).refit).toBeNull();
  expect(Object.keys(contents(approved)).filter((name) => name.endsWith('.ply'))).toEqual([]);
});

describe('a refit to pictures of somebody else', () => {
  let dir: string;
  let first: Run<RefitCommandResult>;
  beforeAll(async () => {
    dir = await folderWith(recoloured);
    first = await run(dir);
    if (first.error) throw first.error;
  }, 60_000);

  test('writes both scenes, what they show and the record', async () => {
    const written = contents(dir);
    for (const name of ['scene.ply', 'scene_before.ply', ...viewNames.map((view) => `views/refit/${view}`)]) expect(written).toHaveProperty([name]);
    const record = recordOf(dir);
    expect(record.refit).toEqual(JSON.parse(JSON.stringify(first.result!.refit)));
    expect(record.outputHash).not.toBe(recordOf(approved).outputHash);
    expect(record.refit).toMatchObject({ from: 'source', preset: 'appearance', gaussians: { seeds: 0 } });
    const { gaussians } = record.refit!;
    const [before, after] = ['scene_before.ply', 'scene.ply'].map((name) => decodePly(readFileSync(join(dir, name)), name).cloud);
    expect([before.count, after.count]).toEqual([gaussians.source, gaussians.edited]);
    expect(after.means).toEqual(before.means);
    expect(after.sh0).not.toEqual(before.sh0);
    for (const warp of Object.values(record.refit!.warp)) expect(warp).toBeGreaterThanOrEqual(0);
    expect(record.refit!.leaveOneOut!.curve.map(({ iteration }) => iteration)).toEqual([0, 25, 50]);
    expect(first.events.at(-1)).toEqual({ type: 'done', result: first.result });
  });

  test('the scene shows them', async () => {
    for (const [v, name] of viewNames.entries()) {
      const [shown, wanted, before] = await Promise.all(['refit', 'after', 'before'].map((when) => readImage(join(dir, 'views', when, name))));
      const reached = psnr(shown, wanted);
      // 26.8 dB at least; the unedited pictures are at 10.7 at most.
      expect(reached).toBeGreaterThan(26);
      expect(psnr(before, wanted)).toBeLessThan(11);
      // In 8 bits.
      expect(Math.abs(reached - first.result!.refit.fitPsnr[v])).toBeLessThan(0.5);
    }
  });

  test('leaves the pictures as they were', async () => {
    for (const name of viewNames) {
      const wanted = await encodePng(recoloured(await readImage(join(approved, 'views/before', name))));
      expect(readFileSync(join(dir, 'views/after', name)).equals(wanted)).toBe(true);
      expect(readFileSync(join(dir, 'views/before', name)).equals(readFileSync(join(approved, 'views/before', name)))).toBe(true);
    }
  });

  test('works again, with other pictures, from the same source', async () => {
    const earlier = contents(dir);
    await replace(dir, inverted);
    const { error, result } = await run(dir);
    expect(error).toBeUndefined();
    const later = contents(dir);
    expect(Object.keys(later)).toEqual(Object.keys(earlier));
    expect(later['scene_before.ply'] === earlier['scene_before.ply']).toBe(true);
    expect(later['scene.ply'] === earlier['scene.ply']).toBe(false);
    expect(recordOf(dir).refit!.fitPsnr).toEqual(result!.refit.fitPsnr);
    // Back to the first ones: the same bits as then.
    await replace(dir, recoloured);
    expect((await run(dir)).error).toBeUndefined();
    expect(contents(dir)['scene.ply'] === earlier['scene.ply']).toBe(true);
  });
});

test('from scratch, from points on the edited views alone', async () => {
  const dir = await folderWith(recoloured);
  const { error, result } = await run(dir, { refit: 'scratch', refitIterations: 200 });
  expect(error).toBeUndefined();
  expect(result!.refit).toMatchObject({ from: 'scratch', preset: 'scratch', iterations: 200, editedShare: 1 });
  expect(Object.keys(contents(dir)).filter((name) => name.endsWith('.ply'))).toEqual(['scene.ply']);
  // 20.7 dB.
  expect(Math.min(...result!.refit.fitPsnr)).toBeGreaterThan(20.2);
});

describe('what is refused leaves the folder as it was', () => {
  test.each<[string, (dir: string) => Promise<void> | void, RegExp]>([
    ['a picture of another size', async (dir) => {
      const data = new Float32Array(3 * 40 * 30).fill(0.5);
      writeFileSync(join(dir, 'views/after/002.png'), await encodePng({ width: 40, height: 30, data }));
    }, /after\/002\.png: is 40x30, expected \d+x\d+ as the edit left it/],
    ['a picture that is missing', (dir) => rmSync(join(dir, 'views/after/001.png')), /001\.png/],
    ['a picture that is none', (dir) => writeFileSync(join(dir, 'views/after/003.png'), 'no picture'), /003\.png/],
  ])('%s', async (_, spoil, message) => {
    const dir = await folderWith(recoloured);
    await spoil(dir);
    const before = contents(dir);
    const { error } = await run(dir);
    expect(error).toBeInstanceOf(SceneError);
    expect((error as Error).message).toMatch(message);
    expect(contents(dir)).toEqual(before);
  });

  test('no folder, an empty one, one of something else, and an edit that is not finished', async () => {
    const [empty, other, begun] = ['empty', 'other', 'begun'].map((name) => join(root, name));
    mkdirSync(empty);
    mkdirSync(other);
    writeFileSync(join(other, 'edit.json'), '{}');
    const controller = new AbortController();
    const app = edit(editSchema.parse(editSettings({ out: begun })), { signal: controller.signal });
    await expect((async () => {
      for await (const event of app) if (event.type === 'stage' && event.name === 'decode') controller.abort();
    })()).rejects.toThrow(AbortError);
    for (const dir of [join(root, 'nowhere'), empty, other, begun]) {
      const { error, events } = await run(dir);
      expect(error).toBeInstanceOf(OutputError);
      expect((error as Error).message).toMatch(/holds no finished edit; make one with: rl3dedit edit --out .* --approve/);
      expect(events).toEqual([]);
    }
  });
});

test.each<[string, (event: AppEvent) => boolean]>([
  ['while the source is fitted', (event) => event.type === 'metric' && event.name === 'source.l1'],
  ['in mid-refit', (event) => event.type === 'step' && event.stage === 'refit' && event.steps === 150 && event.step === 75],
  ['after the last fit', (event) => event.type === 'step' && event.stage === 'refit' && event.steps === 150 && event.step === 100],
])('an abort %s leaves the folder as it was', async (_, when) => {
  const dir = await folderWith(recoloured);
  const before = contents(dir);
  const { error } = await run(dir, {}, when);
  expect(error).toBeInstanceOf(AbortError);
  expect(contents(dir)).toEqual(before);
});
