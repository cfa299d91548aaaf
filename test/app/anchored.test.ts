import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mosaicSize, planGroups } from '../../src/app/edit/anchored/groups';
import { windows } from '../../src/app/edit/verification';
import { edit } from '../../src/app/edit';
import type { EditResult } from '../../src/app/edit';
import type { AppEvent } from '../../src/app/events';
import { AbortError, ConfigError, SceneError } from '../../src/binding/errors';
import { editSchema } from '../../src/config/edit';
import type { EditSettings } from '../../src/config/edit';
import { contextViewIds } from '../../src/models/flux';
import { encodePng, fromBytes, readImage, toBytes } from '../../src/scene';
import { Device } from '../../src/tensor/device';
import { orbitTransforms, patternBytes, temporaryFolder, writeScene } from '../scene-fixtures';
import { expectRefusal, runToEnd, stepsOf } from './run-app';
import type { Refusal, Run } from './run-app';
import { writeRandomTinyModel } from './tiny-model';

const root = temporaryFolder();
const device = Device.open('cpu');
const model = join(root, 'model');
const scene = join(root, 'scene');
const azimuths = Array.from({ length: 20 }, (_, i) => 8 * i);
let folders = 0;

beforeAll(async () => {
  await writeRandomTinyModel(model, device, { settings: { default_steps: 2, group_views: 4 } });
  await writeScene(scene, orbitTransforms(azimuths));
});
afterAll(() => device.dispose());

function settingsFor(given: Partial<EditSettings> = {}): EditSettings {
  return editSchema.parse({
    scene,
    prompt: 'turn the photo into sepia',
    out: join(root, `out-${folders++}`),
    model,
    device: 'cpu',
    views: 6,
    anchorGuided: true,
    seed: 7,
    refit: 'none',
    ...given,
  });
}

/** Runs an edit; an abort comes in the midst of what follows the event, not before it. */
const run = (settings: EditSettings, abortAt?: (event: AppEvent) => boolean): Promise<Run<EditResult>> =>
  runToEnd((context) => edit(settings, context), abortAt, 1);

