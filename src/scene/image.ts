/**
 * RGB images as float32 planes, and reading and writing them. Values are display-referred sRGB in [0, 1]; nothing is
 * linearised. Files are checked from their headers before a pixel is decoded.
 */
import { open, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import sharp from 'sharp';
import { AbortError, OutputError, SceneError, ShapeError } from '../binding/errors';
import type { Rect } from './cameras';

// Every picture is decoded once: libvips' cache would only hold memory.
sharp.cache(false);

export interface Image {
  readonly width: number;
  readonly height: number;
  /** [3, height, width] row-major, RGB in [0, 1]. */
  readonly data: Float32Array;
}

export interface ReadImageOptions {
  /** Longest allowed side in pixels; default 16384. */
  maxSide?: number;
  /** Largest allowed pixel count; default 100 million. */
  maxPixels?: number;
  signal?: AbortSignal;
}

const defaultMaxSide = 16384;
const defaultMaxPixels = 100e6;
/** A file larger than this is no photograph within the pixel limits; refusing it keeps memory bounded. */
const maxFileBytes = 512 * 2 ** 20;

/** A black image. */
export function createImage(width: number, height: number): Image {
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    throw new ShapeError(`image: expected whole positive sides, got ${width}x${height}`);
  }
  return { width, height, data: new Float32Array(3 * width * height) };
}

/** Throws AbortError when the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortError();
}

/** File kind from the first bytes; the name's ending is not trusted. */
function sniff(head: Buffer): 'jpeg' | 'png' | 'webp' | 'tiff' | undefined {
  if (head.length >= 3 && head[0] === 0xff && head[1] === 0xd8 && head[2] === 0xff) return 'jpeg';
  if (head.length >= 8 && head.toString('latin1', 0, 8) === '\x89PNG\r\n\x1a\n') return 'png';
  if (head.toString('latin1', 0, 4) === 'RIFF' && head.toString('latin1', 8, 12) === 'WEBP') return 'webp';
  if (['II*\0', 'MM\0*', 'II+\0', 'MM\0+'].includes(head.toString('latin1', 0, 4))) return 'tiff';
  return undefined;
}

async function readHead(path: string): Promise<{ head: Buffer; bytes: number }> {
  try {
    const info = await stat(path);
    if (!info.isFile()) throw new SceneError(`image ${path}: not a file`);
    const file = await open(path, 'r');
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(32), 0, 32, 0);
      return { head: buffer.subarray(0, bytesRead), bytes: info.size };
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof SceneError) throw error;
    throw new SceneError(`image ${path}: cannot be read (${(error as Error).message})`, { cause: error });
  }
}

function checkSize(path: string, width: number, height: number, options: ReadImageOptions): void {
  const maxSide = options.maxSide ?? defaultMaxSide;
  const maxPixels = options.maxPixels ?? defaultMaxPixels;
  if (!(width >= 1 && height >= 1)) throw new SceneError(`image ${path}: its header says ${width}x${height} pixels`);
  if (width > maxSide || height > maxSide || width * height > maxPixels) {
    throw new SceneError(
      `image ${path}: ${width}x${height} pixels (${((width * height) / 1e6).toFixed(1)} megapixels) is over the ` +
        `limit of ${maxSide} per side and ${(maxPixels / 1e6).toFixed(1)} megapixels; resize the file first`,
    );
  }
}

/**
 * Width and height of an image file from its header (EXIF orientation applied); decodes nothing.
 * @throws SceneError when the file is no JPEG, PNG, WebP or TIFF, or over the limits.
 */
export async function readImageSize(
  path: string, options: ReadImageOptions = {},
): Promise<{ width: number; height: number }> {
  throwIfAborted(options.signal);
  const { head, bytes } = await readHead(path);
  const kind = sniff(head);
  if (!kind) throw new SceneError(`image ${path}: not a JPEG, PNG, WebP or TIFF file (${bytes} bytes)`);
  if (bytes > maxFileBytes) {
    throw new SceneError(
      `image ${path}: ${bytes} bytes is over the limit of ${maxFileBytes} bytes; resize the file first`,
    );
  }
  // The decoder may reject a damaged PNG with an unclear message; the size in its first chunk is checked before that.
  if (kind === 'png' && head.length >= 24) checkSize(path, head.readUInt32BE(16), head.readUInt32BE(20), options);
  try {
    const { width, height, orientation } = await sharp(path, { limitInputPixels: false }).metadata();
    checkSize(path, width, height, options);
    return (orientation ?? 1) >= 5 ? { width: height, height: width } : { width, height };
  } catch (error) {
    if (error instanceof SceneError) throw error;
    throw new SceneError(`image ${path}: damaged ${kind} file (${(error as Error).message})`, { cause: error });
  }
}

/**
 * Reads a JPEG, PNG, WebP or TIFF file as 8-bit sRGB. EXIF orientation is applied, transparency is composited on white.
 * @throws SceneError when the file is missing, of another kind, damaged, or over the limits (checked before decoding).
 */
export async function readImage(path: string, options: ReadImageOptions = {}): Promise<Image> {
  const { width, height } = await readImageSize(path, options);
  try {
    return await decode(path, width * height);
  } catch (error) {
    throw new SceneError(`image ${path}: damaged file (${(error as Error).message})`, { cause: error });
  } finally {
    throwIfAborted(options.signal);
  }
}

async function decode(input: string | Uint8Array, pixels: number): Promise<Image> {
  const { data, info } = await sharp(input, { limitInputPixels: pixels, failOn: 'error' })
    .autoOrient()
    .flatten({ background: '#ffffff' })
    .toColourspace('srgb')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true });
  return fromBytes(data, info.width, info.height, info.channels);
}

