/** Edits of scenes that are splats alone, and the check that splats are in the frame of the cameras. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { edit } from '../../src/app/edit';
import type { EditRecord, EditResult } from '../../src/app/edit';
import type { AppEvent } from '../../src/app/events';
import { refitEdit } from '../../src/app/refit';
import { ownSplats, photographs } from '../../src/app/refit/source';
import { AbortError, ConfigError, OutputError, SceneError } from '../../src/binding/errors';
import { editSchema } from '../../src/config/edit';
import type { EditSettings } from '../../src/config/edit';
import { refitSchema } from '../../src/config/refit';
import { cameraCentre, encodePng, loadScene, loadView, project, readImage, upDirection, viewDirection } from '../../src/scene';
import type { Scene } from '../../src/scene';
import { clearArc, splatArc } from '../../src/scene/gaussians/arc';
import { createCloud } from '../../src/scene/gaussians/cloud';
import type { GaussianCloud } from '../../src/scene/gaussians/cloud';
import { decodePly, encodePly, encodeSplat, encodeSpz } from '../../src/scene/gaussians/formats';
import { Gaussians } from '../../src/scene/gaussians/gaussians';
import { inverseSimilarity, transformCloud } from '../../src/scene/gaussians/transform';
import { sampleScene, writeScene } from '../../src/scene/procedural';
import type { Raycast } from '../../src/scene/procedural';
import { nativeRenderer } from '../../src/scene/procedural/native';
import { Device } from '../../src/tensor/device';
import { temporaryFolder } from '../scene-fixtures';
import { randomCloud } from '../splat-fixtures';
import { expectRefusal, runToEnd } from './run-app';
import type { Refusal, Run } from './run-app';
import { writeRandomTinyModel } from './tiny-model';

const root = temporaryFolder();
const device = Device.open('cpu');
const model = join(root, 'model');
const procedural = join(root, 'procedural');
const splatFile = join(root, 'blob.ply');
const cloud = randomCloud(3, 300);
let truth: GaussianCloud;
let folders = 0;

beforeAll(async () => {
  await writeRandomTinyModel(model, device, { settings: { default_steps: 2 } });
  const { raycast } = nativeRenderer();
  // Splats have no sky: it is black in the photographs, too.
  const withoutSky: Raycast = (world, cameras, size) => {
    const { rgb, depth, ids } = raycast(world, cameras, size);
    const pixels = size.width * size.height;
    const dark = rgb.map((value, i) => (ids[Math.floor(i / (3 * pixels)) * pixels + (i % pixels)] === 0 ? 0 : value));
    return { rgb: dark, depth, ids };
  };
  await writeScene(sampleScene(5), procedural, { width: 48, height: 36, spp: 4 }, withoutSky, { splat: true });
  truth = decodePly(readFileSync(join(procedural, 'gt.ply')), 'gt.ply').cloud;
  writeFileSync(splatFile, encodePly(cloud));
}, 60_000);
afterAll(() => device.dispose());

function settingsFor(given: Partial<EditSettings> = {}): EditSettings {
  return editSchema.parse({
    scene: splatFile, prompt: 'turn the photo into sepia', out: join(root, `out-${folders++}`), model, device: 'cpu', seed: 7,
    views: 5, refit: 'none', folds: 0, refitIterations: 5, ...given,
  });
}

const run = (settings: EditSettings, abortAt?: (event: AppEvent) => boolean): Promise<Run<EditResult>> =>
  runToEnd((context) => edit(settings, context), abortAt);

describe('the frame of splats', () => {
  const turn = { rotation: [0, -1, 0, 1, 0, 0, 0, 0, 1], translation: [0.3, -0.2, 0.1], scale: 1 };
  const larger = { rotation: [1, 0, 0, 0, 1, 0, 0, 0, 1], translation: [0, 0, 0], scale: 1.6 };
  let scene: Scene;

  async function checked(placed: GaussianCloud, name: string, dataparser?: object): Promise<{ cloud: GaussianCloud; psnr: number }> {
    const folder = join(root, name);
    mkdirSync(folder);
    writeFileSync(join(folder, 'splat.ply'), encodePly(placed));
    if (dataparser) writeFileSync(join(folder, 'dataparser_transforms.json'), JSON.stringify(dataparser));
    const { signal } = new AbortController();
    scene ??= await loadScene(procedural);
    const views = await photographs(scene, { width: 48, height: 36 }, signal);
    const work = ownSplats(device, scene, join(folder, 'splat.ply'), views, { background: 'black', signal });
    let psnr = NaN;
    for (;;) {
      const next = await work.next();
      if (next.done) return { cloud: next.value, psnr };
      if (next.value.type === 'metric' && next.value.name === 'source.psnr') psnr = next.value.value;
    }
  }

  test('that of the cameras passes', async () => {
    const { psnr, cloud: same } = await checked(truth, 'same');
    expect(psnr).toBeGreaterThan(21);
    expect(same.means).toEqual(truth.means);
  });

  test.each([['turned', turn], ['larger', larger]])('one that is %s is refused with the figure', async (name, similarity) => {
    const error = await checked(transformCloud(truth, similarity), name).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(SceneError);
    const { message } = error as Error;
    const [, reached, least] = /\((-?[\d.]+) dB, expected at least ([\d.]+)\)/.exec(message) ?? [];
    // Photographs of little contrast: their mean colours alone reach 17.6 dB, the larger splats 16.3.
    expect(Number(least)).toBeCloseTo(18.6, 1);
    expect(Number(reached)).toBeLessThan(17);
    expect(message).toMatch(/give --dataparser dataparser_transforms\.json/);
  });

  test("nerfstudio's own frame is brought back by the file beside", async () => {
    // Training sees scale · (R x + t).
    const [r, t, scale] = [turn.rotation, [0.4, -0.6, 0.2], 0.37];
    const trained = { rotation: r, translation: t.map((x) => scale * x), scale };
    const transform = [0, 1, 2].map((k) => [...r.slice(3 * k, 3 * k + 3), t[k]]);
    const { psnr, cloud: back } = await checked(transformCloud(truth, trained), 'nerfstudio', { transform, scale });
    const { psnr: reference } = await checked(transformCloud(transformCloud(truth, trained), inverseSimilarity(trained)), 'there-and-back');
    expect(psnr).toBeCloseTo(reference, 3);
    back.means.forEach((value, i) => expect(Math.abs(value - truth.means[i])).toBeLessThan(2e-5));
  });

  test('a transform that does not bring them back is named', async () => {
    const identity = { transform: [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], scale: 1 };
    await expect(checked(transformCloud(truth, turn), 'wrong-transform', identity)).rejects.toThrow(/even after .*dataparser_transforms\.json/);
  });
});

describe('an arc around splats', () => {
  test('looks at the median of the opacity from 20°, and holds nine tenths of it', () => {
    const { lookAt, radius, cameras } = splatArc(cloud, { views: 9, width: 64, height: 48, up: '-y' });
    expect(cameras).toHaveLength(9);
    const azimuths = cameras.map((camera) => {
      const centre = cameraCentre(camera);
      const offset = centre.map((value, k) => value - lookAt[k]);
      expect(Math.hypot(...offset)).toBeCloseTo(radius, 6);
      expect((Math.asin(-offset[1] / radius) * 180) / Math.PI).toBeCloseTo(20, 6);
      const { u, v, z } = project(camera, lookAt);
      expect([u, v, z]).toEqual([expect.closeTo(32, 6), expect.closeTo(24, 6), expect.closeTo(radius, 6)]);
      expect(upDirection(camera)[1]).toBeLessThan(-0.9);
      expect(2 * Math.atan(32 / camera.fx)).toBeCloseTo((50 * Math.PI) / 180, 9);
      return (Math.atan2(offset[0], -offset[2]) * 180) / Math.PI;
    });
    azimuths.forEach((azimuth, k) => expect(Math.abs(azimuth)).toBeCloseTo(Math.abs(15 * k - 60), 6));
    expect(new Set(azimuths.map((azimuth) => azimuth.toFixed(3))).size).toBe(9);
    // From the definition: half of the opacity lies to either side.
    const weights = Array.from(cloud.opacityLogits, (logit) => 1 / (1 + Math.exp(-logit)));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (const k of [0, 1, 2]) {
      const below = weights.reduce((sum, weight, i) => sum + (cloud.means[3 * i + k] < lookAt[k] ? weight : 0), 0);
      const upTo = weights.reduce((sum, weight, i) => sum + (cloud.means[3 * i + k] <= lookAt[k] ? weight : 0), 0);
      expect(below).toBeLessThan(total / 2);
      expect(upTo).toBeGreaterThanOrEqual(total / 2 - 1e-9);
    }
    for (const camera of cameras) {
      let seen = 0;
      for (let i = 0; i < cloud.count; i++) {
        const { u, v, z } = project(camera, [cloud.means[3 * i], cloud.means[3 * i + 1], cloud.means[3 * i + 2]]);
        if (z > 0 && u >= 0 && u <= 64 && v >= 0 && v <= 48) seen += weights[i];
      }
      expect(seen / total).toBeGreaterThan(0.9);
    }
  });

  test.each([['z', 2, 1], ['-y', 1, -1], ['y', 1, 1], ['x', 0, 1], ['-x', 0, -1], ['-z', 2, -1]] as const)('stands upright with %s up', (up, axis, sign) => {
    const { cameras } = splatArc(cloud, { views: 3, width: 32, height: 32, up });
    for (const camera of cameras) {
      expect(sign * upDirection(camera)[axis]).toBeCloseTo(Math.cos((20 * Math.PI) / 180), 6);
      expect(sign * viewDirection(camera)[axis]).toBeCloseTo(-Math.sin((20 * Math.PI) / 180), 6);
    }
  });

  test('turns with the azimuth', () => {
    const options = { views: 1, width: 32, height: 32, up: 'z' } as const;
    const [{ cameras: [ahead] }, { cameras: [turned] }] = [splatArc(cloud, options), splatArc(cloud, { ...options, azimuthDeg: 90 })];
    const level = ([x, y]: readonly number[]): number[] => [x, y].map((value) => value / Math.hypot(x, y));
    expect(level(viewDirection(ahead))).toEqual([expect.closeTo(0, 9), expect.closeTo(1, 9)]);
    expect(Math.abs(level(viewDirection(turned))[0])).toBeCloseTo(1, 9);
  });

  test('cameras inside of something move out; in a closed room they are refused, as is an empty view', async () => {
    // A box of walls around the middle, `half` from it, on top of the scene.
    const wall = (half: number): GaussianCloud => {
      const points: number[][] = [];
      for (let a = -6; a <= 6; a++)
        for (let b = -6; b <= 6; b++)
          for (const side of [-1, 1]) points.push([(a / 6) * half, (b / 6) * half, side * half], [side * half, (a / 6) * half, (b / 6) * half], [(a / 6) * half, side * half, (b / 6) * half]);
      const walls = createCloud(points.length, 0);
      walls.means.set(points.flat());
      walls.logScales.fill(Math.log(half / 8));
      walls.opacityLogits.fill(6);
      points.forEach((_, i) => (walls.quats[4 * i] = 1));
      return walls;
    };
    const arc = { ...splatArc(cloud, { views: 3, width: 32, height: 32, up: '-y' }), lookAt: [0, 0, 0] as const };
    const { radius, cameras } = arc;
    // Walls a little behind the cameras: near the corner of the box that is 1.05 radii away.
    const clear = async (walls: GaussianCloud) => {
      using gaussians = Gaussians.fromCloud(device, walls);
      return await clearArc(gaussians, arc);
    };
    using free = Gaussians.fromCloud(device, cloud);
    expect(await clearArc(free, arc)).toEqual({ cameras, moved: 0 });
    const shell = wall(0.93 * radius);
    const { cameras: out, moved } = await clear(shell);
    expect(moved).toBeGreaterThan(0);
    out.forEach((camera, i) => {
      const [far, near] = [cameraCentre(camera), cameraCentre(cameras[i])].map((centre) => Math.hypot(...centre));
      expect(far).toBeGreaterThan(near * 0.999);
      viewDirection(camera).forEach((value, k) => expect(value).toBeCloseTo(viewDirection(cameras[i])[k], 9));
    });
    const nothing = transformCloud(cloud, { rotation: [1, 0, 0, 0, 1, 0, 0, 0, 1], translation: [0, 0, 0], scale: 1e-3 });
    await expect(clear(nothing)).rejects.toThrow(/sees nothing/);
    // Solid everywhere that a camera might go.
    const steps = Array.from({ length: 29 }, (_, k) => ((k - 14) / 4) * radius);
    const centres = steps.flatMap((x) => steps.flatMap((y) => steps.map((z) => [x, y, z])));
    const fog = createCloud(centres.length, 0);
    fog.means.set(centres.flat());
    fog.logScales.fill(Math.log(0.15 * radius));
    fog.opacityLogits.fill(6);
    centres.forEach((_, i) => (fog.quats[4 * i] = 1));
    await expect(clear(fog)).rejects.toThrow(/stands inside of the scene/);
  });
});

describe('an edit of splats alone', () => {
  test('renders the views, edits them, refits the file, and a refit goes on from there', async () => {
    const settings = settingsFor({ refit: 'source', dataset: true });
    const { result, error, events } = await run(settings);
    expect(error).toBeUndefined();
    expect(events.some((event) => event.type === 'note' && /an arc around it, -y up \(a guess/.test(event.message))).toBe(true);
    const { out } = settings;
    expect(readdirSync(out).sort()).toEqual(['.rl3dedit', 'dataset', 'edit.json', 'grid.png', 'report.html', 'scene.ply', 'scene_before.ply', 'source', 'views']);
    const source = await loadScene(join(out, 'source'));
    expect(source.views.map(({ name }) => name)).toEqual(['view_00', 'view_01', 'view_02', 'view_03', 'view_04']);
    expect(source.points?.count).toBeGreaterThan(100);
    // A view of the edit is the rendered picture, unscaled.
    const { image } = await loadView(source.views[0]);
    expect(await readImage(join(out, 'views/before/000.png'))).toEqual(image);
    // The file itself is the source of the refit.
    const before = decodePly(readFileSync(join(out, 'scene_before.ply')), 'before').cloud;
    expect(before.means).toEqual(cloud.means);
    const psnr = events.flatMap((event) => (event.type === 'metric' && event.name === 'source.psnr' ? [event.value] : []));
    // 8-bit pictures: 10 log10(12 · 255²) = 58.9 dB.
    expect(psnr[0]).toBeGreaterThan(55);
    expect(result?.refit?.from).toBe('source');
    const record = JSON.parse(readFileSync(join(out, 'edit.json'), 'utf8')) as EditRecord;
    expect(record.settings.scene).toBe(splatFile);

    // The report of both, and the views exported as datasets.
    const report = readFileSync(join(out, 'report.html'), 'utf8');
    expect(report).toContain('The edited scene beside the edited views');
    const edited = await readImage(join(out, 'views/after/002.png'));
    for (const layout of ['nerfstudio', 'colmap']) {
      const exported = await loadScene(join(out, 'dataset', layout));
      expect(exported.format).toBe(layout);
      expect(exported.views).toHaveLength(5);
      const view = exported.views.find(({ name }) => name === record.views[2].name)!;
      expect((await loadView(view)).image).toEqual(edited);
      expect(view.camera.fx).toBe(record.views[2].camera.fx);
      view.camera.worldToCam.forEach((value, k) => expect(value).toBeCloseTo(record.views[2].camera.worldToCam[k], 12));
    }

    // A picture of somebody's own: everything that depends on it is written anew.
    const own = { ...edited, data: edited.data.map((value) => 1 - value) };
    writeFileSync(join(out, 'views/after/002.png'), await encodePng(own));
    const again = refitEdit(refitSchema.parse({ dir: out, device: 'cpu', folds: 0, refitIterations: 5 }), { signal: new AbortController().signal });
    while (!(await again.next()).done);
    const changed = JSON.parse(readFileSync(join(out, 'edit.json'), 'utf8')) as EditRecord;
    expect(changed.outputHash).not.toBe(record.outputHash);
    expect(changed.views[2].meanChange).not.toBe(record.views[2].meanChange);
    expect(changed.verification?.before).toEqual(record.verification?.before);
    expect(changed.verification?.after).not.toEqual(record.verification?.after);
    expect(readFileSync(join(out, 'report.html'), 'utf8')).not.toBe(report);
    const exported = await loadScene(join(out, 'dataset/nerfstudio'));
    expect((await loadView(exported.views[2])).image).toEqual(await readImage(join(out, 'views/after/002.png')));
  });

  test('is resumed where it stopped, with the views as they are', async () => {
    const whole = settingsFor();
    const reference = await run(whole);
    expect(reference.error).toBeUndefined();
    for (const stopAfter of ['scene', 'views', 'decode']) {
      const settings = settingsFor({ stopAfter });
      const first = await run(settings);
      expect(first.result?.stoppedAfter).toBe(stopAfter);
      const json = join(settings.out, 'source/transforms.json');
      const written = statSync(json).mtimeMs;
      const second = await run({ ...settings, stopAfter: undefined, resume: true });
      expect(second.result?.outputHash).toBe(reference.result?.outputHash);
      expect(statSync(json).mtimeMs).toBe(written);
      expect((await run({ ...settings, stopAfter: undefined, resume: true, up: 'z' })).error).toBeInstanceOf(OutputError);
    }
    // --overwrite begins anew, the rendered views included.
    const over = await run({ ...whole, overwrite: true, up: 'z' });
    expect(over.error).toBeUndefined();
    expect(over.result?.outputHash).not.toBe(reference.result?.outputHash);
  });

  test('aborted while it renders, it leaves no tensor and can be resumed', async () => {
    const settings = settingsFor();
    const baseline = device.memory().liveTensors;
    const aborted = await run(settings, (event) => event.type === 'step' && event.stage === 'scene' && event.step === 2);
    expect(aborted.error).toBeInstanceOf(AbortError);
    expect(device.memory().liveTensors).toBe(baseline);
    expect(existsSync(settings.out)).toBe(false);
    expect((await run({ ...settings, resume: true })).error).toBeUndefined();
    expect(device.memory().liveTensors).toBe(baseline);
  });

  test.each([['spz', encodeSpz], ['splat', encodeSplat]] as const)('reads .%s, and is guided by an anchor too', async (ending, encode) => {
    const file = join(root, `blob.${ending}`);
    writeFileSync(file, encode(cloud));
    const { result, error } = await run(settingsFor({ scene: file, anchorGuided: true, views: 4, viewNames: ['view_03', 'view_01'] }));
    expect(error).toBeUndefined();
    expect(result?.views?.map(({ name }) => name)).toEqual(['view_03', 'view_01']);
  });

  test('a white background is that of the views, of the check and of the refit', async () => {
    const settings = settingsFor({ background: 'white', refit: 'source', preset: 'appearance' });
    const { events, error } = await run(settings);
    expect(error).toBeUndefined();
    const [corner] = (await readImage(join(settings.out, 'views/before/000.png'))).data;
    expect(corner).toBe(1);
    const psnr = events.flatMap((event) => (event.type === 'metric' && event.name === 'source.psnr' ? [event.value] : []));
    expect(psnr[0]).toBeGreaterThan(55);
    expect((await readImage(join(settings.out, 'views/refit/000.png'))).data[0]).toBe(1);
  });

  test.each([
    ['the cameras of the scene that it was reconstructed from', 'reconstruct.json', () => ({ scene: { path: procedural } })],
    ["nerfstudio's file beside it", 'dataparser_transforms.json', () => ({})],
  ])('which axis is up is guessed from %s', async (_, name, content) => {
    const folder = join(root, `beside-${name}`);
    mkdirSync(folder);
    cpSync(splatFile, join(folder, 'scene.ply'));
    writeFileSync(join(folder, name), JSON.stringify(content()));
    const { events } = await run(settingsFor({ scene: join(folder, 'scene.ply'), stopAfter: 'scene' }));
    const notes = events.flatMap((event) => (event.type === 'note' ? [event.message] : []));
    expect(notes.join()).toMatch(/around it, z up \(a guess/);
  });

  test('the output folder of a training run brings its own cameras, the newest splats are taken', async () => {
    const folder = join(root, 'trained');
    const { cameras } = splatArc(cloud, { views: 7, width: 64, height: 48, up: '-y' });
    for (const iteration of [700, 30000]) mkdirSync(join(folder, `point_cloud/iteration_${iteration}`), { recursive: true });
    writeFileSync(join(folder, 'point_cloud/iteration_700/point_cloud.ply'), 'ply\nold');
    cpSync(splatFile, join(folder, 'point_cloud/iteration_30000/point_cloud.ply'));
    const json = cameras.map(({ width, height, fx, fy, worldToCam: m }, id) => ({
      id, img_name: `DSC_${id}`, width, height, fx, fy,
      position: [0, 1, 2].map((k) => -(m[k] * m[3] + m[4 + k] * m[7] + m[8 + k] * m[11])),
      rotation: [0, 1, 2].map((k) => [m[k], m[4 + k], m[8 + k]]),
    }));
    writeFileSync(join(folder, 'cameras.json'), JSON.stringify(json));
    const settings = settingsFor({ scene: folder, viewNames: ['DSC_1', 'DSC_4'] });
    const { result, error } = await run(settings);
    expect(error).toBeUndefined();
    expect(result?.views?.map(({ name }) => name)).toEqual(['DSC_1', 'DSC_4']);
    result?.views?.forEach(({ camera }, i) =>
      camera.worldToCam.forEach((value, k) => expect(value).toBeCloseTo(cameras[[1, 4][i]].worldToCam[k], 6)),
    );
    writeFileSync(join(folder, 'cameras.json'), JSON.stringify(json.map((camera) => ({ ...camera, fx: -1 }))));
    const refused = await run(settingsFor({ scene: folder }));
    expect(refused.error).toBeInstanceOf(SceneError);
    expect((refused.error as Error).message).toMatch(/cameras\.json: 0\.fx/);
  });

  const bad: Refusal<EditSettings>[] = [
    ['a file that is none', () => ({ scene: file('none.ply', Buffer.from('ply\nformat ascii')) }), SceneError, /none\.ply/],
    ['a truncated file', () => ({ scene: file('cut.ply', encodePly(cloud).subarray(0, 5000)) }), SceneError, /cut\.ply/],
    ['a file without Gaussians', () => ({ scene: file('empty.ply', encodePly(createCloud(0, 0))) }), SceneError, /holds no Gaussians/],
    ['a view that the arc has not', () => ({ viewNames: ['view_77'] }), ConfigError, /view_77/],
    ['splats beside splats', () => ({ splats: splatFile }), ConfigError, /splats already/],
    ['a size off the tokens', () => ({ resolution: 40 }), ConfigError, /multiple of 16/],
    ['more views than one pass takes', () => ({ views: 12 }), ConfigError, /at most 9/],
  ];
  function file(name: string, content: Uint8Array): string {
    writeFileSync(join(root, name), content);
    return join(root, name);
  }

  test.each(bad)('%s is refused before anything is written', (...refusal) => expectRefusal(device, run, { ...settingsFor(), ...refusal[1]() }, refusal));
});
