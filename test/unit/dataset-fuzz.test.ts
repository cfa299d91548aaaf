/** Damaged scene files: a reader returns something sound or throws SceneError, soon and without taking much memory. */
import { SceneError } from '../../src/binding/errors';
import type { SceneView, ScenePoints } from '../../src/scene';
import { parseBlendedCamera } from '../../src/scene/datasets/blendedmvs';
import { colmapView } from '../../src/scene/datasets/colmap';
import { parseCamerasBin, parseImagesBin, parsePointsBin } from '../../src/scene/datasets/colmap-binary';
import { type ColmapCamera, type ColmapImage, colmapModels } from '../../src/scene/datasets/colmap-model';
import { parseCamerasText, parseImagesText, parsePointsText } from '../../src/scene/datasets/colmap-text';
import { parseTransforms, transformsCamera } from '../../src/scene/datasets/nerfstudio';
import { parsePointsPly } from '../../src/scene/datasets/ply-points';
import { type ColmapModel, encodeColmapBinary, encodeColmapText } from '../../src/scene/datasets/write-colmap';
import { encodePointsPly } from '../../src/scene/datasets/write-nerfstudio';
import { orbitPose } from '../scene-fixtures';

const cases = 10_000;

/** Mulberry32. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const camera: ColmapCamera = { id: 2, model: 'OPENCV', width: 40, height: 32, params: [30, 31, 20, 16, -0.1, 0.02, 1e-3, -1e-3] };
const image: ColmapImage = { id: 1, quaternion: [0.5, 0.5, -0.5, 0.5], translation: [1, 2, 3], cameraId: 2, name: 'a b.png' };
const sound: ColmapModel = {
  cameras: colmapModels.map(({ name, parameters }, id) => {
    const small = (index: number): number => (index % 2 ? -0.01 : 0.02);
    const params = parameters.map((parameter, i) => ({ f: 30, fx: 30, fy: 31, cx: 20, cy: 16 })[parameter as 'f'] ?? small(i));
    return { id, model: name, width: 40, height: 32, params };
  }),
  images: [1, 2, 3].map((id) => ({ ...image, id, name: `${id} ${image.name}`, observations: [{ x: 1.5, y: 2, point: 1 }, { x: 3, y: 4.25, point: 2 }].slice(0, id) })),
  points: [1, 2, 3].map((id) => ({ id, position: [id, -0.5, 1e-3], color: [id, 128, 255], track: [[1, 0], [2, 1]] })),
};
const binary = encodeColmapBinary(sound);
const text = encodeColmapText(sound);
const file = { name: 'x', imagePath: 'x.png', width: 40, height: 32 };

const transforms = JSON.stringify({
  camera_model: 'OPENCV', w: 40, h: 32, fl_x: 30, k1: -0.1, p1: 0.001, ply_file_path: 'p.ply',
  frames: [
    { file_path: 'images/a.png', transform_matrix: orbitPose(10, 20, 3) },
    { file_path: 'images/b.png', transform_matrix: orbitPose(50, 20, 3), camera_angle_x: 0.7, cx: 19 },
  ],
});
const synthetic = JSON.stringify({
  camera_angle_x: 0.69, frames: [{ file_path: './train/r_0', rotation: 0.01, transform_matrix: orbitPose(0, 30, 4) }],
});
const blended = 'extrinsic\n0 0 -1 3\n0 1 0 -2\n1 0 0 -1\n0 0 0 1\n\nintrinsic\n50 0 20.5\n0 51 15.5\n0 0 1\n\n0.4 0.0025 128 0.7\n';
const plyPoints = { count: 4, positions: Float32Array.from({ length: 12 }, (_, i) => i), colors: new Uint8Array(12) };
const asciiPly = 'ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty double y\nproperty float z\nproperty uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n1 2 3 4 5 6\n-1 .5 2e1 0 0 255\n0 0 0 9 9 9\n';

function soundView({ camera: { fx, fy, cx, cy, worldToCam } }: Pick<SceneView, 'camera'>): void {
  if (!(fx > 0 && fy > 0) || ![fx, fy, cx, cy, ...worldToCam].every(Number.isFinite)) throw new Error('unsound camera');
}
function soundPoints({ count, positions, colors }: ScenePoints, bytes: Uint8Array): void {
  if (3 * count !== positions.length || (colors && colors.length !== 3 * count)) throw new Error('unsound lengths');
  if (count > bytes.length || !positions.every(Number.isFinite)) throw new Error('unsound points');
}
/** Cameras that the damage left as they were need no second look: straightening takes most of the time. */
const untouched = new Set(sound.cameras.map((source) => JSON.stringify(source)));
const soundCameras = (cameras: ColmapCamera[]): void =>
  cameras.filter((source) => !untouched.has(JSON.stringify(source))).forEach((source) => soundView(colmapView(image, source, file)));
const soundImages = (images: ColmapImage[]): void => images.forEach((item) => soundView(colmapView(item, camera, file)));
function soundTransforms(content: string): void {
  const top = parseTransforms(content, 'f');
  for (const frame of top.frames) soundView(transformsCamera(top, frame, { width: frame.w ?? 40, height: frame.h ?? 32 }, 'f'));
}

