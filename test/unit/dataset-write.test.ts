import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AbortError, OutputError, SceneError, ShapeError } from '../../src/binding/errors';
import {
  type Camera, createImage, type Dataset, loadColmap, loadScene, loadView, type Scene, writeColmap, writeNerfstudio,
} from '../../src/scene';
import { parseCamerasBin, parseImagesBin, parsePointsBin } from '../../src/scene/datasets/colmap-binary';
import { parseCamerasText, parseImagesText, parsePointsText } from '../../src/scene/datasets/colmap-text';
import { describeUnless } from '../describe-unless';
import { rigid, rotationAbout } from '../rigid';
import { temporaryFolder } from '../scene-fixtures';

const root = temporaryFolder();
let counter = 0;
const fresh = (): string => join(root, `set${counter++}`);

function picture(seed: number): ReturnType<typeof createImage> {
  const image = createImage(24, 16);
  for (let i = 0; i < image.data.length; i++) image.data[i] = ((i * 37 + seed * 11) % 256) / 255;
  return image;
}

function camera(i: number, fx = 30): Camera {
  const pose = rigid(rotationAbout([1 + i, 2, -3 * i], 25 + 61 * i), [0.1 * i, -1 / 3, 4 + i]);
  return { width: 24, height: 16, fx, fy: 31.25, cx: 12.5, cy: 7.75, worldToCam: Float64Array.of(...pose, 0, 0, 0, 1) };
}

const count = 500;
const points = {
  count,
  positions: Float32Array.from({ length: 3 * count }, (_, i) => Math.sin(i * 1.7) * 2),
  colors: Uint8Array.from({ length: 3 * count }, (_, i) => (i * 53) % 256),
};
const dataset = (views = 5): Dataset => ({
  views: Array.from({ length: views }, (_, i) => ({ name: `00${i}`, image: picture(i), camera: camera(i, i === 3 ? 40 : 30) })),
  points,
});

/** The scene holds the data set again: cameras to rounding (worst observed 1.4e-15), images and points exactly. */
async function expectSame(scene: Scene, { views }: Dataset): Promise<void> {
  expect(scene.warnings).toEqual([]);
  expect(scene.views).toHaveLength(views.length);
  for (const [i, view] of scene.views.entries()) {
    const { worldToCam, ...intrinsics } = view.camera;
    const { worldToCam: expected, ...wanted } = views[i].camera;
    expect([view.name, view.photograph, intrinsics]).toEqual([views[i].name, undefined, wanted]);
    worldToCam.forEach((x, k) => expect(Math.abs(x - expected[k])).toBeLessThan(3e-15));
    expect((await loadView(view)).image.data).toEqual(views[i].image.data);
  }
  expect(scene.points).toEqual(points);
}

describe('write, then read', () => {
  test('nerfstudio: intrinsics at the top where shared, per frame where not', async () => {
    for (const set of [dataset(3), dataset()]) {
      const folder = fresh();
      await writeNerfstudio(folder, set);
      await expectSame(await loadScene(folder), set);
      const json = JSON.parse(readFileSync(join(folder, 'transforms.json'), 'utf8'));
      expect('fl_x' in json).toBe(set.views.length === 3);
      expect(readdirSync(folder).sort()).toEqual(['images', 'sparse_pc.ply', 'transforms.json']);
    }
    expect(readdirSync(root).filter((name) => name.includes('tmp'))).toEqual([]);
  });

  test.each(['binary', 'text'] as const)('COLMAP, %s', async (files) => {
    const folder = fresh();
    await writeColmap(folder, dataset(), { files });
    await expectSame(await loadScene(folder), dataset());
    const ending = files === 'binary' ? 'bin' : 'txt';
    expect(readdirSync(join(folder, 'sparse/0')).sort()).toEqual(['cameras', 'images', 'points3D'].map((name) => `${name}.${ending}`));
  });

  test('COLMAP: binary and text say the same to the last bit, and cameras are shared', async () => {
    const folder = fresh();
    await writeColmap(folder, dataset(), { files: 'both' });
    const file = (name: string): Buffer => readFileSync(join(folder, 'sparse/0', name));
    const cameras = parseCamerasBin(file('cameras.bin'), 'c');
    expect(parseCamerasText(file('cameras.txt'), 'c')).toEqual(cameras);
    expect(cameras).toHaveLength(2);
    expect(parseImagesText(file('images.txt'), 'i')).toEqual(parseImagesBin(file('images.bin'), 'i'));
    expect(parsePointsText(file('points3D.txt'), 'p')).toEqual(parsePointsBin(file('points3D.bin'), 'p'));
  });

  test('no points; no colours; names with endings, spaces and folders', async () => {
    const views = dataset(2).views.map((view, i) => ({ ...view, name: ['left/my view.JPG', 'right/a'][i] }));
    for (const write of [writeNerfstudio, writeColmap]) {
      const folder = fresh();
      await write(folder, { views, points: { count: 1, positions: Float32Array.of(1, 2, 3) } });
      const scene = await loadScene(folder);
      expect(scene.views.map(({ name }) => name)).toEqual(['my view', 'a']);
      expect([...scene.points!.positions]).toEqual([1, 2, 3]);
      expect(scene.points!.colors).toEqual(write === writeColmap ? Uint8Array.of(128, 128, 128) : undefined);
      const bare = fresh();
      await write(bare, { views });
      expect((await loadScene(bare)).points?.count ?? 0).toBe(0);
    }
  });
});

