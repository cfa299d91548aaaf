/** Small synthetic scenes in a temporary folder: cameras on an arc around the origin, z up, looking at it. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import sharp from 'sharp';

export type Matrix = number[][];

/** A temporary folder that is removed after the test file. */
export function temporaryFolder(): string {
  const path = mkdtempSync(join(tmpdir(), 'rl3dedit-scene-'));
  afterAll(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** OpenGL camera-to-world of a camera at (azimuth, elevation, distance) that looks at the origin, z up. */
export function orbitPose(azimuthDeg: number, elevationDeg: number, distance: number): Matrix {
  const a = (azimuthDeg * Math.PI) / 180;
  const e = (elevationDeg * Math.PI) / 180;
  const back = [Math.cos(e) * Math.cos(a), Math.cos(e) * Math.sin(a), Math.sin(e)];
  const right = [-Math.sin(a), Math.cos(a), 0];
  const up = [-Math.sin(e) * Math.cos(a), -Math.sin(e) * Math.sin(a), Math.cos(e)];
  return [...[0, 1, 2].map((i) => [right[i], up[i], back[i], back[i] * distance]), [0, 0, 0, 1]];
}

export interface FixtureFrame {
  file_path: string;
  transform_matrix: Matrix;
  [key: string]: unknown;
}

export interface Transforms {
  frames: FixtureFrame[];
  [key: string]: unknown;
}

export const defaultAzimuths = [0, 30, 60, 90, 120, 150];

/** Contents of a valid transforms.json with one frame per azimuth, 40x32 pixels. */
export function orbitTransforms(azimuthsDeg: readonly number[] = defaultAzimuths): Transforms {
  return {
    w: 40, h: 32, fl_x: 40, fl_y: 41, cx: 20.5, cy: 15.5,
    frames: azimuthsDeg.map((azimuth, i) => ({
      file_path: `images/f_${String(i).padStart(3, '0')}.png`,
      transform_matrix: orbitPose(azimuth, 20, 4),
    })),
  };
}

/** RGB pattern that is smooth and differs in every pixel and channel. */
export function patternBytes(width: number, height: number, seed = 0): Buffer {
  const bytes = Buffer.alloc(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const o = 3 * (y * width + x);
      bytes[o] = 40 + ((x * 180) / width) + seed;
      bytes[o + 1] = 220 - ((y * 180) / height);
      bytes[o + 2] = 128 + 60 * Math.sin((x + y + seed) / 5);
    }
  }
  return bytes;
}

/** Writes a scene folder: the JSON (object or raw text) and, unless told otherwise, a PNG for each frame. */
export async function writeScene(
  root: string, transforms: Transforms | string, size = { width: 40, height: 32 },
): Promise<string> {
  mkdirSync(join(root, 'images'), { recursive: true });
  const text = typeof transforms === 'string' ? transforms : JSON.stringify(transforms, null, 2);
  writeFileSync(join(root, 'transforms.json'), text);
  if (typeof transforms !== 'string') {
    for (const [i, frame] of transforms.frames.entries()) {
      const path = join(root, frame.file_path);
      mkdirSync(dirname(path), { recursive: true });
      const { width, height } = size;
      await sharp(patternBytes(width, height, i), { raw: { width, height, channels: 3 } }).png().toFile(path);
    }
  }
  return root;
}

/** A PNG that claims a size and holds no pixels. */
export function emptyPng(width: number, height: number): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const chunk = (type: string, data: Buffer): Buffer => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const frame = Buffer.alloc(8);
    frame.writeUInt32BE(data.length, 0);
    frame.writeUInt32BE(crc32(body), 4);
    return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
  };
  const parts = [chunk('IHDR', header), chunk('IDAT', Buffer.from([0x78, 0x9c])), chunk('IEND', Buffer.alloc(0))];
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), ...parts]);
}
