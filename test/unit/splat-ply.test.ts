import { SceneError } from '../../src/binding/errors';
import { decodePly, encodePly } from '../../src/scene/gaussians/formats';
import { compressedPly, compressedRanges, floats, randomCloud, restCount, sigmoid } from './splat-fixtures';

const base = [
  'x', 'y', 'z', 'f_dc_0', 'f_dc_1', 'f_dc_2', 'opacity', 'scale_0', 'scale_1', 'scale_2', 'rot_0', 'rot_1', 'rot_2', 'rot_3',
];
const header = (format: string, count: number, names: readonly string[], type = 'float', extra = ''): string =>
  `ply\nformat ${format} 1.0\n${extra}element vertex ${count}\n` +
  `${names.map((n) => `property ${type} ${n}\n`).join('')}end_header\n`;
const binary = (names: readonly string[], rows: readonly number[][], extra = ''): Buffer =>
  Buffer.concat([Buffer.from(header('binary_little_endian', rows.length, names, 'float', extra)), floats(...rows.flat())]);
const row = [1, 2, 3, 0.1, 0.2, 0.3, -1, -4, -5, -6, 0.5, -0.5, 0.5, 2];
const messageOf = (bytes: Uint8Array): string => {
  try {
    decodePly(bytes, 'a.ply');
  } catch (error) {
    expect(error).toBeInstanceOf(SceneError);
    return (error as Error).message;
  }
  throw new Error('was read');
};

