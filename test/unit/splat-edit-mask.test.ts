/** Where an edit changed pictures, which Gaussians show it, and what is put where it added something. */
import { cameraCentre, project, unproject } from '../../src/scene/cameras';
import { createCloud } from '../../src/scene/gaussians/cloud';
import type { GaussianCloud } from '../../src/scene/gaussians/cloud';
import { editMasks, liftMasks, spread } from '../../src/scene/gaussians/edit-mask';
import { psnr } from '../../src/scene/gaussians/evaluate';
import { Gaussians, joinClouds } from '../../src/scene/gaussians/gaussians';
import { seedCloud, unhidden } from '../../src/scene/gaussians/seeds';
import type { EditedSurface } from '../../src/scene/gaussians/seeds';
import type { Image } from '../../src/scene/image';
import { rotationOf } from '../../src/scene/quaternion';
import { median } from '../../src/scene/vec3';
import { Device } from '../../src/tensor/device';
import { ball, copyOf, orbitCamera, orbitCameras, seen, tensorsOf, viewsOf } from './splat-scenes';
import { randomOf } from './splat-fixtures';

const device = Device.open('cpu');
let atStart: number;
beforeEach(async () => (atStart = await tensorsOf(device)));
afterEach(async () => expect(await tensorsOf(device)).toBe(atStart));
afterAll(() => device.dispose());

const size = 32;
const pixels = size * size;
const cameras = orbitCameras(6, size);
const newCameras = [orbitCamera(33, size, 25), orbitCamera(215, size, 25)];

const left = ball([-0.6, -0.6, 0], 0.4, 1);
const right = ball([0.6, 0.6, 0], 0.4, 2);
const both = joinClouds(left, right);

/** PSNR on views that were not edited, over the pixels of `where` if given. */
async function psnrOf(cloud: GaussianCloud, truth: GaussianCloud, where?: (v: number) => ArrayLike<number>): Promise<number> {
  const [got, wanted] = [await viewsOf(device, cloud, newCameras), await viewsOf(device, truth, newCameras)];
  return got.reduce((sum, { image }, v) => sum + psnr(image, wanted[v].image, where?.(v)) / got.length, 0);
}

const flat = (value: number): Image => ({ width: size, height: size, data: new Float32Array(3 * pixels).fill(value) });
function paint(image: Image, inside: (x: number, y: number) => boolean, by: number): Image {
  return { ...image, data: image.data.map((value, i) => (inside(i % size, Math.floor((i % pixels) / size)) ? value + by : value)) };
}

describe('edit masks', () => {
  const box = (x: number, y: number): boolean => x >= 4 && x < 20 && y >= 8 && y < 24;

  test('are what changed by more than an autoencoder does', () => {
    for (const [by, wanted] of [[0.081, 256], [-0.5, 256], [0.079, 0]]) {
      const [mask] = editMasks([flat(0.5)], [paint(flat(0.5), box, by)])!;
      expect(mask.reduce((sum, m) => sum + m, 0)).toBe(wanted);
      if (wanted > 0) mask.forEach((m, i) => expect(m).toBe(box(i % size, Math.floor(i / size)) ? 1 : 0));
    }
    // In the mean of the channels.
    const red = flat(0.5);
    red.data.fill(0.7, 0, pixels);
    expect(editMasks([flat(0.5)], [red])![0].every((m) => m === 0)).toBe(true);
  });

  test('close gaps and holes, up to twice the radius wide', () => {
    const holed = (width: number): Float32Array =>
      editMasks([flat(0.2)], [paint(flat(0.2), (x, y) => box(x, y) && !(x >= 8 && x < 8 + width && y >= 12 && y < 20), 0.4)])![0];
    expect(holed(6).reduce((sum, m) => sum + m, 0)).toBe(256);
    expect(holed(7).reduce((sum, m) => sum + m, 0)).toBe(256 - 7 * 8);
  });

  test('an edit of most of the pictures is global; the share counts over all views', () => {
    const most = paint(flat(0.5), (x) => x < 21, 0.3);
    expect(editMasks([flat(0.5)], [most])).toBeUndefined();
    expect(editMasks([flat(0.5), flat(0.5)], [most, flat(0.5)])).toHaveLength(2);
    expect(editMasks([flat(0.5)], [paint(flat(0.5), (x) => x < 19, 0.3)])).toHaveLength(1);
  });

  test('the largest and smallest in a square, as brute force has it', () => {
    const random = randomOf(3);
    const mask = Float32Array.from({ length: 11 * 7 }, random);
    for (const [radius, pick] of [[1, Math.max], [2, Math.min], [30, Math.max]] as const) {
      const got = spread(mask, 11, 7, radius, pick);
      for (let i = 0; i < 77; i++) {
        const within = (a: number, b: number): boolean => Math.abs(a - b) <= radius;
        const near = [...mask].filter((_, j) => within(j % 11, i % 11) && within(Math.floor(j / 11), Math.floor(i / 11)));
        expect(got[i]).toBe(pick(...near));
      }
    }
  });
});

