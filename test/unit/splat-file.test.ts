import { mkdtempSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AbortError, ConfigError, OutputError, SceneError, ShapeError } from '../../src/binding/errors';
import {
  decodeSplat, decodeSplats, encodePly, encodeSplat, encodeSpz, readSplats, splatFormatOf, writeSplats,
} from '../../src/scene/gaussians/formats';
import type { GaussianCloud } from '../../src/scene/gaussians/cloud';
import { importanceOrder } from '../../src/scene/gaussians/formats/splat';
import { compressedPly, floats, quaternionGap, randomCloud, sigmoid } from './splat-fixtures';

const root = mkdtempSync(join(tmpdir(), 'splats-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const y0 = 0.28209479177387814;
const put = (name: string, bytes: Uint8Array): string => {
  writeFileSync(join(root, name), bytes);
  return join(root, name);
};
/** Equality of large clouds, without jest's walk over every element. */
const expectSame = (a: GaussianCloud, b: GaussianCloud): void => {
  expect([a.count, a.shDegree]).toEqual([b.count, b.shDegree]);
  for (const field of ['means', 'quats', 'logScales', 'opacityLogits', 'sh0', 'shRest'] as const) {
    expect([field, Buffer.from(a[field].buffer).equals(Buffer.from(b[field].buffer))]).toEqual([field, true]);
  }
};
const errorOf = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    () => {
      throw new Error('went well');
    },
    (error: unknown) => error as Error,
  );

describe('.splat', () => {
  const record = (values: readonly number[], bytes: readonly number[]): Buffer =>
    Buffer.concat([floats(...values), Buffer.from(bytes)]);

  test('32 bytes become a splat', () => {
    const file = Buffer.concat([
      record([1, -2, 3.5, 0.5, 0.25, 2], [255, 0, 51, 102, 255, 128, 128, 128]),
      record([0, 0, 0, 1, 1, 1], [128, 128, 128, 0, 64, 192, 0, 100]),
    ]);
    const { cloud, format, warnings } = decodeSplat(file, 'a.splat');
    expect([format, warnings, cloud.count, cloud.shDegree]).toEqual(['splat', [], 2, 0]);
    expect([...cloud.means]).toEqual([1, -2, 3.5, 0, 0, 0]);
    [0.5, 0.25, 2, 1, 1, 1].forEach((s, k) => expect(Math.exp(cloud.logScales[k])).toBeCloseTo(s, 6));
    [255, 0, 51, 128, 128, 128].forEach((b, k) => expect(0.5 + y0 * cloud.sh0[k]).toBeCloseTo(b / 255, 6));
    expect(sigmoid(cloud.opacityLogits[0])).toBeCloseTo(0.4, 6);
    expect(sigmoid(cloud.opacityLogits[1])).toBeCloseTo(0.25 / 255, 7);
    expect(quaternionGap(cloud.quats.subarray(0), [1, 0, 0, 0])).toBeLessThan(1e-7);
    expect(quaternionGap(cloud.quats.subarray(4), [-64, 64, -128, -28])).toBeLessThan(1e-7);
  });

  test('round trip: centres exact, the rest within its steps, sorted by importance', () => {
    const cloud = randomCloud(400, 0, 12);
    const order = importanceOrder(cloud);
    const importance = (i: number): number =>
      Math.exp(cloud.logScales[3 * i] + cloud.logScales[3 * i + 1] + cloud.logScales[3 * i + 2]) * sigmoid(cloud.opacityLogits[i]);
    for (let k = 1; k < order.length; k++) expect(importance(order[k])).toBeLessThanOrEqual(importance(order[k - 1]));
    expect([...order].sort((a, b) => a - b)).toEqual([...order.keys()]);
    const { cloud: back } = decodeSplat(encodeSplat(cloud), 'a.splat');
    const worst = { means: 0, logScales: 0, colour: 0, opacity: 0, rotation: 0 };
    const see = (field: keyof typeof worst, gap: number): void => {
      worst[field] = Math.max(worst[field], gap);
    };
    order.forEach((from, to) => {
      for (let k = 0; k < 3; k++) {
        see('means', Math.abs(back.means[3 * to + k] - cloud.means[3 * from + k]));
        see('logScales', Math.abs(back.logScales[3 * to + k] - cloud.logScales[3 * from + k]));
        see('colour', y0 * Math.abs(back.sh0[3 * to + k] - cloud.sh0[3 * from + k]));
      }
      see('opacity', Math.abs(sigmoid(back.opacityLogits[to]) - sigmoid(cloud.opacityLogits[from])));
      see('rotation', quaternionGap(back.quats.subarray(4 * to), cloud.quats.subarray(4 * from)));
    });
    expect(worst.means).toBe(0);
    // f32 of e^ℓ (6e-8) and of ℓ itself up to 9 (4.8e-7).
    expect(worst.logScales).toBeLessThan(6e-7);
    expect(worst.colour).toBeLessThanOrEqual(0.5 / 255 + 1e-6);
    expect(worst.opacity).toBeLessThanOrEqual(0.5 / 255 + 1e-6);
    // Three bytes off by half a step of 1/128, one by a whole where +1 is cut to 127/128.
    expect(worst.rotation).toBeLessThanOrEqual(Math.sqrt(3 * 0.25 + 1) / 128);
    expect(worst.rotation).toBeGreaterThan(0.5 / 128);
  });

  test.each([
    ['a zero scale', record([0, 0, 0, 1, 0, 1], [0, 0, 0, 0, 255, 128, 128, 128]), /splat 0 has scale_1 = 0/],
    ['an infinite centre', record([0, Infinity, 0, 1, 1, 1], [0, 0, 0, 0, 255, 128, 128, 128]), /splat 0 has y = Infinity/],
    ['an infinite scale', record([0, 0, 0, 1, 1, Infinity], [0, 0, 0, 0, 255, 128, 128, 128]), /scale_2 = Infinity/],
    ['no rotation', record([0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 128, 128, 128, 128]), /rotation .* of length 0/],
    ['33 bytes', Buffer.alloc(33), /not a splat file.*got 33 bytes/],
    ['nothing', Buffer.alloc(0), /beginning nowhere/],
    ['a zip', Buffer.from('PK\x03\x04aaaaaaaaaaaaaaaaaaaaaaaaaaaa'), /zip archive/],
    ['glTF', Buffer.from('glTF\x02\0\0\0aaaaaaaaaaaaaaaaaaaaaaaa'), /glTF/],
  ])('%s is refused', (_name, bytes, message) => {
    expect(() => decodeSplats(bytes, 'a.splat')).toThrow(SceneError);
    expect(() => decodeSplats(bytes, 'a.splat')).toThrow(message);
  });
});

describe('files', () => {
  const ranges = [0, 0, 0, 1, 1, 1, -8, -8, -8, 0, 0, 0];

  test('are recognised by what they hold, whatever they are called', async () => {
    const cloud = randomCloud(3, 1);
    const cases: [string, Uint8Array][] = [
      ['ply', encodePly(cloud)], ['spz v3', encodeSpz(cloud)], ['splat', encodeSplat(cloud)],
      ['compressed-ply', compressedPly(ranges, [[1, 2, 3, 4]])],
    ];
    for (const [format, bytes] of cases) {
      const read = await readSplats(put('misnamed.bin', bytes));
      expect(read.format).toBe(format);
      expect(read).toEqual(decodeSplats(bytes, 'x'));
    }
  });

  test('written and read: more than one piece of every format', async () => {
    // 250 bytes a row, 4 MiB a piece: 20000 splats lie in two; 140000 splats of .splat as well.
    const cloud = randomCloud(20_000, 3);
    const ply = join(root, 'a.ply');
    expect(await writeSplats(ply, cloud)).toEqual({ warnings: [] });
    expect(readFileSync(ply).length).toBeGreaterThan(1 << 22);
    expectSame((await readSplats(ply)).cloud, cloud);
    const flat = randomCloud(140_000, 0);
    expect(await writeSplats(join(root, 'a.splat'), flat)).toEqual({ warnings: [] });
    const back = (await readSplats(join(root, 'a.splat'))).cloud;
    importanceOrder(flat).forEach((from, to) => {
      if (back.means[3 * to] !== flat.means[3 * from]) throw new Error(`splat ${to} is not ${from}`);
    });
    expect(await writeSplats(join(root, 'a.SPZ'), cloud)).toEqual({ warnings: [] });
    expectSame((await readSplats(join(root, 'a.SPZ'))).cloud, decodeSplats(encodeSpz(cloud), 'x').cloud);
    expect(readdirSync(root).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  test('an ascii file of several pieces', async () => {
    const flat = randomCloud(30_000, 0);
    const head = Buffer.from(encodePly(flat)).toString('latin1', 0, 600).split('end_header\n')[0];
    const columns = [...head.matchAll(/property float (\w+)/g)].length;
    const rows = Array.from({ length: flat.count }, (_, i) =>
      [
        ...flat.means.subarray(3 * i, 3 * i + 3), 0, 0, 0, ...flat.sh0.subarray(3 * i, 3 * i + 3), flat.opacityLogits[i],
        ...flat.logScales.subarray(3 * i, 3 * i + 3), ...flat.quats.subarray(4 * i, 4 * i + 4),
      ].join(' '),
    );
    expect(rows[0].split(' ')).toHaveLength(columns);
    const path = put('ascii.ply', Buffer.from(`${head.replace('binary_little_endian', 'ascii')}end_header\n${rows.join('\n')}`));
    expect(readFileSync(path).length).toBeGreaterThan(1 << 22);
    expectSame((await readSplats(path)).cloud, flat);
  });

  test('what a format cannot keep is said', async () => {
    const cloud = randomCloud(5, 2);
    cloud.logScales[3] = 8;
    expect((await writeSplats(join(root, 'b.splat'), cloud)).warnings.join()).toMatch(/harmonics of degree 1 to 2 were left out/);
    expect((await writeSplats(join(root, 'b.spz'), cloud)).warnings.join()).toMatch(/1 splats have values beyond/);
    expect((await writeSplats(join(root, 'b.dat'), cloud, { format: 'ply' })).warnings).toEqual([]);
    expect((await readSplats(join(root, 'b.dat'))).cloud).toEqual(cloud);
  });

  test('nothing is left of a file that could not be written; an earlier one stays', async () => {
    const path = put('kept.ply', Buffer.from('earlier'));
    const broken = randomCloud(3, 0);
    broken.means[5] = NaN;
    for (const name of ['kept.ply', 'new.splat', 'new.spz']) {
      const error = await errorOf(writeSplats(join(root, name), broken));
      expect(error).toBeInstanceOf(SceneError);
      expect(error.message).toMatch(/splat 1 has z = NaN/);
    }
    expect(readFileSync(path, 'utf8')).toBe('earlier');
    expect(readdirSync(root).filter((name) => name.startsWith('new') || name.endsWith('.tmp'))).toEqual([]);
    const good = randomCloud(3, 0);
    expect(await errorOf(writeSplats(join(root, 'no', 'such.ply'), good))).toBeInstanceOf(OutputError);
    expect(await errorOf(writeSplats(join(root, 'a.obj'), good))).toBeInstanceOf(ConfigError);
    expect(await errorOf(writeSplats(join(root, 'c.ply'), { ...good, count: 4 }))).toBeInstanceOf(ShapeError);
    expect(splatFormatOf('/x/Y.Splat')).toBe('splat');
  });

  test('missing files, folders, aborts', async () => {
    expect((await errorOf(readSplats(join(root, 'absent.ply')))).message).toMatch(/absent\.ply: cannot be read/);
    expect(await errorOf(readSplats(root))).toBeInstanceOf(SceneError);
    const path = put('d.ply', encodePly(randomCloud(3, 0)));
    expect(await errorOf(readSplats(path, { signal: AbortSignal.abort() }))).toBeInstanceOf(AbortError);
    // Sparse: takes no disk.
    const huge = put('huge.splat', Buffer.alloc(32));
    truncateSync(huge, 2 ** 32 + 32);
    expect((await errorOf(readSplats(huge))).message).toMatch(/over the limit of 4294967296 bytes/);
  });
});
