/**
 * Containers of SPZ files: one gzip stream (versions 1–3) or a plain header with one zstd stream per attribute (version 4).
 * Memory is taken only for what the header's count implies, and only where the compressed bytes can hold that much.
 */
import { gunzipSync, constants } from 'node:zlib';
import { decompress } from 'fzstd';
import { SceneError } from '../../../binding/errors';
import { maxSplats, viewOf } from './decoder';

export const spzMagic = 0x5053474e;
export const spzFlagAntialiased = 1;
const flagExtensions = 2;
/** Coefficients per channel beyond the zeroth. */
const restOfDegree = [0, 3, 8, 15, 24];
/** Compressed bytes inflated to see the header, which is the first 16 bytes of the stream. */
const headerProbeBytes = 4096;
/** Deflate cannot shrink data by more than this factor. */
const deflateRatio = 1032;
/** A zstd block of 4 bytes yields 128 KiB at most. */
const zstdRatio = 32768;
const zstdBlockBytes = 1 << 17;
/** Room for vendor records behind the attributes of versions 2 and 3. */
const extensionBytes = 1 << 20;

/** Attributes in the order of the file. */
export interface SpzBlocks {
  readonly version: number;
  readonly count: number;
  readonly shDegree: number;
  readonly fractionalBits: number;
  readonly flags: number;
  readonly positions: Uint8Array;
  readonly alphas: Uint8Array;
  readonly colours: Uint8Array;
  readonly scales: Uint8Array;
  readonly rotations: Uint8Array;
  readonly harmonics: Uint8Array;
}

interface SpzHeader {
  readonly version: number;
  readonly count: number;
  readonly shDegree: number;
  readonly fractionalBits: number;
  readonly flags: number;
}

/** Opens a file that begins with the gzip magic or with "NGSP". */
export function openSpz(bytes: Uint8Array, name: string): SpzBlocks {
  if (bytes[0] !== 0x1f) {
    const header = parseHeader(bytes, name);
    return header.version >= 4 ? openStreams(bytes, header, name) : split(header, bytes.subarray(16), name);
  }
  const probe = gunzip(bytes.subarray(0, headerProbeBytes), {
    finishFlush: constants.Z_SYNC_FLUSH,
    maxOutputLength: headerProbeBytes * deflateRatio,
  }, name);
  const header = parseHeader(probe, name);
  if (header.version > 3) throw new SceneError(`${name}: SPZ version ${header.version} inside gzip, expected 1, 2 or 3`);
  const expected = 16 + sizesOf(header).reduce((a, b) => a + b, 0);
  if (expected > bytes.length * deflateRatio + zstdBlockBytes) {
    throw new SceneError(
      `${name}: the header claims ${header.count} splats (${expected} bytes), more than ${bytes.length} bytes of gzip can hold`,
    );
  }
  const most = expected + ((header.flags & flagExtensions) !== 0 ? extensionBytes : 0);
  const body = gunzip(bytes, { maxOutputLength: most, chunkSize: Math.min(Math.max(most, 1024), 1 << 20) }, name);
  return split(header, body.subarray(16), name);
}

function gunzip(bytes: Uint8Array, options: object, name: string): Uint8Array {
  try {
    return gunzipSync(bytes, options);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'ERR_BUFFER_TOO_LARGE' ? 'it holds more than its header says' : (error as Error).message;
    throw new SceneError(`${name}: damaged SPZ, its gzip stream cannot be read (${why})`, { cause: error });
  }
}

function parseHeader(bytes: Uint8Array, name: string): SpzHeader {
  if (bytes.length < 16) throw new SceneError(`${name}: damaged SPZ, ${bytes.length} bytes do not hold its header`);
  const view = viewOf(bytes);
  const magic = view.getUint32(0, true);
  if (magic !== spzMagic) {
    throw new SceneError(`${name}: not an SPZ file (it begins with 0x${magic.toString(16)}, expected 0x5053474e)`);
  }
  const header = {
    version: view.getUint32(4, true),
    count: view.getUint32(8, true),
    shDegree: bytes[12],
    fractionalBits: bytes[13],
    flags: bytes[14],
  };
  if (header.version < 1 || header.version > 4) {
    throw new SceneError(`${name}: SPZ version ${header.version} is not supported, expected 1 to 4`);
  }
  if (header.count > maxSplats) {
    throw new SceneError(`${name}: ${header.count} splats is over the limit of ${maxSplats}`);
  }
  if (header.shDegree > 4) throw new SceneError(`${name}: harmonics of degree ${header.shDegree}, expected 0 to 4`);
  if (header.fractionalBits > 23) {
    throw new SceneError(`${name}: positions with ${header.fractionalBits} fractional bits, expected 0 to 23`);
  }
  return header;
}