describe('PLY', () => {
  test.each([0, 1, 2, 3])('round trip of degree %i keeps every bit', (degree) => {
    const cloud = randomCloud(37, degree, 5 + degree);
    const { cloud: back, format, warnings } = decodePly(encodePly(cloud), 'a.ply');
    expect(back).toEqual(cloud);
    expect([format, warnings]).toEqual(['ply', []]);
  });

  test('is written in the order of the original code, f_rest channel by channel', () => {
    const cloud = randomCloud(2, 1);
    const file = Buffer.from(encodePly(cloud));
    const end = file.indexOf('end_header\n') + 11;
    const names = [...file.toString('latin1', 0, end).matchAll(/property float (\w+)/g)].map((m) => m[1]);
    expect(names.join(' ')).toBe(
      'x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 f_rest_0 f_rest_1 f_rest_2 f_rest_3 f_rest_4 f_rest_5 f_rest_6 f_rest_7 f_rest_8 ' +
        'opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3',
    );
    expect(file.length).toBe(end + 2 * 4 * names.length);
    const second = (name: string): number => file.readFloatLE(end + 4 * (names.length + names.indexOf(name)));
    expect([second('x'), second('ny'), second('opacity')]).toEqual([cloud.means[3], 0, cloud.opacityLogits[1]]);
    // Splat 1, coefficient k, channel c lies at f_rest[3 c + k].
    for (let k = 0; k < 3; k++) {
      for (let c = 0; c < 3; c++) expect(second(`f_rest_${3 * c + k}`)).toBe(cloud.shRest[9 + 3 * k + c]);
    }
  });

  test('columns are found by name: shuffled, doubles, bytes, extra ones, CRLF', () => {
    const names = [...base].reverse();
    const expected = decodePly(binary(base, [row, row]), 'a.ply').cloud;
    expect([...expected.means.slice(0, 3), expected.opacityLogits[1], ...expected.quats.slice(4)]).toEqual(
      [1, 2, 3, -1, 0.5, -0.5, 0.5, 2],
    );
    expect(decodePly(binary(names, [row, row].map((r) => [...r].reverse())), 'a.ply').cloud).toEqual(expected);
    const head = header('binary_little_endian', 2, names, 'double').replace('end_header', 'property uchar red\nend_header');
    const body = Buffer.alloc(2 * (8 * names.length + 1));
    for (let i = 0; i < 2; i++) {
      names.forEach((n, k) => body.writeDoubleLE(Math.fround(row[base.indexOf(n)]), i * (8 * names.length + 1) + 8 * k));
    }
    const doubles = decodePly(Buffer.concat([Buffer.from(head.replaceAll('\n', '\r\n')), body]), 'a.ply');
    expect(doubles.cloud).toEqual(expected);
    expect(doubles.warnings).toEqual(['columns that splats do not have were ignored: red']);
  });

  test('ascii agrees with binary, CRLF and a missing last line end included', () => {
    const cloud = randomCloud(5, 2, 9);
    const file = Buffer.from(encodePly(cloud));
    const end = file.indexOf('end_header\n') + 11;
    const columns = (file.length - end) / 20;
    const lines = Array.from({ length: 5 }, (_, i) =>
      Array.from({ length: columns }, (__, k) => String(file.readFloatLE(end + 4 * (i * columns + k)))).join(' '),
    );
    const head = file.toString('latin1', 0, end).replace('binary_little_endian', 'ascii');
    expect(decodePly(Buffer.from(head + lines.join('\n')), 'a.ply').cloud).toEqual(cloud);
    expect(decodePly(Buffer.from(`${head}${lines.join('\n')}\n`.replaceAll('\n', '\r\n')), 'a.ply').cloud).toEqual(cloud);
  });

  test('degree 4 is cut to 3 channel by channel, with a warning', () => {
    const rest = Array.from({ length: 72 }, (_, k) => `f_rest_${k}`);
    const file = binary([...base, ...rest], [[...row, ...rest.map((_, k) => k / 128)]]);
    const { cloud, warnings } = decodePly(file, 'a.ply');
    expect(cloud.shDegree).toBe(3);
    for (let k = 0; k < restCount(3); k++) {
      for (let c = 0; c < 3; c++) expect(cloud.shRest[3 * k + c]).toBe((24 * c + k) / 128);
    }
    expect(warnings).toEqual(['harmonics of degree 4 were cut to degree 3']);
  });

  test('infinite opacity is brought to a finite logit, in both encodings', () => {
    const logits = [Infinity, 3, -Infinity];
    const rows = logits.map((logit) => row.map((v, k) => (k === 6 ? logit : v)));
    const text = rows.map((r) => r.join(' ').replace('Infinity', 'inf')).join('\n');
    for (const file of [binary(base, rows), Buffer.from(header('ascii', 3, base) + text)]) {
      const { cloud, warnings } = decodePly(file, 'a.ply');
      expect([...cloud.opacityLogits]).toEqual([15, 3, -15]);
      expect(warnings).toEqual(['2 splats had an infinite opacity logit; brought to ±15']);
    }
    expect(Math.fround(sigmoid(15))).toBeLessThan(1);
  });

  test.each([
    ['comment antialiased 1\n', /antialiasing/],
    ['comment SplatRenderMode: mip\n', /antialiasing/],
    ['comment SplatRenderMode: 2dgs\n', /flat discs/],
  ])('the flag %j is reported', (comment, message) => {
    expect(decodePly(binary(base, [row], comment), 'a.ply').warnings.join()).toMatch(message);
    expect(decodePly(binary(base, [row], comment.replace(/1$|mip|2dgs/m, '0')), 'a.ply').warnings).toEqual([]);
  });

  test.each([
    ['NaN centre', binary(base, [row, row.map((v, k) => (k === 1 ? NaN : v))]), /^a\.ply: splat 1 has y = NaN/],
    ['infinite scale', binary(base, [row.map((v, k) => (k === 9 ? Infinity : v))]), /splat 0 has scale_2 = Infinity/],
    ['NaN rotation', binary(base, [row.map((v, k) => (k === 13 ? NaN : v))]), /splat 0 has rot_3 = NaN/],
    ['no rotation', binary(base, [row.map((v, k) => (k > 9 ? 0 : v))]), /splat 0 has a rotation .* of length 0/],
    ['NaN opacity', binary(base, [row.map((v, k) => (k === 6 ? NaN : v))]), /splat 0 has opacity = NaN/],
    ['NaN colour', binary(base, [row.map((v, k) => (k === 5 ? NaN : v))]), /splat 0 has f_dc_2 = NaN/],
    ['truncated', binary(base, [row]).subarray(0, -1), /claims 1 splats \(at least 56 bytes\), but only 55/],
    ['huge count', Buffer.from(header('binary_little_endian', 49_000_000, base)), /claims 49000000 splats/],
    ['over the limit', Buffer.from(header('binary_little_endian', 60_000_000, base)), /over the limit of 50000000/],
    ['a point cloud', binary(['x', 'y', 'z'], [[1, 2, 3]]), /no property "f_dc_0".*point cloud/],
    ['flat discs', binary(base.filter((n) => n !== 'scale_2'), [row.slice(1)]), /"scale_2"; a file of flat discs/],
    ['ten coefficients', binary([...base, 'f_rest_0'], [[...row, 1]]), /1 f_rest properties/],
    ['a column twice', binary([...base, 'x'], [[...row, 1]]), /"x" stands twice/],
    ['an ascii word', Buffer.from(`${header('ascii', 1, base)}${row.join(' ').replace('3', '0x3')}`), /splat 0 has z = NaN/],
    ['too few words', Buffer.from(`${header('ascii', 1, base)}${row.slice(1).join(' ')}`), /:19: expected 14 numbers/],
  ])('%s is refused', (_name, file, message) => expect(messageOf(file)).toMatch(message));
});

