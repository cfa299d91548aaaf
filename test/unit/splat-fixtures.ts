/** Clouds and hand-made files for the tests of splat formats. */
import { createCloud, restCoefficients, type GaussianCloud } from '../../src/scene/gaussians/cloud';

/** Numbers in 0 … 1 that depend on the seed alone (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A cloud whose values lie inside the ranges of every format; quaternions have lengths other than 1 and either sign. */
export function randomCloud(count: number, shDegree: number, seed = 1): GaussianCloud {
  const random = randomOf(seed);
  const cloud = createCloud(count, shDegree);
  const fill = (values: Float32Array, low: number, high: number): void => {
    for (let i = 0; i < values.length; i++) values[i] = low + (high - low) * random();
  };
  fill(cloud.means, -20, 20);
  fill(cloud.quats, -2, 2);
  fill(cloud.logScales, -9, 2);
  fill(cloud.opacityLogits, -5, 5);
  fill(cloud.sh0, -1.7, 1.7);
  fill(cloud.shRest, -0.9, 0.9);
  return cloud;
}

export const restCount = restCoefficients;

/** Little-endian bytes of f32s, u32s or bytes. */
export function floats(...values: number[]): Buffer {
  const out = Buffer.alloc(4 * values.length);
  values.forEach((v, i) => out.writeFloatLE(v, 4 * i));
  return out;
}

export function words(...values: number[]): Buffer {
  const out = Buffer.alloc(4 * values.length);
  values.forEach((v, i) => out.writeUInt32LE(v >>> 0, 4 * i));
  return out;
}

/** A zstd frame (RFC 8878) of one raw block: content size in 4 bytes, single segment. */
export function zstdRaw(data: Uint8Array): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt32LE(0xfd2fb528, 0);
  head[4] = 0xa0;
  head.writeUInt32LE(data.length, 5);
  head.writeUIntLE((data.length << 3) | 1, 9, 3);
  return Buffer.concat([head, data]);
}

/** An SPZ version 4 file around zstd streams. */
export function spz4(count: number, shDegree: number, raw: readonly Uint8Array[], streams = raw.map(zstdRaw)): Buffer {
  const head = Buffer.alloc(32);
  head.writeUInt32LE(0x5053474e, 0);
  head.writeUInt32LE(4, 4);
  head.writeUInt32LE(count, 8);
  head[12] = shDegree;
  head[13] = 12;
  head[15] = streams.length;
  head.writeUInt32LE(32, 16);
  const table = Buffer.alloc(16 * streams.length);
  streams.forEach((stream, k) => {
    table.writeBigUInt64LE(BigInt(stream.length), 16 * k);
    table.writeBigUInt64LE(BigInt(raw[k].length), 16 * k + 8);
  });
  return Buffer.concat([head, table, ...streams]);
}

export const compressedRanges = [
  'min_x', 'min_y', 'min_z', 'max_x', 'max_y', 'max_z', 'min_scale_x', 'min_scale_y', 'min_scale_z',
  'max_scale_x', 'max_scale_y', 'max_scale_z', 'min_r', 'min_g', 'min_b', 'max_r', 'max_g', 'max_b',
];

/** A compressed PLY of one chunk: its 12 or 18 range ends, four words per splat, bytes of harmonics per splat. */
export function compressedPly(ranges: readonly number[], rows: readonly number[][], sh: readonly number[][] = []): Buffer {
  const head = [
    'ply', 'format binary_little_endian 1.0', 'comment made by a test', 'element chunk 1',
    ...compressedRanges.slice(0, ranges.length).map((n) => `property float ${n}`), `element vertex ${rows.length}`,
    ...['position', 'rotation', 'scale', 'color'].map((n) => `property uint packed_${n}`),
    ...(sh.length > 0 ? [`element sh ${sh.length}`, ...sh[0].map((_, k) => `property uchar f_rest_${k}`)] : []),
    'end_header', '',
  ].join('\n');
  return Buffer.concat([
    Buffer.from(head), floats(...ranges), words(...rows.flat()), ...sh.map((row) => Buffer.from(row)),
  ]);
}

/** Rotation matrix (row-major) of a quaternion (w, x, y, z) of any length, in f64. */
export function matrixOf(q: ArrayLike<number>): number[] {
  const n = Math.hypot(q[0], q[1], q[2], q[3]);
  const [w, x, y, z] = [q[0] / n, q[1] / n, q[2] / n, q[3] / n];
  return [
    1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
    2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
    2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
  ];
}

/** Largest component of q̂ − p̂, of either sign of p: how far apart two rotations are. */
export function quaternionGap(q: ArrayLike<number>, p: ArrayLike<number>): number {
  const unit = (v: ArrayLike<number>): number[] => {
    const n = Math.hypot(v[0], v[1], v[2], v[3]);
    return [v[0] / n, v[1] / n, v[2] / n, v[3] / n];
  };
  const [a, b] = [unit(q), unit(p)];
  const gap = (sign: number): number => Math.max(...a.map((v, k) => Math.abs(v - sign * b[k])));
  return Math.min(gap(1), gap(-1));
}

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
