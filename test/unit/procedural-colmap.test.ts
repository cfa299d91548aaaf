import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { nativeRenderer } from '../../src/scene/procedural/native';
import {
  editAlternatives, editFits, extent, pixelCamera, quaternionOf, renderEdit, renderViews, sampleScene, seedOf, splatProperties,
  writeScene,
} from '../../src/scene/procedural';

const scene = Array.from({ length: 40 }, (_, i) => sampleScene(seedOf('train', i * 3331))).find((s) => editFits(s, 'tilt'))!;
const size = { width: 48, height: 40, spp: 4 };
const plane = 48 * 40;
const { raycast } = nativeRenderer();

/** Reader of little-endian records, written from the format's description. */
class Reader {
  private at = 0;
  constructor(private readonly data: Buffer) {}
  i32 = (): number => this.data.readInt32LE((this.at += 4) - 4);
  u64 = (): number => Number(this.data.readBigUInt64LE((this.at += 8) - 8));
  f64 = (): number => this.data.readDoubleLE((this.at += 8) - 8);
  byte = (): number => this.data[this.at++];
  many = <T>(count: number, read: () => T): T[] => Array.from({ length: count }, read);
  string(): string {
    const end = this.data.indexOf(0, this.at);
    const text = this.data.toString('utf8', this.at, end);
    this.at = end + 1;
    return text;
  }
  get done(): boolean {
    return this.at === this.data.length;
  }
}

/** Rotation of a unit quaternion (w, x, y, z), by the product q v q*. */
function rotate([w, x, y, z]: number[], v: number[]): number[] {
  const t = [y * v[2] - z * v[1], z * v[0] - x * v[2], x * v[1] - y * v[0]].map((c) => 2 * c);
  return [
    v[0] + w * t[0] + y * t[2] - z * t[1],
    v[1] + w * t[1] + z * t[0] - x * t[2],
    v[2] + w * t[2] + x * t[1] - y * t[0],
  ];
}

