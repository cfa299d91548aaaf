import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AppEvent } from '../../src/app/events';
import { preedit } from '../../src/app/preedit';
import type { PreeditResult } from '../../src/app/preedit';
import { seedOf } from '../../src/app/preedit/edit-views';
import { flawsOf, measureQuality } from '../../src/app/preedit/quality';
import { readPreedits } from '../../src/app/preedit/read';
import { AbortError, ConfigError, OutputError, SceneError } from '../../src/binding/errors';
import { preeditSchema } from '../../src/config/preedit';
import type { PreeditSettings } from '../../src/config/preedit';
import { createImage, readImage } from '../../src/scene';
import type { Image } from '../../src/scene';
import { Device } from '../../src/tensor/device';
import { orbitTransforms, temporaryFolder, writeScene } from '../scene-fixtures';
import { runToEnd } from './run-app';
import type { Run } from './run-app';
import { writeRandomTinyModel } from './tiny-model';

const root = temporaryFolder();
const device = Device.open('cpu');
const model = join(root, 'model');
const scene = join(root, 'scene');
const prompts = join(root, 'prompts.txt');
let folders = 0;

beforeAll(async () => {
  await writeRandomTinyModel(model, device, { settings: { default_steps: 2 }, withVerifier: false });
  await writeScene(scene, orbitTransforms());
  writeFileSync(prompts, '# edits\nmake it night\n\n  turn the photo into sepia \r\n');
});
afterAll(() => device.dispose());

function settingsFor(given: Partial<PreeditSettings> = {}): PreeditSettings {
  const out = join(root, `out-${folders++}`);
  return preeditSchema.parse({ scene, prompts, out, model, device: 'cpu', views: 3, seed: 5, ...given });
}

const run = (settings: PreeditSettings, abortAt?: (event: AppEvent) => boolean): Promise<Run<PreeditResult>> =>
  runToEnd((context) => preedit(settings, context), abortAt, 1);

const pictures = (out: string): Buffer[] =>
  ['000', '001'].flatMap((prompt) =>
    readdirSync(join(out, 'edits', prompt)).sort().map((name) => readFileSync(join(out, 'edits', prompt, name))),
  );
const atStep = (step: number) => (event: AppEvent): boolean => event.type === 'step' && event.stage === 'edit' && event.step === step;