describe('groups', () => {
  test('grow outwards from the anchor, with the anchor and a finished neighbour as contexts', () => {
    expect(planGroups({ views: 10, anchor: 4, groupViews: 4, anchorGiven: false })).toEqual([
      { targets: [4], contexts: [], cells: [2] },
      { targets: [2, 3, 5], contexts: [4], cells: [0, 1, 3, 2] },
      { targets: [6, 7], contexts: [4, 5], cells: [2, 3, 0, 1] },
      { targets: [0, 1], contexts: [4, 2], cells: [0, 1, 3, 2] },
      { targets: [8, 9], contexts: [4, 7], cells: [2, 3, 0, 1] },
    ]);
  });

  test.each([2, 3, 4, 6, 9])('of %i views: each view once, after its contexts; as many as the views ask for', (groupViews) => {
    for (const views of [2, 3, 9, 18, 36, 81]) {
      for (const anchor of [0, 1, Math.floor((views - 1) / 2), views - 1]) {
        for (const anchorGiven of [false, true]) {
          const groups = planGroups({ views, anchor, groupViews, anchorGiven });
          const finished = new Set(anchorGiven ? [anchor] : []);
          for (const { targets, contexts, cells } of groups) {
            expect(contexts.every((view) => finished.has(view))).toBe(true);
            expect(targets.some((view) => finished.has(view))).toBe(false);
            expect(targets.length + contexts.length).toBeLessThanOrEqual(groupViews);
            expect(new Set(cells).size).toBe(targets.length + contexts.length);
            expect(Math.max(...cells)).toBeLessThan(9);
            if (contexts.length > 0) {
              expect(contexts[0]).toBe(anchor);
              // Something finished is next to what is to be made, where there is room for it.
              const ends = [targets[0] - 1, targets[targets.length - 1] + 1];
              if (groupViews > 2) expect(contexts.some((view) => ends.includes(view) || targets.includes(view - 1))).toBe(true);
            }
            for (const view of targets) finished.add(view);
          }
          expect(finished.size).toBe(views);
          const room = Math.max(1, groupViews - 2);
          expect(groups.length).toBeLessThanOrEqual(3 + Math.ceil(views / room));
        }
      }
    }
  });

  test('bad counts are refused', () => {
    for (const bad of [{ anchor: -1 }, { anchor: 9 }, { groupViews: 1 }, { groupViews: 10 }, { views: 2.5 }]) {
      expect(() => planGroups({ views: 9, anchor: 0, groupViews: 9, anchorGiven: false, ...bad })).toThrow(ConfigError);
    }
  });

  test('positions: targets on image 0, all unedited views on 1, finished ones on 2, at their cells', () => {
    const ids = contextViewIds([0, 5], [8], { rows: 1, columns: 2 });
    const at = (image: number, row: number, column: number): number[] => [image, row, column, image, row, column + 1];
    const expected = [
      ...at(0, 0, 0), ...at(0, 1, 4),
      ...at(1, 0, 0), ...at(1, 1, 4), ...at(1, 2, 4),
      ...at(2, 2, 4),
    ];
    expect(ids.length).toBe(12);
    expect(Array.from(ids.ids)).toEqual(expected);
  });

  test('mosaics are nearly square, verifier windows share their ends', () => {
    expect([2, 9, 10, 18, 36, 81].map(mosaicSize).map(({ rows, cols }) => [rows, cols])).toEqual([
      [1, 2], [3, 3], [3, 4], [4, 5], [6, 6], [9, 9],
    ]);
    expect(windows(1)).toEqual([[0, 1]]);
    expect(windows(9)).toEqual([[0, 9]]);
    expect(windows(18)).toEqual([[0, 7], [6, 12], [11, 18]]);
    for (let views = 1; views <= 81; views++) {
      for (const [i, [from, to]] of windows(views).entries()) {
        expect(to - from).toBeLessThanOrEqual(9);
        if (i > 0) expect(from).toBe(windows(views)[i - 1][1] - 1);
      }
    }
  });
});