describe('written truth', () => {
  let folder: string;
  beforeAll(async () => {
    folder = join(await mkdtemp(join(tmpdir(), 'procedural-')), 'scene');
    await writeScene(scene, folder, size, raycast, { colmap: true, splat: true, edits: [{ family: 'tilt', answers: 3 }, { family: 'sepia', index: 2 }] });
  });
  afterAll(() => rm(join(folder, '..'), { recursive: true, force: true }));
  const sparse = (name: string) => readFile(join(folder, 'sparse/0', name));

  it('is a COLMAP model whose points fall where its images say', async () => {
    const cameras = new Reader(await sparse('cameras.bin'));
    const intrinsics = new Map(
      cameras.many(cameras.u64(), () => {
        const id = cameras.i32();
        expect([cameras.i32(), cameras.u64(), cameras.u64()]).toEqual([1, 48, 40]);
        return [id, cameras.many(4, cameras.f64)];
      }),
    );
    const images = new Reader(await sparse('images.bin'));
    const views = images.many(images.u64(), () => ({
      id: images.i32(),
      q: images.many(4, images.f64),
      t: images.many(3, images.f64),
      camera: images.i32(),
      name: images.string(),
      points: images.many(images.u64(), () => ({ x: images.f64(), y: images.f64(), point: images.u64() })),
    }));
    const file = new Reader(await sparse('points3D.bin'));
    const points = file.many(file.u64(), () => ({
      id: file.u64(),
      xyz: file.many(3, file.f64),
      rgb: file.many(3, file.byte),
      error: file.f64(),
      track: file.many(file.u64(), () => [file.i32(), file.i32()]),
    }));
    expect([cameras.done, images.done, file.done]).toEqual([true, true, true]);
    expect(views.map(({ id, name }) => `${id} ${name}`)).toEqual(views.map((_, i) => `${i + 1} 00${i}.png`));
    expect(views.length).toBe(9);
    expect(points.length).toBeGreaterThan(300);
    let observed = 0;
    for (const { id, xyz, track } of points) {
      expect(track.length).toBeGreaterThan(1);
      for (const [image, place] of track) {
        const { q, t, camera, points: seen } = views[image - 1];
        const [fx, fy, cx, cy] = intrinsics.get(camera)!;
        const [x, y, z] = rotate(q, xyz).map((value, k) => value + t[k]);
        expect(seen[place].point).toBe(id);
        expect(seen[place].x).toBeCloseTo((fx * x) / z + cx, 9);
        expect(seen[place].y).toBeCloseTo((fy * y) / z + cy, 9);
        observed++;
      }
    }
    expect(views.reduce((sum, view) => sum + view.points.length, 0)).toBe(observed);
    views.forEach((view, v) => {
      const [fx, fy, cx, cy, ...m] = pixelCamera(scene.cameras.views[v], 48, 40);
      expect(intrinsics.get(view.camera)).toEqual([fx, fy, cx, cy]);
      [0, 1, 2].forEach((k) => {
        const column = rotate(view.q, [0, 1, 2].map((j) => (j === k ? 1 : 0)));
        column.forEach((value, j) => expect(value).toBeCloseTo(m[4 * j + k], 12));
      });
    });
  });

  it('says the same in text', async () => {
    const rows = async (name: string): Promise<string[]> =>
      (await sparse(name)).toString('utf8').split('\n').filter((line) => !line.startsWith('#')).slice(0, -1);
    const [cameras, images, points] = [await rows('cameras.txt'), await rows('images.txt'), await rows('points3D.txt')];
    expect([cameras.length, images.length]).toEqual([9, 18]);
    expect(cameras[4].split(' ').slice(1, 4)).toEqual(['PINHOLE', '48', '40']);
    const binary = new Reader(await sparse('points3D.bin'));
    expect(binary.u64()).toBe(points.length);
    const first = points[0].split(' ').map(Number);
    expect([binary.u64(), ...binary.many(3, binary.f64), ...binary.many(3, binary.byte), binary.f64()]).toEqual(first.slice(0, 8));
    expect(binary.many(binary.u64() * 2, binary.i32)).toEqual(first.slice(8));
    const poses = new Reader(await sparse('images.bin'));
    poses.u64();
    expect([poses.i32(), ...poses.many(7, poses.f64), poses.i32()]).toEqual(images[0].split(' ').slice(0, 9).map(Number));
  });

  it('has a splat of thin Gaussians that lie in the surfaces and cover every view', async () => {
    const ply = await readFile(join(folder, 'gt.ply'));
    const end = ply.indexOf('end_header\n') + 'end_header\n'.length;
    const header = ply.toString('latin1', 0, end).split('\n');
    expect(header.slice(0, 2)).toEqual(['ply', 'format binary_little_endian 1.0']);
    expect(header.filter((line) => line.startsWith('property')).map((line) => line.split(' ')[2])).toEqual([...splatProperties]);
    const count = Number(header[2].split(' ')[2]);
    expect(ply.length - end).toBe(count * 17 * 4);
    const splats = Array.from({ length: count }, (_, i) =>
      Array.from({ length: 17 }, (_v, k) => ply.readFloatLE(end + 4 * (17 * i + k))),
    );
    for (const s of splats) {
      const q = s.slice(13);
      expect(Math.hypot(...q)).toBeCloseTo(1, 6);
      rotate(q, [0, 0, 1]).forEach((value, k) => expect(value).toBeCloseTo(s[3 + k], 5));
      expect(1 / (1 + Math.exp(-s[9]))).toBeCloseTo(0.95, 6);
      expect(s[12]).toBeCloseTo(s[10] + Math.log(0.1), 5);
      const width = Math.exp(s[10]);
      expect(width).toBeGreaterThan(0.01);
      expect(width).toBeLessThan(1.5);
      for (const k of [6, 7, 8]) expect(Math.abs(0.5 + 0.28209479 * s[k] - 0.5)).toBeLessThanOrEqual(0.5 + 1e-6);
    }
    const views = renderViews(scene, scene.cameras.views, size, raycast);
    scene.cameras.views.forEach((camera, v) => {
      const [fx, fy, cx, cy, ...m] = pixelCamera(camera, 48, 40);
      const covered = new Uint8Array(plane);
      for (const s of splats) {
        const [x, y, z] = [0, 4, 8].map((k) => m[k] * s[0] + m[k + 1] * s[1] + m[k + 2] * s[2] + m[k + 3]);
        const reach = Math.max(1, (3 * Math.exp(s[10]) * fx) / z);
        const [px, py] = [(fx * x) / z + cx - 0.5, (fy * y) / z + cy - 0.5];
        for (let j = Math.max(0, Math.ceil(py - reach)); j <= Math.min(39, py + reach); j++) {
          for (let i = Math.max(0, Math.ceil(px - reach)); i <= Math.min(47, px + reach); i++) {
            if (Math.abs(views.depth[v * plane + j * 48 + i] - z) < 0.1 * z) covered[j * 48 + i] = 1;
          }
        }
      }
      const surface = Array.from({ length: plane }, (_, i) => i).filter((i) => views.ids[v * plane + i] !== 0);
      expect(surface.filter((i) => covered[i] === 1).length / surface.length).toBeGreaterThan(0.97);
    });
  });

  it('has each edit with its instruction, latents, masks and pictures', async () => {
    expect((await readdir(join(folder, 'edits'))).sort()).toEqual(['sepia_02', 'tilt_00']);
    const root = join(folder, 'edits/tilt_00');
    const edits = editAlternatives(scene, 'tilt', 0, 3);
    const described = JSON.parse(await readFile(join(root, 'z.json'), 'utf8'));
    expect(described.z).toEqual(edits.map((edit) => edit.latent));
    expect(await readFile(join(root, 'instruction.txt'), 'utf8')).toBe(`${edits[0].instruction}\n`);
    expect((await readdir(root)).sort()).toEqual(
      ['depth_z0', 'images_z0', 'images_z1', 'images_z2', 'instruction.txt', 'mask', 'z.json'].slice(0, 4 + edits.length + (edits.length - 3)),
    );
    const cameras = [...scene.cameras.views, ...scene.cameras.heldOut];
    const truth = renderEdit(edits[0], renderViews(scene, cameras, size, raycast), cameras, size, raycast);
    const mask = await sharp(join(root, 'mask/003.png')).toColourspace('b-w').raw().toBuffer();
    expect([...mask]).toEqual([...truth.mask.subarray(3 * plane, 4 * plane)].map((changed) => 255 * changed));
    const picture = await sharp(join(root, 'images_z0/014.png')).raw().toBuffer();
    const at = (14 * 3 + 1) * plane + 500;
    expect(picture[3 * 500 + 1]).toBe(Math.floor(truth.rgb[at] * 255 + 0.5));
    expect((await readdir(join(root, 'images_z1'))).length).toBe(15);
  });

  it('refuses an edit that does not fit before it writes anything', async () => {
    const other = Array.from({ length: 60 }, (_, i) => sampleScene(seedOf('val', i))).find((s) => !editFits(s, 'emblem'))!;
    const fresh = join(folder, 'fresh');
    await expect(writeScene(other, fresh, size, raycast, { edits: [{ family: 'emblem' }] })).rejects.toThrow(/emblem edit: does not fit/);
    await expect(readdir(fresh)).rejects.toThrow(/ENOENT/);
  });
});