describe('compressed PLY', () => {
  // One chunk: x, y, z in −1 … 1, 0 … 4, 10 … 11; log scales −8 … 0; colours −0.5 … 1.5.
  const ranges = [-1, 0, 10, 1, 4, 11, -8, -8, -8, 0, 0, 0, -0.5, -0.5, -0.5, 1.5, 1.5, 1.5];
  const vector = (a: number, b: number, c: number): number => a * 2 ** 21 + b * 2 ** 11 + c;
  const rows = [
    [vector(2047, 0, 1024), 2 ** 30 * 0 + 1023 * 2 ** 20 + 511 * 2 ** 10 + 512, vector(0, 1023, 2047), 0xff008080],
    [vector(0, 341, 0), 2 ** 30 * 2 + 0 * 2 ** 20 + 300 * 2 ** 10 + 700, vector(1000, 100, 10), 0x204060ff],
  ];
  const f32 = Math.fround;
  const part = (bits: number): number => (bits / 1023 - 0.5) * Math.SQRT2;

  test('bits become values', () => {
    const { cloud, format, warnings } = decodePly(compressedPly(ranges, rows), 'a.ply');
    expect([format, warnings, cloud.shDegree, cloud.count]).toEqual(['compressed-ply', [], 0, 2]);
    expect([...cloud.means]).toEqual([1, 0, 10 + 1024 / 2047, -1, 4 * (341 / 1023), 10].map(f32));
    [-8, 0, 0, -8 + 8 * (1000 / 2047), -8 + 8 * (100 / 1023), -8 + 8 * (10 / 2047)].forEach((v, k) =>
      expect(cloud.logScales[k]).toBeCloseTo(v, 6),
    );
    const first = [part(1023), part(511), part(512)];
    const w = Math.sqrt(Math.max(0, 1 - first.reduce((s, v) => s + v * v, 0)));
    const second = [part(0), part(300), part(700)];
    const y = Math.sqrt(1 - second.reduce((s, v) => s + v * v, 0));
    [w, ...first, second[0], second[1], y, second[2]].forEach((v, k) => expect(cloud.quats[k]).toBeCloseTo(v, 6));
    [[1, 0, 0x80 / 255], [0x20 / 255, 0x40 / 255, 0x60 / 255]].flat().forEach((t, k) =>
      expect(0.5 + 0.28209479177387814 * cloud.sh0[k]).toBeCloseTo(-0.5 + 2 * t, 6),
    );
    // 255 stands for everything that rounds to it: 254.5 … 255, whose middle is meant.
    expect(sigmoid(cloud.opacityLogits[0])).toBeCloseTo(128 / 255, 7);
    expect(sigmoid(cloud.opacityLogits[1])).toBeCloseTo(254.75 / 255, 7);
  });

  test('without ranges of colour they are 0 … 1', () => {
    const { cloud } = decodePly(compressedPly(ranges.slice(0, 12), rows), 'a.ply');
    expect(0.5 + 0.28209479177387814 * cloud.sh0[3]).toBeCloseTo(0x20 / 255, 6);
  });

  test.each([[1, 9], [2, 24], [3, 45]])('harmonics of degree %i come channel by channel', (degree, width) => {
    const bytes = rows.map((_, i) => Array.from({ length: width }, (__, k) => (k === 3 ? 0 : k === 4 ? 255 : 5 * k + i)));
    const { cloud } = decodePly(compressedPly(ranges, rows, bytes), 'a.ply');
    expect(cloud.shDegree).toBe(degree);
    const rest = width / 3;
    for (let i = 0; i < 2; i++) {
      for (let k = 0; k < width; k++) {
        const value = k === 3 ? -4 : k === 4 ? 4 : 8 * ((5 * k + i + 0.5) / 256 - 0.5);
        const at = 3 * (i * rest + (k % rest)) + Math.floor(k / rest);
        expect(cloud.shRest[at]).toBe(f32((i + k === 0 ? -4 : value)));
      }
    }
  });

  test.each([
    ['infinite range', compressedPly([Infinity, ...ranges.slice(1)], rows), /chunk 0 has min_x = Infinity/],
    ['truncated', compressedPly(ranges, rows).subarray(0, -1), /claims 2 rows of "vertex" \(32 bytes\), but only 31/],
    ['a range missing', compressedPly(ranges.slice(0, 11), rows), /no property "max_scale_z"/],
    ['chunks missing', Buffer.from(compressedPly(ranges, rows).toString('latin1').replace('chunk 1', 'chunk 0'), 'latin1'),
      /2 splats lie in 1 chunks, but the file has 0/],
    ['eight coefficients', compressedPly(ranges, rows, rows.map(() => [1, 2])), /2 f_rest properties, expected 9/],
  ])('%s is refused', (_name, file, message) => {
    expect(compressedRanges).toHaveLength(18);
    expect(messageOf(file)).toMatch(message);
  });
});