describe('an anchor-guided edit', () => {
  let reference: Run<EditResult>;

  beforeAll(async () => {
    reference = await run(settingsFor());
    if (reference.error) throw reference.error;
  });

  test('makes the anchor, then the groups around it, and says so in the record', async () => {
    const { result, events } = reference;
    expect(result?.anchored).toEqual({
      name: result?.views?.[2].name,
      anchor: 2,
      groups: planGroups({ views: 6, anchor: 2, groupViews: 4, anchorGiven: false }),
    });
    // Three groups of two steps.
    expect(stepsOf(events, 'edit')).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(result?.cells).toEqual([0, 1, 2, 3, 4, 5]);
    const grid = await readImage(join(result!.out, 'grid.png'));
    expect([grid.width, grid.height]).toEqual([96, 64]);
  });

  test('the same seed gives the same hash; seed, noise, anchor and grouping each give another', async () => {
    const again = await run(settingsFor());
    expect(again.result?.outputHash).toBe(reference.result?.outputHash);
    const others = [{ seed: 8 }, { noise: 'shared' as const }, { anchor: 'f_000' }, { groupViews: 3 }];
    const hashes = [reference.result?.outputHash];
    for (const other of others) hashes.push((await run(settingsFor(other))).result?.outputHash);
    expect(new Set(hashes).size).toBe(5);
    expect(hashes).not.toContain(undefined);
  });

  test('the first view is a single-view edit: what the other groups hold does not matter', async () => {
    const other = await run(settingsFor({ groupViews: 6 }));
    const [a, b] = [reference.result!, other.result!].map(({ out }) => readFileSync(join(out, 'views/after/002.png')));
    expect(a.equals(b)).toBe(true);
  });

  test('views follow their contexts: another finished view gives another edit', async () => {
    const picture = join(root, 'context.png');
    writeFileSync(picture, await encodePng(fromBytes(patternBytes(32, 32, 90), 32, 32, 3)));
    const inverted = fromBytes(patternBytes(32, 32, 90).map((value) => 255 - value), 32, 32, 3);
    const otherPicture = join(root, 'other-context.png');
    writeFileSync(otherPicture, await encodePng(inverted));
    const one = await run(settingsFor({ anchorPicture: picture }));
    const two = await run(settingsFor({ anchorPicture: otherPicture }));
    for (const view of ['000', '001', '003', '004', '005']) {
      const [a, b] = [one, two].map(({ result }) => readFileSync(join(result!.out, `views/after/${view}.png`)));
      expect(a.equals(b)).toBe(false);
    }
  });

  test('a given picture is its view, unchanged; no group makes it', async () => {
    const bytes = patternBytes(32, 32, 50);
    const picture = join(root, 'anchor.png');
    writeFileSync(picture, await encodePng(fromBytes(bytes, 32, 32, 3)));
    const settings = settingsFor({ anchorPicture: picture, anchor: 4, stopAfter: 'views' });
    await run(settings);
    // The picture is part of the folder by now.
    rmSync(picture);
    const { result, error } = await run({ ...settings, stopAfter: undefined, resume: true });
    expect(error).toBeUndefined();
    const { anchored, views } = result!;
    expect(views![anchored!.anchor].sceneIndex).toBe(4);
    expect(anchored!.groups.every(({ targets }) => !targets.includes(anchored!.anchor))).toBe(true);
    expect(anchored!.picture).toBe(picture);
    const after = await readImage(join(result!.out, views![anchored!.anchor].after));
    expect(toBytes(after).equals(bytes)).toBe(true);
  });

  test('a larger picture is cut and resized to the cell', async () => {
    const picture = join(root, 'large.png');
    writeFileSync(picture, await encodePng(fromBytes(patternBytes(120, 64), 120, 64, 3)));
    const { result, error } = await run(settingsFor({ anchorPicture: picture }));
    expect(error).toBeUndefined();
    const after = await readImage(join(result!.out, result!.views![2].after));
    expect([after.width, after.height]).toEqual([32, 32]);
  });

  test('eighteen views, verified in windows, in a mosaic of 4 by 5', async () => {
    const { result, error } = await run(settingsFor({ views: 18, groupViews: 9 }));
    expect(error).toBeUndefined();
    expect(result?.views).toHaveLength(18);
    // The anchor, eight views around it, four below and five above.
    expect(result?.anchored?.groups.map(({ targets }) => targets.length)).toEqual([1, 8, 4, 5]);
    expect(result?.verification?.after.views).toHaveLength(18);
    expect(result?.verification?.after.pairs).toHaveLength(21 + 15 + 21);
    const grid = await readImage(join(result!.out, 'grid.png'));
    expect([grid.width, grid.height]).toEqual([5 * 32, 4 * 32]);
    // Beyond the last view the mosaic is white.
    expect(grid.data[grid.data.length - 1]).toBe(1);
  });

  test.each(['views', 'encode', 'edit', 'decode'])('stopped after %s and resumed, it ends with the same pictures', async (stage) => {
    const settings = settingsFor({ stopAfter: stage });
    expect((await run(settings)).result?.stoppedAfter).toBe(stage);
    const second = await run({ ...settings, stopAfter: undefined, resume: true });
    expect(second.result?.outputHash).toBe(reference.result?.outputHash);
  });

  test.each([1, 2, 3, 5])('aborted after step %i, it ends soon, frees all, and goes on from there', async (step) => {
    const settings = settingsFor();
    const baseline = device.memory().liveTensors;
    const aborted = await run(settings, (event) => event.type === 'step' && event.stage === 'edit' && event.step === step);
    expect(aborted.error).toBeInstanceOf(AbortError);
    expect(aborted.abortMs).toBeLessThan(1000);
    expect(device.memory().liveTensors).toBe(baseline);
    const done = Math.max(...stepsOf(aborted.events, 'edit'));
    const resumed = await run({ ...settings, resume: true });
    if (done < 6) expect(stepsOf(resumed.events, 'edit')[0]).toBeGreaterThanOrEqual(done);
    expect(resumed.result?.outputHash).toBe(reference.result?.outputHash);
  });

  test('models of one mosaic and of a grid clause run too, and the clause reaches the groups', async () => {
    const grid = await writeRandomTinyModel(join(root, 'model-grid'), device, {
      settings: { vae_input: 'grid', prompt_template: 'grid', default_steps: 2, group_views: 4 },
      withVerifier: false,
    });
    const { result, error } = await run(settingsFor({ model: grid }));
    expect(error).toBeUndefined();
    const [a, b] = [reference.result!, result!].map(({ out }) => readFileSync(join(out, 'views/after/002.png')));
    expect(a.equals(b)).toBe(true);
    expect(result?.outputHash).not.toBe(reference.result?.outputHash);
  });

  test('a scene with fewer views than wanted edits each once', async () => {
    const { result, events } = await run(settingsFor({ views: 30 }));
    expect(result?.views).toHaveLength(20);
    expect(events.some((event) => event.type === 'warning' && event.message.includes('20 views'))).toBe(true);
  });
});