/** Bytes of every attribute. Version 1 holds positions as half floats; version 3 spends a fourth byte on rotations. */
function sizesOf({ version, count, shDegree }: SpzHeader): number[] {
  const widths = [version === 1 ? 6 : 9, 1, 3, 3, version >= 3 ? 4 : 3, 3 * restOfDegree[shDegree]];
  return widths.map((width) => width * count);
}

function split(header: SpzHeader, body: Uint8Array, name: string): SpzBlocks {
  const sizes = sizesOf(header);
  const expected = sizes.reduce((a, b) => a + b, 0);
  if (body.length < expected) {
    throw new SceneError(
      `${name}: the header claims ${header.count} splats of degree ${header.shDegree} (${expected} bytes), ` +
        `but only ${body.length} bytes follow`,
    );
  }
  let at = 0;
  return blocks(header, sizes.map((size) => body.subarray(at, (at += size))));
}

function blocks(header: SpzHeader, parts: readonly Uint8Array[]): SpzBlocks {
  const [positions, alphas, colours, scales, rotations, harmonics] = parts;
  return { ...header, positions, alphas, colours, scales, rotations, harmonics: harmonics ?? new Uint8Array(0) };
}

/** Version 4: header of 32 bytes, table of (compressed, raw) sizes, then the streams back to back. */
function openStreams(bytes: Uint8Array, header: SpzHeader, name: string): SpzBlocks {
  const fail = (why: string): never => {
    throw new SceneError(`${name}: damaged SPZ version 4, ${why}`);
  };
  if (bytes.length < 32) fail(`${bytes.length} bytes do not hold its header`);
  const view = viewOf(bytes);
  const streams = bytes[15];
  const table = view.getUint32(16, true);
  const sizes = sizesOf(header).slice(0, header.shDegree === 0 ? 5 : 6);
  // A degree of 0 may still list an empty sixth stream.
  if (streams !== sizes.length && !(sizes.length === 5 && streams === 6)) {
    fail(`it has ${streams} streams, expected ${sizes.length}`);
  }
  if (table < 32 || table + 16 * streams > bytes.length) fail(`its table at byte ${table} lies outside the file`);
  let at = table + 16 * streams;
  const parts = sizes.map((size, k) => {
    const compressed = Number(view.getBigUint64(table + 16 * k, true));
    const raw = Number(view.getBigUint64(table + 16 * k + 8, true));
    if (raw !== size) fail(`stream ${k} holds ${raw} bytes, ${header.count} splats need ${size}`);
    if (at + compressed > bytes.length) {
      fail(`stream ${k} claims ${compressed} bytes, but only ${bytes.length - at} follow`);
    }
    if (raw > compressed * zstdRatio) fail(`stream ${k} claims ${raw} bytes from ${compressed} compressed ones`);
    return unzstd(bytes.subarray(at, (at += compressed)), raw, `${name}: damaged SPZ version 4, stream ${k}`);
  });
  return blocks(header, parts);
}

function unzstd(stream: Uint8Array, raw: number, what: string): Uint8Array {
  const said = frameContentBytes(stream);
  if (said !== undefined && said !== raw) throw new SceneError(`${what} holds ${said} bytes, expected ${raw}`);
  let out: Uint8Array;
  try {
    // The buffer bounds what is written, whatever window the frame asks for.
    out = decompress(stream, new Uint8Array(raw));
  } catch (error) {
    throw new SceneError(`${what} cannot be decompressed (${(error as Error).message})`, { cause: error });
  }
  if (out.length !== raw) throw new SceneError(`${what} holds ${out.length} bytes, expected ${raw}`);
  return out;
}

/** Content size in the header of a zstd frame (RFC 8878 3.1.1.1), where it has one. */
function frameContentBytes(stream: Uint8Array): number | undefined {
  if (stream.length < 6 || viewOf(stream).getUint32(0, true) !== 0xfd2fb528) return undefined;
  const descriptor = stream[4];
  const single = (descriptor >> 5) & 1;
  const width = [single, 2, 4, 8][descriptor >> 6];
  const at = 6 - single + [0, 1, 2, 4][descriptor & 3];
  if (width === 0 || stream.length < at + width) return undefined;
  let value = width === 2 ? 256 : 0;
  for (let k = 0; k < width; k++) value += stream[at + k] * 256 ** k;
  return value;
}
