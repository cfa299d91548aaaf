import { gunzipSync, gzipSync } from 'node:zlib';
import { SceneError } from '../../src/binding/errors';
import { decodeSplats, decodeSpz, encodeSpz } from '../../src/scene/gaussians/formats';
import { packSpz } from '../../src/scene/gaussians/formats/spz';
import { quaternionGap, randomCloud, sigmoid, spz4, words, zstdRaw } from './splat-fixtures';

/** Header of versions 1 to 3. */
const head = (version: number, count: number, degree: number, bits = 12, flags = 0): Buffer =>
  Buffer.concat([words(0x5053474e, version, count), Buffer.from([degree, bits, flags, 0])]);
const int24 = (...values: number[]): number[] => values.flatMap((v) => [v & 255, (v >> 8) & 255, (v >> 16) & 255]);
const messageOf = (bytes: Uint8Array): string => {
  try {
    decodeSplats(bytes, 'a.spz');
  } catch (error) {
    expect(error).toBeInstanceOf(SceneError);
    return (error as Error).message;
  }
  throw new Error('was read');
};

// Two splats, block by block.
const positions = int24(4096, -2048, 1, -8388608, 8388607, 0);
const alphas = [0, 51];
const colours = [0, 255, 51, 102, 153, 204];
const scales = [0, 160, 255, 16, 32, 48];
const firstThree = [255, 128, 100, 0, 127, 127];
const smallestThree = [...words((3 << 30) | (511 << 20) | (1 << 19) | (100 << 10) | 7, (0 << 30) | (1 << 29) | (5 << 20) | 300)];
const sh1 = [128, 0, 255, 136, 120, 64, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

function expectCommon(bytes: Uint8Array, version: number): ReturnType<typeof decodeSpz>['cloud'] {
  const { cloud, format, warnings } = decodeSpz(bytes, 'a.spz');
  expect([format, warnings, cloud.count, cloud.shDegree]).toEqual([`spz v${version}`, [], 2, 1]);
  expect([...cloud.logScales]).toEqual([-10, 0, 5.9375, -9, -8, -7]);
  colours.forEach((byte, k) => expect(255 * (0.5 + 0.15 * cloud.sh0[k])).toBeCloseTo(byte, 4));
  expect(sigmoid(cloud.opacityLogits[0])).toBeCloseTo(0.25 / 255, 8);
  expect(sigmoid(cloud.opacityLogits[1])).toBeCloseTo(0.2, 7);
  sh1.forEach((byte, k) => expect(cloud.shRest[k]).toBe((byte - 128) / 128));
  return cloud;
}
const fixed = [1, -0.5, 2 ** -12, -2048, 8388607 / 4096, 0].map(Math.fround);

describe('SPZ', () => {
  test('version 2: three bytes of rotation', () => {
    const body = Buffer.from([...positions, ...alphas, ...colours, ...scales, ...firstThree, ...sh1]);
    const file = Buffer.concat([head(2, 2, 1), body]);
    const cloud = expectCommon(gzipSync(file), 2);
    expect([...cloud.means]).toEqual(fixed);
    const xyz = firstThree.map((byte) => byte / 127.5 - 1);
    [0, xyz[0], xyz[1], xyz[2], 0, xyz[3], xyz[4], xyz[5]].forEach((v, k) => expect(cloud.quats[k]).toBeCloseTo(v, 6));
    // The same without gzip, as some tools leave it.
    expect(decodeSplats(file, 'a.spz').cloud).toEqual(cloud);
  });

  test('version 3: smallest three; version 4: zstd streams', () => {
    const parts = [positions, alphas, colours, scales, smallestThree, sh1].map((part) => Buffer.from(part));
    const s = Math.SQRT1_2 / 511;
    const [x, y, z] = [511 * s, -100 * s, 7 * s];
    const w = Math.sqrt(1 - x * x - y * y - z * z);
    const [y1, z1, w1] = [-5 * s, 0, 300 * s];
    const x1 = Math.sqrt(1 - y1 * y1 - z1 * z1 - w1 * w1);
    for (const [version, file] of [[3, gzipSync(Buffer.concat([head(3, 2, 1), ...parts]))], [4, spz4(2, 1, parts)]] as const) {
      const cloud = expectCommon(file, version);
      expect([...cloud.means]).toEqual(fixed);
      [w, x, y, z, w1, x1, y1, z1].forEach((v, k) => expect(cloud.quats[k]).toBeCloseTo(v, 6));
    }
  });

  test('version 1: half floats', () => {
    const halves = Buffer.alloc(12);
    [0x3c00, 0xc100, 0x0001, 0x7bff, 0x8000, 0x3555].forEach((h, k) => halves.writeUInt16LE(h, 2 * k));
    const body = Buffer.from([...halves, ...alphas, ...colours, ...scales, ...firstThree, ...sh1]);
    const cloud = expectCommon(gzipSync(Buffer.concat([head(1, 2, 1), body])), 1);
    expect([...cloud.means]).toEqual([1, -2.5, 2 ** -24, 65504, -0, 1365 / 4096].map(Math.fround));
  });

  test('version 4: streams compressed by the zstd program', () => {
    const count = 67;
    const part = (width: number, modulus: number): Buffer =>
      Buffer.from(Array.from({ length: count * width }, (_, i) => (i * i + width * 7 * Math.floor(i / 9)) % modulus));
    const parts = [part(9, 61), part(1, 61), part(3, 61), part(3, 61), part(4, 251)];
    const compressed = [
      'KLUv/WBbAZUNAFYiagcQ+AZnUpcFZwBnAGcACfpfrGi5L8gpuGEXtoEnnCtY2qkVEYWvMJ06fDoLWk5iEIThG8pTcaaLExDIbq2Pjfw5' +
        '/SU36lmU5UuZ2ALL5vrOpuJJxoRzGlyQSoR7juP5FjzEqcAz5hTLpI1bBeYkuKH1/RAAAarKwvagVOOccPI/DfE4Hfpr8FN7fL/pma4B' +
        '42MlnWxuEnYu+A5VCtKM6bJKehzniSgMKFV5O2TPaovOBDMK1M0Zajc1SzN1575c5v3FfHKdNqI5/24M4JKcJUEORGkiiytZKlgucwYn' +
        'Yi5t1VHLmM+uehhFUf60lTEhkfZzGuAQejXKzcrbq7hRERRRGZjSRCTWnxQ2HMs/xNWS+sweZABwHBiOf42xYalFNkvwVHNHiyE12lE/' +
        'OYjCM9Jmzgd1duv9atNGNtjcZ/YLG2YDeTcY6mODB6wf1I+H2bzZAYOSz+O0HMcyfW/D4dihWj3YtwBEWuyIxSnpNdyyLTwDPvLagUoH' +
        'ra5oLBg/LUpGvY5dVlXXFqYzAXkw0tWS+7yS/S30SCG5e4qf94mnWxfQB/tNdgIBACWG4hRp',
      'KLUv/SBDGQIAAAEECRAZJDEDGy4GHTYUMRM0IQkwHAo3KR0TEgwIBgYIDBIaKzcIGCoBFy8MLxAwFTkiDTcmHhEGOjMuKyorNToEDQ==',
      'KLUv/SDJFQUAkownCjD4AQE0Cl6kMgyPylzAl7xeo1vH0B/u8NfsL6LvPThYrjrlN55aK+cQnjVFkHEk7Ev/cVHnzmDJnfzBYsYbVsoO' +
        'Oy3TuhDtpz8wlWtwlM0cYUbBifWSoxwFQZQvHFGnamgkB+1fMsdRAcUSoCW9bA+7SKBsfFVBMrfmq5iXjgcfoQ353Nt1bfus+kIK4wUE' +
        'dqc9bkIzKbBfxRhDAAQA',
      'KLUv/SDJFQUAkownCjD4AQE0Cl6kMgyPylzAl7xeo1vH0B/u8NfsL6LvPThYrjrlN55aK+cQnjVFkHEk7Ev/cVHnzmDJnfzBYsYbVsoO' +
        'Oy3TuhDtpz8wlWtwlM0cYUbBifWSoxwFQZQvHFGnamgkB+1fMsdRAcUSoCW9bA+7SKBsfFVBMrfmq5iXjgcfoQ353Nt1bfus+kIK4wUE' +
        'dqc9bkIzKbBfxRhDAAQA',
      'KLUv/WAMAGEIAAABBAkQGSQxQG2AlazF4AIhQoGmzfYmU4Kz5jxzrOcpaKnsNpniMn/OJHfMKJ34WrkfgudTvEi1KZoShwN895UZmiKn' +
        'M7xM2YkfskzjgSG+YiTHcR3GdijXjWEb0pBQEtGXX0UR2qp8UCb508upiWtPNR0H7vjo2s7EvLaysMzO0tjg6vYJGUdbcYmjv90CJGSK' +
        'stwNO2ud0ShgmtYZWZvfKo7YKXfHHnLIJZv3WrohhetYwk+9MqQdkxCKC6UqrDW7SNJj8aI5zWgFn0Deg0bqlULsnVAFt4xHBL5/QgfJ' +
        'knlGFeG0iWA5FA3nyKuQd2BLOEM0JxwTDAcEAyAjKC84Q1BfcJ+0y+QEIUA=',
    ].map((text) => Buffer.from(text, 'base64'));
    const file = spz4(count, 0, parts, compressed);
    expect(file.length).toBeLessThan(spz4(count, 0, parts).length);
    expect(decodeSpz(file, 'a.spz')).toEqual(decodeSpz(spz4(count, 0, parts), 'a.spz'));
  });

  test('vendor records are stepped over, degree 4 is cut, antialiasing is reported', () => {
    const parts = [positions, alphas, colours, scales, smallestThree].map((part) => Buffer.from(part));
    const sh4 = Buffer.from(Array.from({ length: 144 }, (_, k) => k));
    const file = Buffer.concat([head(3, 2, 4, 12, 3), ...parts, sh4, Buffer.alloc(40, 7)]);
    const { cloud, warnings } = decodeSpz(gzipSync(file), 'a.spz');
    expect(warnings).toHaveLength(2);
    expect(warnings.join()).toMatch(/antialiasing.*degree 4 were cut to degree 3/);
    expect([cloud.shRest[0], cloud.shRest[44], cloud.shRest[45]]).toEqual([-1, (44 - 128) / 128, (72 - 128) / 128]);
    const plain = spz4(2, 0, parts);
    const extended = Buffer.concat([plain.subarray(0, 32), Buffer.alloc(24, 9), plain.subarray(32)]);
    extended[14] = 2;
    extended.writeUInt32LE(56, 16);
    expect(decodeSpz(extended, 'a.spz').cloud).toEqual(decodeSpz(plain, 'a.spz').cloud);
  });

  test.each([0, 1, 2, 3])('round trip of degree %i within half a step of every field', (degree) => {
    const cloud = randomCloud(500, degree, 3 + degree);
    const file = encodeSpz(cloud);
    expect(encodeSpz(cloud)).toEqual(file);
    const raw = gunzipSync(file);
    expect([raw.readUInt32LE(4), raw.readUInt32LE(8), raw[12], raw[13]]).toEqual([3, 500, degree, 12]);
    const { cloud: back, format } = decodeSpz(file, 'a.spz');
    expect(format).toBe('spz v3');
    const worst = { means: 0, logScales: 0, sh0: 0, opacity: 0, rotation: 0, sh1: 0, sh2: 0 };
    const see = (field: keyof typeof worst, gap: number): void => {
      worst[field] = Math.max(worst[field], gap);
    };
    for (let i = 0; i < cloud.count; i++) {
      for (let k = 3 * i; k < 3 * i + 3; k++) {
        see('means', Math.abs(back.means[k] - cloud.means[k]));
        see('logScales', Math.abs(back.logScales[k] - cloud.logScales[k]));
        see('sh0', Math.abs(back.sh0[k] - cloud.sh0[k]));
      }
      see('opacity', Math.abs(sigmoid(back.opacityLogits[i]) - sigmoid(cloud.opacityLogits[i])));
      see('rotation', quaternionGap(back.quats.subarray(4 * i), cloud.quats.subarray(4 * i)));
      const rest = cloud.shRest.length / cloud.count;
      for (let k = 0; k < rest; k++) {
        see(k < 9 ? 'sh1' : 'sh2', Math.abs(back.shRest[i * rest + k] - cloud.shRest[i * rest + k]));
      }
    }
    const rounding = 1e-6; // f32 of the decoded values.
    expect(worst.means).toBeLessThanOrEqual(2 ** -13 + rounding);
    expect(worst.logScales).toBeLessThanOrEqual(1 / 32 + rounding);
    expect(worst.sh0).toBeLessThanOrEqual(0.5 / (0.15 * 255) + rounding);
    expect(worst.opacity).toBeLessThanOrEqual(0.5 / 255 + rounding);
    // Three components are off by half a step; the largest makes up for them: Σ q dq / q_max, at most three half steps.
    expect(worst.rotation).toBeLessThanOrEqual((3 * 0.5 * Math.SQRT1_2 * 1.01) / 511);
    expect(worst.sh1).toBeLessThanOrEqual(4.5 / 128 + rounding);
    expect(worst.sh2).toBeLessThanOrEqual(8.5 / 128 + rounding);
    // Steps are used, not just kept: half of each bound is passed.
    expect(worst.means).toBeGreaterThan(2 ** -14);
    expect(worst.logScales).toBeGreaterThan(1 / 64);
    // A second trip changes nothing but what the largest component of a rotation is.
    expect(decodeSpz(encodeSpz(back), 'a.spz').cloud.means).toEqual(back.means);
    expect(decodeSpz(encodeSpz(back), 'a.spz').cloud.opacityLogits).toEqual(back.opacityLogits);
  });

  test('wide scenes get fewer fractional bits; values beyond the ranges are counted', () => {
    const cloud = randomCloud(4, 1);
    cloud.means[4] = 5000;
    cloud.logScales[0] = 9;
    cloud.shRest[10] = 3;
    const { body, clamped } = packSpz(cloud);
    expect([body[13], clamped]).toEqual([10, 2]);
    const { cloud: back } = decodeSpz(gzipSync(body), 'a.spz');
    expect([back.means[4], back.logScales[0], back.shRest[10]]).toEqual([5000, 5.9375, 127 / 128]);
    cloud.means[4] = 1e7;
    expect(() => encodeSpz(cloud)).toThrow(/10000000 units out/);
    cloud.means[4] = NaN;
    expect(() => encodeSpz(cloud)).toThrow(/splat 1 has y = NaN/);
  });

  const parts = [positions, alphas, colours, scales, smallestThree].map((part) => Buffer.from(part));
  const edited = (edit: (file: Buffer) => void): Buffer => {
    const file = spz4(2, 0, parts);
    edit(file);
    return file;
  };
  test.each([
    ['gzip of something else', gzipSync('hello, this is no splat'), /not an SPZ file/],
    ['cut gzip', gzipSync(Buffer.concat([head(3, 2, 0), ...parts])).subarray(0, 40), /gzip stream cannot be read/],
    ['too little', gzipSync(Buffer.concat([head(3, 3, 0), ...parts])), /claims 3 splats of degree 0 \(60 bytes\), but only 40/],
    ['a bomb', gzipSync(Buffer.concat([head(3, 2, 0), ...parts, Buffer.alloc(1 << 20)])), /holds more than its header says/],
    ['a huge count', gzipSync(head(3, 40_000_000, 3)), /more than \d+ bytes of gzip can hold/],
    ['over the limit', gzipSync(head(3, 60_000_000, 3)), /over the limit/],
    ['version 5', gzipSync(head(5, 0, 0)), /version 5 is not supported/],
    ['degree 5', gzipSync(head(3, 0, 5)), /degree 5/],
    ['30 bits', gzipSync(head(3, 0, 0, 30)), /30 fractional bits/],
    ['v4: huge count', edited((f) => f.writeUInt32LE(40_000_000, 8)), /stream 0 holds 18 bytes, 40000000 splats need/],
    ['v4: huge claims', spz4(40_000_000, 0, [9, 1, 3, 3, 4].map((w) => ({ length: w * 4e7 }) as Uint8Array), parts.map(zstdRaw)),
      /claims 360000000 bytes from 30 compressed/],
    ['v4: four streams', edited((f) => f.writeUInt8(4, 15)), /has 4 streams, expected 5/],
    ['v4: table outside', edited((f) => f.writeUInt32LE(400, 16)), /table at byte 400/],
    ['v4: stream outside', edited((f) => f.writeUInt32LE(4000, 32)), /stream 0 claims 4000 bytes/],
    ['v4: not zstd', edited((f) => f.writeUInt32LE(1, 112)), /cannot be decompressed/],
    ['v4: other content', edited((f) => f.writeUInt32LE(17, 117)), /holds 17 bytes, expected 18/],
    ['v4: cut', edited(() => undefined).subarray(0, 130), /but only/],
  ])('%s is refused', (_name, file, message) => expect(messageOf(file)).toMatch(message));
});
