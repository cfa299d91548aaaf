/** COLMAP models as files, binary and text, and datasets in COLMAP's layout. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { quaternionOf } from '../quaternion';
import type { ScenePoints } from '../scene';
import { type ColmapCamera, type ColmapImage, colmapModels } from './colmap-model';
import { type Dataset, datasetFileNames, writeFolder, writeImages, type WriteDatasetOptions } from './write-folder';

/** A 2D observation in pixels, and the id of its point. */
export interface ColmapObservation {
  readonly x: number;
  readonly y: number;
  readonly point: number;
}

/** A point with its colour (0-255) and the observations of it as (image id, place in that image's list). */
export interface ColmapPoint {
  readonly id: number;
  readonly position: readonly number[];
  readonly color: readonly number[];
  readonly track: readonly (readonly [number, number])[];
}

export interface ColmapModel {
  readonly cameras: readonly ColmapCamera[];
  readonly images: readonly (ColmapImage & { readonly observations: readonly ColmapObservation[] })[];
  readonly points: Iterable<ColmapPoint> & { readonly length: number };
}

/** Growing buffer of little-endian records. */
class Writer {
  private bytes = Buffer.alloc(1 << 12);
  private at = 0;

  private room(count: number): number {
    if (this.at + count > this.bytes.length) {
      const larger = Buffer.alloc(2 * (this.at + count));
      this.bytes.copy(larger, 0, 0, this.at);
      this.bytes = larger;
    }
    this.at += count;
    return this.at - count;
  }
  i32(...values: number[]): void {
    for (const value of values) {
      const at = this.room(4);
      this.bytes.writeInt32LE(value, at);
    }
  }
  u64(...values: number[]): void {
    for (const value of values) {
      const at = this.room(8);
      this.bytes.writeBigUInt64LE(BigInt(value), at);
    }
  }
  f64(...values: number[]): void {
    for (const value of values) {
      const at = this.room(8);
      this.bytes.writeDoubleLE(value, at);
    }
  }
  raw(values: Uint8Array): void {
    const at = this.room(values.length);
    this.bytes.set(values, at);
  }
  end(): Buffer {
    return this.bytes.subarray(0, this.at);
  }
}

/** The model's three binary files by name. */
export function encodeColmapBinary(
  { cameras, images, points }: ColmapModel,
): Record<'cameras.bin' | 'images.bin' | 'points3D.bin', Buffer> {
  const [cameraFile, imageFile, pointFile] = [new Writer(), new Writer(), new Writer()];
  cameraFile.u64(cameras.length);
  for (const { id, model, width, height, params } of cameras) {
    cameraFile.i32(id, colmapModels.findIndex(({ name }) => name === model));
    cameraFile.u64(width, height);
    cameraFile.f64(...params);
  }
  imageFile.u64(images.length);
  for (const { id, quaternion, translation, cameraId, name, observations } of images) {
    imageFile.i32(id);
    imageFile.f64(...quaternion, ...translation);
    imageFile.i32(cameraId);
    imageFile.raw(Buffer.from(`${name}\0`, 'utf8'));
    imageFile.u64(observations.length);
    for (const { x, y, point } of observations) {
      imageFile.f64(x, y);
      imageFile.u64(point);
    }
  }
  pointFile.u64(points.length);
  for (const { id, position, color, track } of points) {
    pointFile.u64(id);
    pointFile.f64(...position);
    pointFile.raw(Uint8Array.from(color));
    pointFile.f64(0);
    pointFile.u64(track.length);
    for (const entry of track) pointFile.i32(...entry);
  }
  return { 'cameras.bin': cameraFile.end(), 'images.bin': imageFile.end(), 'points3D.bin': pointFile.end() };
}