test('lifting finds the Gaussians of the edited object', async () => {
  const recoloured = copyOf(both);
  for (let i = 0; i < 180; i++) recoloured.sh0[i] = -recoloured.sh0[i] + 1;
  const [before, after] = [await viewsOf(device, both, cameras), await viewsOf(device, recoloured, cameras)];
  const masks = editMasks(before.map(({ image }) => image), after.map(({ image }) => image))!;
  const far = ball([0, 0, 40], 0.1, 4);
  using gaussians = Gaussians.fromCloud(device, joinClouds(both, far));
  const lifted = await liftMasks(gaussians, cameras, masks);
  const [own, other, unseen] = [lifted.subarray(0, 60), lifted.subarray(60, 120), lifted.subarray(120)];
  // 0.974 and 0.064.
  expect(Math.min(...own)).toBeGreaterThan(0.97);
  expect(Math.max(...other)).toBeLessThan(0.068);
  expect([...unseen].every((share) => share === 0)).toBe(true);
  // Nothing edited, everything edited.
  const none = await liftMasks(gaussians, cameras, cameras.map(() => new Float32Array(pixels)));
  const all = await liftMasks(gaussians, cameras, cameras.map(() => new Float32Array(pixels).fill(1)));
  expect(none.every((share) => share === 0)).toBe(true);
  all.subarray(0, 120).forEach((share) => expect(Math.abs(share - 1)).toBeLessThan(1e-6));
});

