/** COLMAP's binary files (little endian) as pure functions of their bytes. Observations and tracks are stepped over. */
import { SceneError } from '../../binding/errors';
import type { ScenePoints } from '../scene';
import {
  checkedCamera, checkedImage, checkUnique, type ColmapCamera, type ColmapImage, colmapModel,
} from './colmap-model';

/** Bytes of a 2D observation (f64 x, f64 y, i64 point) and of a track entry (two i32). */
const observationBytes = 24;
const trackBytes = 8;
const leastCameraBytes = 24 + 3 * 8;
const leastImageBytes = 4 + 7 * 8 + 4 + 1 + 8;
const pointBytes = 8 + 3 * 8 + 3 + 8 + 8;

/** Little-endian reader that names the file and the record when the bytes end too early. */
class Cursor {
  private at = 0;
  private readonly view: DataView;
  what: string;

  constructor(private readonly bytes: Uint8Array, private readonly file: string) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.what = file;
  }

  private take(count: number): number {
    if (count > this.bytes.length - this.at) {
      throw new SceneError(
        `${this.what}: the file ends after ${this.bytes.length} bytes, where at least ${this.at + count} are needed`,
      );
    }
    this.at += count;
    return this.at - count;
  }

  i32(): number {
    return this.view.getInt32(this.take(4), true);
  }
  u32(): number {
    return this.view.getUint32(this.take(4), true);
  }
  f64(): number {
    return this.view.getFloat64(this.take(8), true);
  }
  u64(): number {
    return Number(this.view.getBigUint64(this.take(8), true));
  }
  u8(): number {
    return this.bytes[this.take(1)];
  }
  skip(count: number): void {
    this.take(count);
  }

  /** A count of records of at least `least` bytes each, held against what is left before memory is taken. */
  count(least: number, records: string): number {
    const count = this.u64();
    const room = this.bytes.length - this.at;
    if (count * least > room) {
      throw new SceneError(
        `${this.what}: claims ${count} ${records} (at least ${count * least} bytes), but only ${room} bytes follow`,
      );
    }
    return count;
  }

  /** UTF-8 text up to a NUL. */
  text(): string {
    const end = this.bytes.indexOf(0, this.at);
    if (end < 0) throw new SceneError(`${this.what}: the image's name has no end`);
    const text = Buffer.from(this.bytes.buffer, this.bytes.byteOffset + this.at, end - this.at).toString('utf8');
    this.at = end + 1;
    return text;
  }

  end(): void {
    if (this.at < this.bytes.length) {
      const rest = this.bytes.length - this.at;
      throw new SceneError(`${this.file}: ${rest} bytes follow the last record; the file is damaged`);
    }
  }
}

const repeat = <T>(count: number, read: (index: number) => T): T[] => Array.from({ length: count }, (_, i) => read(i));

/**
 * Cameras of a `cameras.bin`.
 * @throws SceneError for damaged bytes, unknown models, sizes and parameters that make no sense.
 */
export function parseCamerasBin(bytes: Uint8Array, file: string): ColmapCamera[] {
  const cursor = new Cursor(bytes, file);
  const cameras = repeat(cursor.count(leastCameraBytes, 'cameras'), (i) => {
    cursor.what = `${file}: camera ${i + 1}`;
    const id = cursor.u32();
    const { name, parameters } = colmapModel(cursor.i32(), `${file}: camera id ${id}`);
    const [width, height] = [cursor.u64(), cursor.u64()];
    const params = repeat(parameters.length, () => cursor.f64());
    return checkedCamera({ id, model: name, width, height, params }, `${file}: camera id ${id}`);
  });
  cursor.end();
  checkUnique(cameras, ({ id }) => id, `${file}: camera id`);
  return cameras;
}

/** Images of an `images.bin`, in file order. @throws SceneError for damaged bytes and poses that are none. */
export function parseImagesBin(bytes: Uint8Array, file: string): ColmapImage[] {
  const cursor = new Cursor(bytes, file);
  const images = repeat(cursor.count(leastImageBytes, 'images'), (i) => {
    cursor.what = `${file}: image ${i + 1}`;
    const id = cursor.u32();
    const quaternion = repeat(4, () => cursor.f64());
    const translation = repeat(3, () => cursor.f64());
    const cameraId = cursor.u32();
    const name = cursor.text();
    cursor.what = `${file}: image "${name}"`;
    cursor.skip(cursor.count(observationBytes, 'observations') * observationBytes);
    return checkedImage({ id, quaternion, translation, cameraId, name }, cursor.what);
  });
  cursor.end();
  checkUnique(images, ({ name }) => name, `${file}: image name`);
  return images;
}

/** Points of a `points3D.bin`. @throws SceneError for damaged bytes and coordinates that are not finite. */
export function parsePointsBin(bytes: Uint8Array, file: string): ScenePoints {
  const cursor = new Cursor(bytes, file);
  const count = cursor.count(pointBytes, 'points');
  const positions = new Float32Array(3 * count);
  const colors = new Uint8Array(3 * count);
  for (let i = 0; i < count; i++) {
    cursor.what = file;
    cursor.skip(8);
    for (let k = 0; k < 3; k++) {
      positions[3 * i + k] = cursor.f64();
      if (!Number.isFinite(positions[3 * i + k])) {
        throw new SceneError(`${file}: point ${i + 1} has a coordinate that is no finite 32-bit number`);
      }
    }
    for (let k = 0; k < 3; k++) colors[3 * i + k] = cursor.u8();
    cursor.skip(8);
    cursor.skip(cursor.count(trackBytes, `track entries of point ${i + 1}`) * trackBytes);
  }
  cursor.end();
  return { count, positions, colors };
}
