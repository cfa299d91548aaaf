/** Splat files: reading (recognised by content) and writing (by ending, whole or not at all). */
import { randomBytes } from 'node:crypto';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { extname } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { AbortError, ConfigError, OutputError, SceneError, ShapeError } from '../../../binding/errors';
import { restCoefficients, type GaussianCloud } from '../cloud';
import { decodeBytes, maxFileBytes, type DecodedSplats, type Decoder } from './decoder';
import { encodePlyPieces, readPly } from './ply';
import { isPly } from './ply-header';
import { encodeSplatPieces, readSplat, splatBytes } from './splat';
import { packSpz, readSpz } from './spz';

export type { DecodedSplats } from './decoder';
export { decodePly, encodePly } from './ply';
export { decodeSplat, encodeSplat } from './splat';
export { decodeSpz, encodeSpz } from './spz';

export const splatFormats = ['ply', 'spz', 'splat'] as const;
/** Formats that are written. */
export type SplatFormat = (typeof splatFormats)[number];

/** read(2) takes at most 2 GiB at once. */
const readBytes = 1 << 30;

/** The reader for a file of `size` bytes that begins with `head` (its first 8 bytes or all of it). */
function readerOf(head: Uint8Array, size: number, name: string): Decoder {
  if (isPly(head)) return readPly(size, name);
  const [a, b, c, d] = head;
  const text = String.fromCharCode(a, b, c, d);
  if ((a === 0x1f && b === 0x8b) || text === 'NGSP') return readSpz(size, name);
  if (text.startsWith('PK')) {
    throw new SceneError(`${name}: a zip archive (.sog?) is no splat file that can be read; convert it to .ply or .spz`);
  }
  if (text === 'glTF') throw new SceneError(`${name}: glTF splats cannot be read; convert them to .ply or .spz`);
  if (size > 0 && size % splatBytes === 0) return readSplat(size, name);
  throw new SceneError(
    `${name}: not a splat file; expected PLY ("ply"), SPZ (gzip or "NGSP") or .splat (a multiple of ${splatBytes} bytes), ` +
      `got ${size} bytes beginning ${Buffer.from(head).toString('hex') || 'nowhere'}`,
  );
}

/** Decodes a splat file in memory, recognised by its content. @throws SceneError; `name` begins its messages */
export function decodeSplats(bytes: Uint8Array, name: string): DecodedSplats {
  return decodeBytes(readerOf(bytes.subarray(0, 8), bytes.length, name), bytes);
}

/**
 * Reads a splat file: PLY (any column order, compressed), SPZ 1–4 or .splat, recognised by content.
 * PLY and .splat are read in pieces, so that beyond the cloud only megabytes are held; SPZ holds its file and its attributes.
 * @throws SceneError naming the file, and where it applies the splat and the property; AbortError
 */
export async function readSplats(path: string, options: { signal?: AbortSignal } = {}): Promise<DecodedSplats> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (error) {
    throw new SceneError(`${path}: cannot be read (${(error as Error).message})`, { cause: error });
  }
  try {
    const info = await file.stat();
    if (!info.isFile()) throw new SceneError(`${path}: is no file`);
    if (info.size > maxFileBytes) {
      throw new SceneError(`${path}: ${info.size} bytes is over the limit of ${maxFileBytes} bytes`);
    }
    const head = await readRange(file, 0, Math.min(8, info.size), path, options.signal);
    const decoder = readerOf(head, info.size, path);
    let step = decoder.next();
    while (!step.done) {
      step = decoder.next(await readRange(file, step.value.at, step.value.length, path, options.signal));
    }
    return step.value;
  } finally {
    await file.close();
  }
}

async function readRange(
  file: FileHandle,
  at: number,
  length: number,
  path: string,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  try {
    const bytes = Buffer.allocUnsafe(length);
    for (let done = 0; done < length; ) {
      if (signal?.aborted) throw new AbortError();
      const { bytesRead } = await file.read(bytes, done, Math.min(length - done, readBytes), at + done);
      if (bytesRead === 0) throw new SceneError(`${path}: became shorter while it was read`);
      done += bytesRead;
    }
    return bytes;
  } catch (error) {
    if (error instanceof SceneError || error instanceof AbortError) throw error;
    throw new SceneError(`${path}: cannot be read (${(error as Error).message})`, { cause: error });
  }
}

/** The format a path's ending names. @throws ConfigError for another ending */
export function splatFormatOf(path: string): SplatFormat {
  const ending = extname(path).slice(1).toLowerCase();
  const format = splatFormats.find((f) => f === ending);
  if (!format) throw new ConfigError(`${path}: splats are written as .ply, .spz or .splat, not "${extname(path)}"`);
  return format;
}

/**
 * Writes a cloud as the ending (or `format`) says: PLY exact, SPZ version 3, .splat by falling importance. The file appears
 * whole or not at all; its folder must exist.
 * @returns what the format could not keep, in words for the user
 * @throws SceneError for values that are not finite, ShapeError for a cloud whose arrays do not fit, OutputError, ConfigError
 */
export async function writeSplats(
  path: string,
  cloud: GaussianCloud,
  options: { format?: SplatFormat } = {},
): Promise<{ warnings: string[] }> {
  checkShapes(cloud);
  const format = options.format ?? splatFormatOf(path);
  const warnings: string[] = [];
  if (format === 'ply') {
    await writePieces(path, encodePlyPieces(cloud, path));
  } else if (format === 'splat') {
    if (cloud.shDegree > 0) {
      warnings.push(`.splat has no view-dependent colour: harmonics of degree 1 to ${cloud.shDegree} were left out`);
    }
    await writePieces(path, encodeSplatPieces(cloud, path));
  } else {
    const { body, clamped } = packSpz(cloud, path);
    if (clamped > 0) warnings.push(`${clamped} splats have values beyond the ranges of SPZ; brought to their ends`);
    await writePieces(path, [await promisify(gzip)(body)]);
  }
  return { warnings };
}

function checkShapes(cloud: GaussianCloud): void {
  const { count } = cloud;
  const lengths = {
    means: 3 * count, quats: 4 * count, logScales: 3 * count, opacityLogits: count, sh0: 3 * count,
    shRest: 3 * restCoefficients(cloud.shDegree) * count,
  };
  for (const [field, length] of Object.entries(lengths)) {
    const found = cloud[field as keyof typeof lengths].length;
    if (found !== length) {
      throw new ShapeError(`Gaussians: ${count} of degree ${cloud.shDegree} need ${length} values in ${field}, got ${found}`);
    }
  }
}

/** Writes beside the target, flushes, renames. */
async function writePieces(path: string, pieces: Iterable<Uint8Array>): Promise<void> {
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`;
  try {
    const file = await open(temporary, 'wx');
    try {
      // writeFile goes on until every byte of the piece is out, where write may stop short.
      for (const piece of pieces) await file.writeFile(piece);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    if (error instanceof SceneError) throw error;
    throw new OutputError(`cannot write ${path}: ${(error as Error).message}`, { cause: error });
  }
}