describe('nothing is written in vain', () => {
  const cases: [string, Dataset, new (...values: never[]) => Error, RegExp][] = [
    ['no views', { views: [] }, SceneError, /no views/],
    ['two of one name', { views: ['a.png', 'A.jpg'].map((name) => ({ ...dataset().views[0], name })) }, SceneError, /names repeat: a\.png, A\.png/],
    ['a name that leaves the folder', { views: [{ ...dataset().views[0], name: '../x' }] }, SceneError, /"\.\.\/x": the name cannot/],
    ['a size that differs', { views: [{ ...dataset().views[0], camera: { ...camera(0), width: 25 } }] }, ShapeError, /image is 24x16, its camera is for 25x16/],
    ['a camera that is not finite', { views: [{ ...dataset().views[0], camera: { ...camera(0), cx: Number.NaN } }] }, SceneError, /not finite/],
    ['a point that is not finite', { ...dataset(), points: { count: 1, positions: Float32Array.of(1, 2, Infinity) } }, SceneError, /point is not finite/],
    ['a pixel that is no number', { views: [{ ...dataset().views[0], image: { width: 24, height: 16, data: new Float32Array(1152).fill(Number.NaN) } }] }, ShapeError, /is NaN/],
  ];
  test.each(cases)('%s', async (_, set, type, message) => {
    const before = readdirSync(root);
    for (const write of [writeNerfstudio, writeColmap]) {
      const folder = fresh();
      await expect(write(folder, set)).rejects.toThrow(type);
      await expect(write(folder, set)).rejects.toThrow(message);
    }
    expect(readdirSync(root)).toEqual(before);
  });

  test('a folder in use, a file in the way, and an abort', async () => {
    const folder = fresh();
    mkdirSync(folder);
    await writeNerfstudio(folder, dataset(1));
    await expect(writeColmap(folder, dataset(1))).rejects.toThrow(OutputError);
    await expect(writeColmap(folder, dataset(1))).rejects.toThrow(/is not empty/);
    const file = fresh();
    writeFileSync(file, 'x');
    await expect(writeNerfstudio(file, dataset(1))).rejects.toThrow(OutputError);
    await expect(writeNerfstudio(join(file, 'inner'), dataset(1))).rejects.toThrow(OutputError);
    const controller = new AbortController();
    controller.abort();
    const before = readdirSync(root);
    await expect(writeColmap(fresh(), dataset(1), { signal: controller.signal })).rejects.toThrow(AbortError);
    expect(readdirSync(root)).toEqual(before);
  });
});

function colmapVersion(): string | undefined {
  try {
    return /COLMAP [\d.]+/.exec(execFileSync('colmap', ['help'], { encoding: 'utf8', stdio: 'pipe' }))?.[0];
  } catch {
    return undefined;
  }
}

describeUnless(colmapVersion() === undefined ? 'the program `colmap` is not installed' : undefined, 'COLMAP\'s own converter', () => {
  const convert = (from: string, to: string, type: 'BIN' | 'TXT'): void => {
    mkdirSync(to);
    execFileSync('colmap', ['model_converter', '--input_path', from, '--output_path', to, '--output_type', type], {
      stdio: 'pipe', env: { ...process.env, QT_QPA_PLATFORM: 'offscreen' },
    });
  };

  test.each([['binary', 'bin', 'TXT', 'txt'], ['text', 'txt', 'BIN', 'bin']] as const)('reads our %s and writes what we read', async (files, ending, type, other) => {
    const folder = fresh();
    await writeColmap(folder, dataset(), { files });
    const converted = fresh();
    convert(join(folder, 'sparse/0'), converted, type);
    const [ours, theirs] = [join(folder, 'sparse/0'), converted];
    const read = (at: string, kind: string) => {
      const file = (name: string): Buffer => readFileSync(join(at, `${name}.${kind}`));
      return kind === 'bin'
        ? [parseCamerasBin(file('cameras'), 'c'), parseImagesBin(file('images'), 'i'), parsePointsBin(file('points3D'), 'p')] as const
        : [parseCamerasText(file('cameras'), 'c'), parseImagesText(file('images'), 'i'), parsePointsText(file('points3D'), 'p')] as const;
    };
    const [a, b] = [read(ours, ending), read(theirs, other)];
    const byId = <T extends { id: number }>(items: readonly T[]): T[] => [...items].sort((x, y) => x.id - y.id);
    expect(byId(b[0])).toEqual(byId(a[0]));
    let worst = 0;
    byId(b[1]).forEach((image, i) => {
      const { quaternion, translation, ...rest } = byId(a[1])[i];
      expect(image).toMatchObject(rest);
      // The signs of a quaternion say the same rotation.
      const sign = Math.sign(quaternion.reduce((sum, q, k) => sum + q * image.quaternion[k], 0));
      [...quaternion.map((q) => q * sign), ...translation].forEach((x, k) => {
        worst = Math.max(worst, Math.abs(x - [...image.quaternion, ...image.translation][k]));
      });
    });
    expect(worst).toBeLessThan(1e-15);
    const sorted = ({ positions, colors }: typeof points): string[] =>
      Array.from({ length: count }, (_, i) => `${positions.slice(3 * i, 3 * i + 3)} ${colors.slice(3 * i, 3 * i + 3)}`).sort();
    expect(sorted(b[2] as typeof points)).toEqual(sorted(points));
    const scene = await loadColmap(folder);
    expect(scene.views).toHaveLength(5);
  });
});