/**
 * The same numbers as their bits. Code that only moves floats moves these instead: until a loop is compiled, every
 * float that it touches is an object on the heap, and a picture has millions; small integers are none.
 */
export function bitsOf(data: Float32Array): Int32Array {
  return new Int32Array(data.buffer, data.byteOffset, data.length);
}

/** Bits of the f32 nearest to byte / 255. */
const unitBits = bitsOf(Float32Array.from({ length: 256 }, (_, byte) => byte / 255));

/** Interleaved 8-bit pixels [height, width, channels] (1 or 3 channels, more are ignored) to an image. */
export function fromBytes(bytes: Uint8Array, width: number, height: number, channels: number): Image {
  const plane = width * height;
  if (bytes.length !== plane * channels) {
    throw new ShapeError(
      `image: expected ${plane * channels} bytes for ${width}x${height}x${channels}, got ${bytes.length}`,
    );
  }
  const image = createImage(width, height);
  const bits = bitsOf(image.data);
  for (let c = 0; c < 3; c++) fillPlane(bits, c * plane, plane, bytes, channels >= 3 ? c : 0, channels);
  return image;
}

/** Loops over pictures stand in functions of arrays and numbers alone: those stay compiled when objects come and go. */
function fillPlane(
  bits: Int32Array, at: number, count: number, bytes: Uint8Array, from: number, stride: number,
): void {
  for (let p = 0; p < count; p++) bits[at + p] = unitBits[bytes[p * stride + from]];
}

/** Image to interleaved 8-bit RGB [height, width, 3]: clamp to [0, 1], times 255, round half up. */
export function toBytes(image: Image): Buffer {
  const plane = image.width * image.height;
  if (image.data.length !== 3 * plane) {
    throw new ShapeError(
      `image: expected ${3 * plane} values for ${image.width}x${image.height}, got ${image.data.length}`,
    );
  }
  const bytes = Buffer.allocUnsafe(3 * plane);
  for (let c = 0; c < 3; c++) {
    const p = quantizePlane(image.data, c * plane, plane, bytes, c);
    if (p < plane) throw new ShapeError(`image: channel ${c}, pixel ${p} is NaN; expected values in [0, 1]`);
  }
  return bytes;
}

/** Writes every third byte; returns the number of values before the first NaN. */
function quantizePlane(data: Float32Array, at: number, count: number, bytes: Uint8Array, channel: number): number {
  const { min, max, floor } = Math;
  for (let p = 0; p < count; p++) {
    const x = data[at + p];
    if (x !== x) return p;
    bytes[3 * p + channel] = floor(min(max(x, 0), 1) * 255 + 0.5);
  }
  return count;
}

/** PNG file content (8-bit RGB); equal images give equal bytes. */
export async function encodePng(image: Image): Promise<Buffer> {
  const { width, height } = image;
  return sharp(toBytes(image), { raw: { width, height, channels: 3 }, limitInputPixels: false })
    .png({ compressionLevel: 6, adaptiveFiltering: false })
    .toBuffer();
}

/** PNG, JPEG, WebP or TIFF file content in memory to an image, under the same rules and limits as `readImage`. */
export async function decodeImage(bytes: Uint8Array, options: ReadImageOptions = {}): Promise<Image> {
  if (!sniff(Buffer.from(bytes.subarray(0, 32)))) {
    throw new SceneError('image: the bytes are no JPEG, PNG, WebP or TIFF');
  }
  try {
    const { width, height } = await sharp(bytes, { limitInputPixels: false }).metadata();
    checkSize('in memory', width, height, options);
    return await decode(bytes, width * height);
  } catch (error) {
    if (error instanceof SceneError) throw error;
    throw new SceneError(`image in memory: damaged (${(error as Error).message})`, { cause: error });
  }
}

let temporaryCount = 0;

/**
 * Writes a PNG file so that it is either whole or absent: a temporary file beside it, then a rename.
 * @throws OutputError when the folder is missing or not writable.
 */
export async function writePng(path: string, image: Image): Promise<void> {
  const bytes = await encodePng(image);
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.${temporaryCount++}.tmp`);
  try {
    await writeFile(temporary, bytes, { flag: 'wx' });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw new OutputError(`cannot write ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** A whole-pixel window: a copy, or the image itself where the window is all of it. */
export function cropImage(image: Image, rect: Rect): Image {
  const { left, top, width, height } = rect;
  const inside = left >= 0 && top >= 0 && left + width <= image.width && top + height <= image.height;
  if (!Number.isInteger(left) || !Number.isInteger(top) || !inside) {
    throw new ShapeError(
      `crop ${width}x${height} at (${left}, ${top}) does not lie inside the ${image.width}x${image.height} image`,
    );
  }
  if (width === image.width && height === image.height) return image;
  const out = createImage(width, height);
  pasteRows(image, left, top, out, 0, 0, width, height);
  return out;
}

/** Copies a width x height window of `from` at (x, y) into `to` at (toX, toY); both windows must lie inside. */
export function pasteRows(
  from: Image, x: number, y: number, to: Image, toX: number, toY: number, width: number, height: number,
): void {
  const [source, target] = [bitsOf(from.data), bitsOf(to.data)];
  for (let c = 0; c < 3; c++) {
    for (let j = 0; j < height; j++) {
      const at = (c * from.height + y + j) * from.width + x;
      const toAt = (c * to.height + toY + j) * to.width + toX;
      copyBits(source, at, target, toAt, width);
    }
  }
}

function copyBits(from: Int32Array, at: number, to: Int32Array, toAt: number, count: number): void {
  for (let i = 0; i < count; i++) to[toAt + i] = from[at + i];
}