describe('preedit', () => {
  let reference: Run<PreeditResult>;
  let out: string;

  beforeAll(async () => {
    const settings = settingsFor();
    out = settings.out;
    reference = await run(settings);
    if (reference.error) throw reference.error;
  });

  test('edits every chosen view by every instruction, and what it writes can be read', async () => {
    const preedits = await readPreedits(out);
    const { record } = preedits;
    expect(record.prompts).toEqual(['make it night', 'turn the photo into sepia']);
    expect(record.views).toHaveLength(3);
    expect([record.width, record.height, record.steps, record.seed]).toEqual([32, 32, 2, 5]);
    expect(record.edits.map(({ prompt, view }) => [prompt, view])).toEqual([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]);
    expect(readdirSync(out).sort()).toEqual(['.rl3dedit', 'edits', 'preedit.json']);
    expect(readdirSync(join(out, '.rl3dedit'))).toEqual(['preedit.json']);
    const entry = preedits.entry(1, 2);
    expect(entry.seed).toBe(seedOf(5, 'turn the photo into sepia', record.views[2].name));
    const whole = await preedits.picture(1, 2);
    expect(whole.data).toEqual((await readImage(join(out, 'edits/001/002.png'))).data);
    const cell = await preedits.picture(1, 2, { width: 16, height: 8 });
    expect([cell.width, cell.height]).toEqual([16, 8]);
    expect(() => preedits.entry(2, 0)).toThrow(ConfigError);
  });

  test('all views of the scene without a choice; one instruction from the command line', async () => {
    const { result, error } = await run(settingsFor({ views: undefined, prompts: undefined, prompt: 'make it night' }));
    expect(error).toBeUndefined();
    expect(result?.views.map(({ sceneIndex }) => sceneIndex)).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test('the same seed gives the same pictures, another seed others; a view has the same edit in another choice', async () => {
    const again = settingsFor();
    await run(again);
    const other = settingsFor({ seed: 6 });
    await run(other);
    expect(pictures(again.out).map((bytes, i) => bytes.equals(pictures(out)[i]))).toEqual(new Array(6).fill(true));
    expect(pictures(other.out).some((bytes, i) => bytes.equals(pictures(out)[i]))).toBe(false);
    const alone = settingsFor({ views: undefined, viewNames: [reference.result!.views[2].name] });
    await run(alone);
    expect(pictures(alone.out)[0].equals(pictures(out)[2])).toBe(true);
  });

  test('aborted, it ends soon, frees all, keeps what is finished and goes on to the same pictures', async () => {
    const settings = settingsFor();
    const baseline = device.memory().liveTensors;
    const aborted = await run(settings, atStep(2));
    expect(aborted.error).toBeInstanceOf(AbortError);
    expect(aborted.abortMs).toBeLessThan(1000);
    expect(device.memory().liveTensors).toBe(baseline);
    await expect(readPreedits(settings.out)).rejects.toThrow(/unfinished.*--resume/);
    const resumed = await run({ ...settings, resume: true });
    const first = resumed.events.find((event) => event.type === 'step' && event.stage === 'edit');
    expect(first).toMatchObject({ steps: 6 });
    expect((first as { step: number }).step).toBeGreaterThanOrEqual(2);
    expect(pictures(settings.out).map((bytes, i) => bytes.equals(pictures(out)[i]))).toEqual(new Array(6).fill(true));
    expect(resumed.result?.edits).toEqual(reference.result?.edits);
    expect(resumed.result?.settingsHash).toBe(reference.result?.settingsHash);
  });

  test('a finished folder is kept by --resume, and refused without or with other settings', async () => {
    const kept = await run(settingsFor({ out, resume: true }));
    expect(kept.result?.edits).toEqual(reference.result?.edits);
    expect(kept.events.some(({ type }) => type === 'stage')).toBe(false);
    expect((await run(settingsFor({ out }))).error).toBeInstanceOf(OutputError);
    expect((await run(settingsFor({ out, resume: true, seed: 9 }))).error).toBeInstanceOf(OutputError);
  });

  test('edits below the limits are marked and said', async () => {
    const settings = settingsFor({ minStrength: 1 });
    const { result, events } = await run(settings);
    expect(result?.edits.every(({ usable, flaws }) => !usable && flaws.includes('unchanged'))).toBe(true);
    expect(events.filter(({ type }) => type === 'warning')).toHaveLength(6);
    expect(result?.summary[1]).toBe('0 of 6 are usable');
    await expect(readPreedits(settings.out)).rejects.toThrow(/none of the 6 edits is usable/);
  });
});

describe('quality', () => {
  const limits = { minStrength: 0.01, minSharpness: 0.2, minContrast: 0.02 };
  const picture = (value: (x: number, y: number) => number): Image => {
    const image = createImage(8, 8);
    for (let i = 0; i < image.data.length; i++) image.data[i] = value(i % 8, Math.floor((i % 64) / 8));
    return image;
  };
  const stripes = picture((x) => x % 2);

  test('measures change, sharpness and contrast', () => {
    const half = picture((x) => 0.5 * (x % 2));
    const { strength, sharpness, contrast } = measureQuality(stripes, half);
    expect(strength).toBeCloseTo(0.25, 6);
    expect(sharpness).toBeCloseTo(0.5, 6);
    expect(contrast).toBeCloseTo(0.25, 6);
  });

  test.each<[string, Image, string[]]>([
    ['the view itself', stripes, ['unchanged']],
    ['one grey', picture(() => 0.5), ['flat', 'blurred']],
    ['a slow ramp', picture((x) => 0.1 * x), ['blurred']],
    ['inverted stripes', picture((x) => 1 - (x % 2)), []],
    ['not a number', picture(() => NaN), ['not finite']],
  ])('%s', (_, after, expected) => {
    expect(flawsOf(measureQuality(stripes, after), limits)).toEqual(expected);
  });
});

describe('bad input', () => {
  test.each<[string, () => Partial<PreeditSettings>, new (message: string) => Error, RegExp]>([
    ['missing prompts file', () => ({ prompts: join(root, 'no.txt') }), ConfigError, /no\.txt cannot be read/],
    ['the same instruction twice', () => ({ prompt: 'make it  night' }), ConfigError, /is there twice/],
    ['missing scene', () => ({ scene: join(root, 'nowhere') }), SceneError, /no such file/],
    ['unknown view', () => ({ views: undefined, viewNames: ['f_900'] }), ConfigError, /f_900/],
    ['size off the tokens', () => ({ resolution: 40 }), ConfigError, /multiple of 16/],
  ])('%s', async (_, given, errorClass, message) => {
    const settings = settingsFor(given());
    const { error } = await run(settings);
    expect(error).toBeInstanceOf(errorClass);
    expect((error as Error).message).toMatch(message);
    expect(existsSync(settings.out)).toBe(false);
  });

  test('an empty list, and none at all', async () => {
    const empty = join(root, 'empty.txt');
    writeFileSync(empty, '# nothing\n\n');
    expect((await run(settingsFor({ prompts: empty }))).error).toBeInstanceOf(ConfigError);
    const { error } = preeditSchema.safeParse({ scene, out: 'o' });
    expect(error?.issues[0]).toMatchObject({ path: ['prompt'], message: expect.stringMatching(/--prompt \(/) });
  });

  test('folders that are none, damaged or incomplete are refused with what to do', async () => {
    await expect(readPreedits(join(root, 'nowhere'))).rejects.toThrow(/holds no pre-edits/);
    const settings = settingsFor({ views: 1 });
    await run(settings);
    const file = join(settings.out, 'preedit.json');
    const text = readFileSync(file, 'utf8');
    const refuse = async (content: string, message: RegExp): Promise<void> => {
      writeFileSync(file, content);
      await expect(readPreedits(settings.out)).rejects.toThrow(ConfigError);
      await expect(readPreedits(settings.out)).rejects.toThrow(message);
    };
    await refuse(text.slice(0, 100), /damaged/);
    const record = JSON.parse(text) as PreeditResult;
    await refuse(JSON.stringify({ ...record, edits: record.edits.slice(1) }), /expected one per instruction and view/);
    await refuse(JSON.stringify({ ...record, settingsHash: 'x' }), /settingsHash: expected a sha256/);
    const outside = record.edits.map((entry) => ({ ...entry, file: '../../model/vae/config.json' }));
    await refuse(JSON.stringify({ ...record, edits: outside }), /is missing/);
    writeFileSync(file, text);
    rmSync(join(settings.out, 'edits/001/000.png'));
    await expect(readPreedits(settings.out)).rejects.toThrow(/001\/000\.png is missing/);
  });
});