const readers: [string, Buffer, (bytes: Buffer) => void][] = [
  ['cameras.bin', binary['cameras.bin'], (bytes) => soundCameras(parseCamerasBin(bytes, 'f'))],
  ['images.bin', binary['images.bin'], (bytes) => soundImages(parseImagesBin(bytes, 'f'))],
  ['points3D.bin', binary['points3D.bin'], (bytes) => soundPoints(parsePointsBin(bytes, 'f'), bytes)],
  ['cameras.txt', Buffer.from(text['cameras.txt']), (bytes) => soundCameras(parseCamerasText(bytes, 'f'))],
  ['images.txt', Buffer.from(text['images.txt']), (bytes) => soundImages(parseImagesText(bytes, 'f'))],
  ['points3D.txt', Buffer.from(text['points3D.txt']), (bytes) => soundPoints(parsePointsText(bytes, 'f'), bytes)],
  ['transforms.json', Buffer.from(transforms), (bytes) => soundTransforms(bytes.toString('utf8'))],
  ['transforms_train.json', Buffer.from(synthetic), (bytes) => soundTransforms(bytes.toString('utf8'))],
  ['binary PLY', encodePointsPly(plyPoints), (bytes) => soundPoints(parsePointsPly(bytes, 'f'), bytes)],
  ['ascii PLY', Buffer.from(asciiPly), (bytes) => soundPoints(parsePointsPly(bytes, 'f'), bytes)],
  ['cam.txt', Buffer.from(blended), (bytes) => soundView({ camera: { width: 1, height: 1, ...parseBlendedCamera(bytes.toString('utf8'), 'f') } })],
];

const words = [
  'nan', '-nan(ind)', 'inf', '-Infinity', '1e999', '1e308', '-1e308', '1e-320', '-1', '0', '1e9', '999999999999', '18446744073709551615', '0x10',
  'null', 'true', '"text"', '[]', '{}', '[[[[', '}', ',', '', ' ', '\n', '\r\n', '#', '\0', '\u{1F600}', 'PINHOLE', 'FOV', '../../etc', '__proto__',
  'x'.repeat(9000), '['.repeat(600),
];
const patches: Buffer[] = [
  ...[0n, 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 40n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n].map((value) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(value);
    return bytes;
  }),
  ...[Number.NaN, Infinity, -Infinity, 1e308, -1e-308, 3.2, -1].map((value) => {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleLE(value);
    return bytes;
  }),
];

/** One to three random damages: cuts, flips, patches of eight bytes, repeats, deletions, words in place of words. */
function damaged(original: Buffer, random: () => number): Buffer {
  const below = (limit: number): number => Math.floor(random() * limit);
  let bytes: Buffer = Buffer.from(original);
  for (let step = below(3); step >= 0; step--) {
    const at = below(bytes.length + 1);
    const end = Math.min(bytes.length, at + 1 + below(24));
    const splice = (from: number, to: number, put: Uint8Array): Buffer =>
      Buffer.concat([bytes.subarray(0, from), put, bytes.subarray(to)]);
    const kind = below(7);
    if (kind === 0) bytes = splice(at, bytes.length, Buffer.alloc(0));
    else if (kind === 1) bytes = splice(at, at + 1, Buffer.of(below(256)));
    else if (kind === 2) bytes = splice(at & ~3, (at & ~3) + 8, patches[below(patches.length)]);
    else if (kind === 3) bytes = splice(at, at, bytes.subarray(at, end));
    else if (kind === 4) bytes = splice(at, end, Buffer.alloc(0));
    else {
      // The word around the place.
      const blank = (i: number): boolean => ' ,:\n[]"'.includes(String.fromCharCode(bytes[i]));
      let [from, to] = [Math.min(at, bytes.length), at];
      while (from > 0 && !blank(from - 1)) from--;
      while (to < bytes.length && !blank(to)) to++;
      bytes = splice(from, to, Buffer.from(words[below(words.length)]));
    }
  }
  return bytes;
}

test.each(readers)(`%s: ${cases} damaged files`, (_, original, read) => {
  expect(() => read(original)).not.toThrow();
  const random = generator(20260403);
  const before = process.memoryUsage.rss();
  // Stacks would take most of the time; a case that fails is in the message and can be read again.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  let [refused, longest, most] = [0, 0, 0];
  for (let i = 0; i < cases; i++) {
    const bytes = damaged(original, random);
    const start = performance.now();
    try {
      read(bytes);
    } catch (error) {
      if (!(error instanceof SceneError)) {
        throw new Error(`case ${i} (${bytes.toString('base64')}): ${String(error)}`, { cause: error });
      }
      refused++;
    }
    longest = Math.max(longest, performance.now() - start);
    if (i % 100 === 0) most = Math.max(most, process.memoryUsage.rss() - before);
  }
  Error.stackTraceLimit = stackTraceLimit;
  // Both outcomes are tried, a case takes milliseconds (a pause of the machine may add some), and memory stays small.
  expect(refused).toBeGreaterThan(cases / 5);
  expect(refused).toBeLessThan(cases);
  expect(longest).toBeLessThan(2000);
  expect(most).toBeLessThan(512 * 2 ** 20);
}, 60_000);