describe('quaternions and extents', () => {
  it('come from rotations by any angle, half turns among them', () => {
    for (const q of [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0.5, -0.5, 0.5, 0.5], [0.1, 0.7, -0.1, 0.7]]) {
      const unit = q.map((value) => value / Math.hypot(...q));
      const columns = [[1, 0, 0], [0, 1, 0], [0, 0, 1]].map((axis) => rotate(unit, axis));
      const rotation = [0, 1, 2].flatMap((row) => columns.map((column) => column[row]));
      quaternionOf(rotation).forEach((value, k) => expect(value).toBeCloseTo(unit[k], 12));
    }
  });

  it('of a tilted box is the sum over its edges', () => {
    const s = Math.SQRT1_2;
    const box = { shape: 'box', rotation: [1, 0, 0, 0, s, -s, 0, s, s], dimensions: [1, 2, 3] } as const;
    expect(extent(box, [0, 0, -1])).toBeCloseTo((2 + 3) * s, 12);
    expect(extent({ ...box, shape: 'cone', dimensions: [1, 2, 1] }, [0, 0, 1])).toBeCloseTo(2 * s, 12);
    expect(extent({ ...box, shape: 'cone', dimensions: [1, 2, 1] }, [0, 0, -1])).toBeCloseTo((1 + 2) * s, 12);
  });
});