describe('bad input', () => {
  const cases: Refusal<EditSettings>[] = [
    ['ten views without an anchor', () => ({ anchorGuided: false, views: 10 }), ConfigError, /--anchor-guided/],
    ['an anchor without the mode', () => ({ anchorGuided: false, anchor: 'f_000' }), ConfigError, /--anchor-guided/],
    ['one view', () => ({ views: 1 }), ConfigError, /two views/],
    ['an unknown anchor', () => ({ anchor: 'f_900' }), ConfigError, /no view "f_900"/],
    ['an index outside', () => ({ anchor: 20 }), ConfigError, /index 0 to 19/],
    ['an anchor off the list', () => ({ viewNames: ['f_001', 'f_002'], anchor: 'f_003' }), ConfigError, /not among/],
    ['a missing picture', () => ({ anchorPicture: join(root, 'none.png') }), SceneError, /none\.png/],
    ['groups of one', () => ({ groupViews: 1 }), ConfigError, /groups of 1/],
  ];

  test.each(cases)('%s', (...refusal) => expectRefusal(device, run, { ...settingsFor(), ...refusal[1]() }, refusal));

  test('a picture that is none', async () => {
    mkdirSync(join(root, 'broken'), { recursive: true });
    const anchorPicture = join(root, 'broken/picture.png');
    writeFileSync(anchorPicture, 'not a picture');
    const settings = settingsFor({ anchorPicture });
    const { error } = await run(settings);
    expect(error).toBeInstanceOf(SceneError);
    expect(existsSync(settings.out)).toBe(false);
  });

  test('a model that places its views by index', async () => {
    const byIndex = await writeRandomTinyModel(join(root, 'model-index'), device, { settings: { view_layout: 'index' } });
    const { error } = await run(settingsFor({ model: byIndex }));
    expect((error as Error).message).toMatch(/by index/);
  });

  test('the schema says so before anything is loaded', () => {
    const parse = (given: object): unknown => editSchema.safeParse({ scene: 's', prompt: 'p', out: 'o', ...given }).error?.issues[0];
    expect(parse({ views: 10 })).toMatchObject({ path: ['views'], message: expect.stringContaining('--anchor-guided') as string });
    expect(parse({ groupViews: 3 })).toMatchObject({ path: ['groupViews'] });
    expect(parse({ views: 81, anchorGuided: true })).toBeUndefined();
    expect(parse({ views: 82, anchorGuided: true })).toMatchObject({ path: ['views'] });
  });
});
