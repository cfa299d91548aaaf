import { setImmediate } from 'node:timers/promises';
import { gunzipSync, gzipSync } from 'node:zlib';
import { SceneError } from '../../src/binding/errors';
import { decodePly, decodeSplat, decodeSplats, decodeSpz, encodePly, encodeSplat, encodeSpz } from '../../src/scene/gaussians/formats';
import type { DecodedSplats } from '../../src/scene/gaussians/formats';
import { collectGarbage } from '../leftovers';
import { compressedPly, randomCloud, randomOf, spz4 } from './splat-fixtures';

const cases = 10_000;
/** What may stay alive after thousands of files of a few kilobytes. */
const growthBytes = 16 * 2 ** 20;
/** Buffers outside the heap between two collections; a count that was believed would take gigabytes. */
const peakBytes = 512 * 2 ** 20;

const cloud = randomCloud(6, 1);
const binary = Buffer.from(encodePly(cloud));
const body = binary.indexOf('end_header\n') + 11;
const columns = (binary.length - body) / 24;
const ascii = Buffer.from(
  binary.toString('latin1', 0, body).replace('binary_little_endian', 'ascii') +
    Array.from({ length: 6 }, (_, i) =>
      Array.from({ length: columns }, (__, k) => binary.readFloatLE(body + 4 * (i * columns + k)).toPrecision(6)).join(' '),
    ).join('\n'),
);
const compressed = compressedPly(
  [0, 0, 0, 1, 1, 1, -8, -8, -8, 0, 0, 0, 0, 0, 0, 1, 1, 1],
  Array.from({ length: 6 }, (_, i) => [i * 7e8, i * 6e8, i * 5e8, i * 4e8]),
  Array.from({ length: 6 }, () => [1, 2, 3, 4, 5, 6, 7, 8, 9]),
);
const packed = gunzipSync(encodeSpz(cloud));
const plain = Buffer.from(encodeSplat(cloud));
const streams = spz4(
  6, 1, [9, 1, 3, 3, 4, 9].reduce<[number, Buffer[]]>(
    ([at, parts], width) => [at + 6 * width, [...parts, packed.subarray(at, at + 6 * width)]], [16, []],
  )[1],
);

const words = ['-1', '0', '4294967295', '99999999999', '1e9', 'nan', 'inf', 'double', 'uchar', 'list uchar int', 'int', 'x',
  'rot_0', 'f_rest_44', 'ascii', 'binary_big_endian', 'element vertex 3\n', 'end_header\n', '\r\n', 'chunk', 'vertex', '\0'];
const numbers = [NaN, Infinity, -Infinity, 0, 1e38, -1e-45, 1e300];

function mutate(source: Buffer, random: () => number, headerBytes: number): Buffer {
  const pick = (n: number): number => Math.floor(random() * n);
  let file = Buffer.from(source);
  for (let times = 1 + pick(3); times > 0 && file.length > 8; times--) {
    switch (pick(7)) {
      case 0:
        file = file.subarray(0, pick(file.length));
        break;
      case 1:
        file[pick(file.length)] ^= 1 << pick(8);
        break;
      case 2:
        file[pick(Math.min(file.length, headerBytes))] = pick(256);
        break;
      case 3:
        file.writeFloatLE(Math.fround(numbers[pick(numbers.length)]), pick(file.length - 4));
        break;
      case 4:
        file.writeUInt32LE([0, 1, 0x7fffffff, 0xffffffff, 0x80000000, 50_000_000, 6][pick(7)], pick(Math.min(file.length - 4, headerBytes)));
        break;
      case 5: {
        // A word of the header (or of an ascii body) becomes another one.
        const at = pick(Math.min(file.length, headerBytes));
        const end = file.indexOf(0x20, at) < 0 ? at : file.indexOf(0x20, at);
        file = Buffer.concat([file.subarray(0, at), Buffer.from(words[pick(words.length)]), file.subarray(end)]);
        break;
      }
      default: {
        const at = pick(file.length);
        file = Buffer.concat([file.subarray(0, at), file.subarray(pick(file.length)), Buffer.alloc(pick(8), pick(256))]);
      }
    }
  }
  return Buffer.from(file);
}

/** What comes out is a sound cloud or a SceneError. */
function check(decode: () => DecodedSplats): boolean {
  let read: DecodedSplats;
  try {
    read = decode();
  } catch (error) {
    if (error instanceof SceneError && error.message.startsWith('fuzz')) return false;
    throw error;
  }
  const { count, means, quats, logScales, opacityLogits, sh0, shRest } = read.cloud;
  if (means.length !== 3 * count || quats.length !== 4 * count) throw new Error('lengths');
  for (const values of [means, quats, logScales, opacityLogits, sh0, shRest]) {
    for (const value of values) if (!Number.isFinite(value)) throw new Error(`${value} was let through`);
  }
  return true;
}

const held = (): number => {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};

test.each<[string, Buffer, number, (file: Buffer) => DecodedSplats]>([
  ['PLY', binary, body, (file) => decodePly(file, 'fuzz')],
  ['ascii PLY', ascii, ascii.length, (file) => decodePly(file, 'fuzz')],
  ['compressed PLY', compressed, compressed.indexOf('end_header'), (file) => decodePly(file, 'fuzz')],
  ['SPZ 3 inside gzip', packed, 16, (file) => decodeSpz(gzipSync(file, { level: 1 }), 'fuzz')],
  ['SPZ 3, its gzip', Buffer.from(encodeSpz(cloud)), 20, (file) => decodeSplats(file, 'fuzz')],
  ['SPZ 4', streams, 200, (file) => decodeSpz(file, 'fuzz')],
  ['.splat', plain, plain.length, (file) => decodeSplat(file, 'fuzz')],
])(`%s: ${cases} mutated files give a cloud or a SceneError`, async (_name, source, headerBytes, decode) => {
  expect(check(() => decode(source))).toBe(true);
  const random = randomOf(2026);
  collectGarbage();
  const before = held();
  let read = 0;
  let most = 0;
  for (let n = 0; n < cases; n++) {
    const file = mutate(source, random, headerBytes);
    if (check(() => decode(file))) read++;
    if (n % 20 === 0) most = Math.max(most, held() - before);
  }
  // Some mutations are harmless; if none were, the mutations or the reader would be wrong.
  expect(read).toBeGreaterThan(0);
  expect(read).toBeLessThan(cases);
  expect(most).toBeLessThan(peakBytes);
  // zlib lets go of its contexts in a later turn of the event loop, after a collection.
  for (let turn = 0; turn < 3; turn++) {
    collectGarbage();
    await setImmediate();
  }
  expect(held() - before).toBeLessThan(growthBytes);
});