describe('seeds', () => {
  async function surfaces(source: GaussianCloud, edited: GaussianCloud, of = cameras): Promise<EditedSurface[]> {
    const [before, after] = [await seen(device, source, of), await seen(device, edited, of)];
    const masks = editMasks(before.map(({ image }) => image), after.map(({ image }) => image))!;
    return of.map((camera, v) => ({ after: after[v].image, camera, mask: masks[v], depth: after[v].depth, sourceDepth: before[v].depth }));
  }

  test('show an added object before any fitting', async () => {
    const views = await surfaces(left, both);
    const seeds = seedCloud(views, 1);
    const shown = await seen(device, right, newCameras);
    const there = (v: number): Float32Array => shown[v].depth;
    const [without, having] = [await psnrOf(left, both, there), await psnrOf(joinClouds(left, seeds), both, there)];
    // 7.5 and 22.3 dB on the object, which is small here: a pixel at its edge is an eighth of it.
    expect(without).toBeLessThan(8);
    expect(having).toBeGreaterThan(21.8);
    expect([seeds.shDegree, seeds.shRest.every((value) => value === 0)]).toEqual([1, true]);
    for (let i = 0; i < seeds.count; i++) {
      const off = Math.hypot(...[0.6, 0.6, 0].map((x, k) => seeds.means[3 * i + k] - x));
      expect(off).toBeGreaterThan(0.2);
      expect(off).toBeLessThan(0.85);
    }
    expect(new Set(Array.from({ length: seeds.count }, (_, i) => [...seeds.means.subarray(3 * i, 3 * i + 3)].join())).size).toBe(seeds.count);
  });

  test('are one per pixel, of its colour and width, flat on the surface', async () => {
    const [view] = await surfaces(left, both);
    const shown = view.mask.map((m, i) => (m > 0 && view.depth[i] > 0 ? 1 : 0));
    const count = shown.reduce((sum, m) => sum + m, 0);
    const seeds = seedCloud([view], 0);
    // Neighbouring pixels whose cells coincide share a seed.
    expect(seeds.count).toBeLessThanOrEqual(count);
    expect(seeds.count).toBeGreaterThan(0.7 * count);
    for (let i = 0; i < seeds.count; i++) {
      const { u, v, z } = project(view.camera, [seeds.means[3 * i], seeds.means[3 * i + 1], seeds.means[3 * i + 2]]);
      const pixel = Math.floor(v) * size + Math.floor(u);
      expect(shown[pixel]).toBe(1);
      expect(u - Math.floor(u)).toBeCloseTo(0.5, 4);
      expect(z).toBeCloseTo(view.depth[pixel], 5);
      const [along, across, through] = [...seeds.logScales.subarray(3 * i, 3 * i + 3)].map((value) => Math.exp(value) / ((0.75 * z) / view.camera.fx));
      expect(across).toBeCloseTo(1, 5);
      expect(through).toBeCloseTo(0.3, 5);
      expect(along).toBeGreaterThan(1 - 1e-6);
      expect(along).toBeLessThan(3 + 1e-5);
      for (let c = 0; c < 3; c++) expect(0.5 + 0.28209479177387814 * seeds.sh0[3 * i + c]).toBeCloseTo(view.after.data[c * pixels + pixel], 5);
    }
  });

  test('are not much finer than the pixels of the middle view', async () => {
    // The first camera looks at the new ball through a lens eight times as long.
    const [{ fx, fy, cx, cy }, { u, v }] = [cameras[0], project(cameras[0], [0.6, 0.6, 0])];
    const close = { ...cameras[0], fx: 8 * fx, fy: 8 * fy, cx: size / 2 - 8 * (u - cx), cy: size / 2 - 8 * (v - cy) };
    const views = await surfaces(left, both, [close, ...cameras.slice(1)]);
    const width = (of: readonly EditedSurface[]): number => Math.exp(Math.min(...seedCloud(of, 0).logScales.filter((_, i) => i % 3 === 1))) / 0.75;
    const pixel = median(views.slice(1).map(({ camera, depth, mask }) => median([...depth].filter((z, i) => z > 0 && mask[i] > 0)) / camera.fx));
    expect(width([views[0]])).toBeLessThan(0.15 * pixel);
    expect(width(views) / pixel).toBeGreaterThan(0.75);
    expect(width(views) / pixel).toBeLessThan(0.85);
  });

  test('lie in the plane of what they show, drawn out by its slant', () => {
    const camera = orbitCamera(10, size, 20);
    const eye = cameraCentre(camera);
    // A plane through the origin, seen at 60 degrees.
    const toEye = eye.map((x) => x / Math.hypot(...eye));
    const side = [-toEye[1], toEye[0], 0].map((x) => x / Math.hypot(toEye[0], toEye[1]));
    const normal = toEye.map((x, k) => 0.5 * x + Math.sqrt(0.75) * side[k]);
    const along = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, x, k) => sum + x * b[k], 0);
    const depth = new Float32Array(pixels).map((_, i) => {
      const ray = unproject(camera, (i % size) + 0.5, Math.floor(i / size) + 0.5, 1).map((x, k) => x - eye[k]);
      return -along(eye, normal) / along(ray, normal);
    });
    const mask = new Float32Array(pixels).map((_, i) => (Math.abs((i % size) - 16) < 5 && Math.abs(Math.floor(i / size) - 16) < 5 ? 1 : 0));
    const after = { width: size, height: size, data: new Float32Array(3 * pixels).fill(0.5) };
    const seeds = seedCloud([{ after, camera, mask, depth, sourceDepth: new Float32Array(pixels) }], 0);
    expect(seeds.count).toBeGreaterThan(50);
    for (let i = 0; i < seeds.count; i++) {
      const r = rotationOf([...seeds.quats.subarray(4 * i, 4 * i + 4)]);
      expect(along([r[2], r[5], r[8]], normal)).toBeCloseTo(1, 4);
      const look = eye.map((x, k) => x - seeds.means[3 * i + k]);
      const cosine = along(look, normal) / Math.hypot(...look);
      expect(Math.exp(seeds.logScales[3 * i] - seeds.logScales[3 * i + 1])).toBeCloseTo(1 / cosine, 3);
      // The long axis lies in the plane of the eye and the normal.
      expect(Math.abs(along([r[1], r[4], r[7]], look))).toBeLessThan(1e-4);
    }
  });

  test('are none where the surface stayed or its depth is unknown', async () => {
    const [view] = await surfaces(left, both);
    const flatDepth = (depth: number, sourceDepth: number): EditedSurface => ({
      ...view,
      mask: new Float32Array(pixels).fill(1),
      depth: new Float32Array(pixels).fill(depth),
      sourceDepth: new Float32Array(pixels).fill(sourceDepth),
    });
    for (const [depth, source] of [[4, 4], [4.03, 4], [3.97, 4], [0, 4], [NaN, 4]]) expect(seedCloud([flatDepth(depth, source)], 0).count).toBe(0);
    for (const [depth, source] of [[4.05, 4], [3.95, 4], [4, 0]]) expect(seedCloud([flatDepth(depth, source)], 0).count).toBeGreaterThan(100);
  });

  test('unhidden drops what stands in front of the new surface in two views or more', async () => {
    const views = await surfaces(left, both);
    // Halfway to the camera, on the way to the new ball, in no, one and two views.
    const front = createCloud(4, 0);
    const centreOf = (v: number): number[] => {
      const m = cameras[v].worldToCam;
      return [0, 1, 2].map((k) => -(m[k] * m[3] + m[4 + k] * m[7] + m[8 + k] * m[11]));
    };
    const ahead = (v: number, share: number): number[] => centreOf(v).map((c, k) => share * c + (1 - share) * [0.6, 0.6, 0][k]);
    front.means.set([...ahead(0, 0.6), ...[0.6, 0.6, 0], ...ahead(1, 1.2), ...[0.6, 0.6, 0.5]]);
    const against = Array.from({ length: 4 }, (_, i) => views.filter(({ camera, depth, mask, sourceDepth }) => {
      const { u, v, z } = project(camera, [front.means[3 * i], front.means[3 * i + 1], front.means[3 * i + 2]]);
      const pixel = Math.floor(v) * size + Math.floor(u);
      if (!(z > 0 && u >= 0 && v >= 0 && u < size && v < size) || mask[pixel] === 0 || depth[pixel] === 0) return false;
      return Math.abs(depth[pixel] - sourceDepth[pixel]) > 0.01 * sourceDepth[pixel] && z < 0.97 * depth[pixel];
    }).length);
    expect(against).toEqual([1, 0, 0, 1]);
    const several = views.map((view, v) => (v === 0 ? view : views[0]));
    expect(unhidden(joinClouds(front, left), views)).toEqual([0, 1, 2, 3, ...Array.from({ length: 60 }, (_, i) => 4 + i)]);
    expect(unhidden(joinClouds(front, left), several)).toEqual([1, 2, 3, ...Array.from({ length: 60 }, (_, i) => 4 + i)]);
    expect(unhidden(left, [])).toHaveLength(60);
    // A thirtieth of the depth in front of the surface is on it.
    const near = createCloud(2, 0);
    const { u, v, z } = project(cameras[0], [0.6, 0.6, 0]);
    const depth = views[0].depth[Math.floor(v) * size + Math.floor(u)];
    for (const [i, share] of [0.96, 0.98].entries()) near.means.set(ahead(0, 1 - (share * depth) / z), 3 * i);
    expect(unhidden(near, several)).toEqual([1]);
  });
});