/** The model's three text files by name; numbers are written so that reading gives the same bits. */
export function encodeColmapText(
  { cameras, images, points }: ColmapModel,
): Record<'cameras.txt' | 'images.txt' | 'points3D.txt', string> {
  const cameraText = ['# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]'];
  const imageText = ['# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME', '# POINTS2D[] as (X, Y, POINT3D_ID)'];
  const pointText = ['# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)'];
  for (const { id, model, width, height, params } of cameras) {
    cameraText.push([id, model, width, height, ...params].join(' '));
  }
  for (const { id, quaternion, translation, cameraId, name, observations } of images) {
    imageText.push([id, ...quaternion, ...translation, cameraId, name].join(' '));
    imageText.push(observations.map(({ x, y, point }) => `${x} ${y} ${point}`).join(' '));
  }
  for (const { id, position, color, track } of points) {
    pointText.push([id, ...position, ...color, 0, ...track.flat()].join(' '));
  }
  const text = (lines: string[]): string => `${lines.join('\n')}\n`;
  return { 'cameras.txt': text(cameraText), 'images.txt': text(imageText), 'points3D.txt': text(pointText) };
}

/** The format has no points without colour; this stands for one. */
const grey = [128, 128, 128] as const;

function* colmapPoints({ count, positions, colors }: ScenePoints): Generator<ColmapPoint> {
  for (let i = 0; i < count; i++) {
    const at = 3 * i;
    const color = colors ? Array.from(colors.subarray(at, at + 3)) : grey;
    yield { id: i + 1, position: Array.from(positions.subarray(at, at + 3)), color, track: [] };
  }
}

/** The model of a dataset: PINHOLE cameras, one for all views with the same intrinsics; points without tracks. */
function modelOf({ views, points }: Dataset, names: readonly string[]): ColmapModel {
  const cameras = new Map<string, ColmapCamera>();
  const images = views.map(({ camera }, i) => {
    const { width, height, fx, fy, cx, cy, worldToCam: m } = camera;
    const key = [width, height, fx, fy, cx, cy].join(' ');
    const params = [fx, fy, cx, cy];
    const shared = cameras.get(key) ?? { id: cameras.size + 1, model: 'PINHOLE', width, height, params };
    cameras.set(key, shared);
    return {
      id: i + 1, quaternion: quaternionOf([m[0], m[1], m[2], m[4], m[5], m[6], m[8], m[9], m[10]]),
      translation: [m[3], m[7], m[11]], cameraId: shared.id, name: names[i], observations: [],
    };
  });
  const iterator = () => (points ? colmapPoints(points) : [].values());
  const list = { length: points?.count ?? 0, [Symbol.iterator]: iterator };
  return { cameras: [...cameras.values()], images, points: list };
}

export interface WriteColmapOptions extends WriteDatasetOptions {
  /** Which files of the model are written; default 'binary'. */
  readonly files?: 'binary' | 'text' | 'both';
}

/**
 * Writes views and points as a COLMAP dataset: `images/` (8-bit PNG) and `sparse/0/` with PINHOLE cameras. Points have
 * no tracks, as nothing says which view saw them; those without colour become grey. The folder appears whole or not at
 * all.
 * @throws OutputError when the folder is not empty or cannot be written, SceneError, ShapeError, AbortError.
 */
export async function writeColmap(folder: string, dataset: Dataset, options: WriteColmapOptions = {}): Promise<void> {
  const { files = 'binary', signal } = options;
  const names = datasetFileNames(dataset);
  const model = modelOf(dataset, names);
  await writeFolder(folder, async (root) => {
    await writeImages(join(root, 'images'), dataset.views, names, signal);
    const sparse = join(root, 'sparse', '0');
    await mkdir(sparse, { recursive: true });
    const encoded: Record<string, Buffer | string> = {
      ...(files === 'text' ? {} : encodeColmapBinary(model)),
      ...(files === 'binary' ? {} : encodeColmapText(model)),
    };
    for (const [name, data] of Object.entries(encoded)) await writeFile(join(sparse, name), data);
  });
}
