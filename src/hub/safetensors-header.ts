import * as fs from 'node:fs/promises';
import { WeightsError } from '../binding/errors';

/**
 * Reads the header of a safetensors file and nothing else: 8 bytes little-endian length, that many bytes of JSON, then
 * the data. Every number in the header is untrusted: sizes are computed in BigInt and compared with the file before
 * anything is allocated.
 */

export interface TensorInfo {
  name: string;
  dtype: string;
  shape: number[];
  /** Start and end in the file, counted from its first byte. */
  begin: number;
  end: number;
}

export interface SafetensorsHeader {
  tensors: TensorInfo[];
  metadata: Record<string, string>;
  /** Bytes of the JSON. */
  headerBytes: number;
  fileBytes: number;
}

/** The format's own limit on the JSON. */
export const maxHeaderBytes = 100_000_000;

/** Bits per element of the format's types. */
const dtypeBits: Record<string, number> = {
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  I64: 64,
  U64: 64,
  F64: 64,
  C64: 64,
};

/** @throws WeightsError for a file that cannot be read or breaks the format */
export async function readSafetensorsHeader(file: string): Promise<SafetensorsHeader> {
  let handle: fs.FileHandle;
  try {
    handle = await fs.open(file, 'r');
  } catch (error) {
    throw new WeightsError(`${file}: cannot be opened (${(error as NodeJS.ErrnoException).code})`, { cause: error });
  }
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw new WeightsError(`${file}: expected a file`);
    const prefix = Buffer.alloc(8);
    const { bytesRead } = await handle.read(prefix, 0, 8, 0);
    const length = headerLength(file, prefix.subarray(0, bytesRead), stat.size);
    const json = Buffer.alloc(length);
    let filled = 0;
    while (filled < length) {
      const part = await handle.read(json, filled, length - filled, 8 + filled);
      if (part.bytesRead === 0) throw new WeightsError(`${file}: the file ended inside the header`);
      filled += part.bytesRead;
    }
    return parseSafetensorsHeader(file, json, stat.size);
  } finally {
    await handle.close();
  }
}

function headerLength(file: string, prefix: Uint8Array, fileBytes: number): number {
  if (prefix.length < 8) throw new WeightsError(`${file}: ${prefix.length} bytes are too few for a safetensors file`);
  const length = Buffer.from(prefix).readBigUInt64LE(0);
  if (length > BigInt(maxHeaderBytes)) {
    throw new WeightsError(
      `${file}: the header claims ${length} bytes, the format allows ${maxHeaderBytes}; ` +
        'not a safetensors file, or damaged',
    );
  }
  if (8n + length > BigInt(fileBytes)) {
    throw new WeightsError(
      `${file}: the header claims ${length} bytes, the file has ${fileBytes}; it is truncated, fetch it again`,
    );
  }
  return Number(length);
}

/**
 * Parses and checks the JSON of a header. Offsets must lie in the file, fit dtype and shape, and cover the data without
 * overlap or gap.
 * @param json the header's bytes, without the length prefix
 */
export function parseSafetensorsHeader(file: string, json: Uint8Array, fileBytes: number): SafetensorsHeader {
  const fail = (what: string): never => {
    throw new WeightsError(`${file}: ${what}`);
  };
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(json));
  } catch (error) {
    throw new WeightsError(`${file}: the header is not JSON (${(error as Error).message})`, { cause: error });
  }
  if (!isRecord(parsed)) return fail('the header is not a JSON object');
  const dataStart = 8 + json.length;
  const dataBytes = fileBytes - dataStart;
  const tensors: TensorInfo[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, entry] of Object.entries(parsed)) {
    if (name === '__metadata__') {
      if (!isRecord(entry) || Object.values(entry).some((value) => typeof value !== 'string'))
        fail('__metadata__ must map text to text');
      metadata = entry as Record<string, string>;
      continue;
    }
    if (!isRecord(entry)) return fail(`tensor ${name}: expected {dtype, shape, data_offsets}`);
    const { dtype, shape, data_offsets: offsets } = entry;
    if (typeof dtype !== 'string' || !Object.hasOwn(dtypeBits, dtype))
      return fail(`tensor ${name}: unknown dtype ${JSON.stringify(dtype)}`);
    if (!isCountList(shape)) return fail(`tensor ${name}: shape must list non-negative integers`);
    if (!isCountList(offsets) || offsets.length !== 2)
      return fail(`tensor ${name}: data_offsets must be two non-negative integers`);
    const [begin, end] = offsets;
    if (begin > end || end > dataBytes) {
      fail(
        `tensor ${name}: data_offsets [${begin}, ${end}] leave the file's ${dataBytes} data bytes; is it truncated?`,
      );
    }
    const bits = shape.reduce((product, size) => product * BigInt(size), BigInt(dtypeBits[dtype]));
    if (bits % 8n !== 0n || bits / 8n !== BigInt(end - begin)) {
      fail(
        `tensor ${name}: ${dtype} [${shape.join(', ')}] needs ${(bits + 7n) / 8n} bytes, ` +
          `data_offsets give ${end - begin}`,
      );
    }
    tensors.push({ name, dtype, shape, begin: dataStart + begin, end: dataStart + end });
  }
  let position = dataStart;
  for (const tensor of [...tensors].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (tensor.begin !== position) {
      fail(
        `tensor ${tensor.name}: starts at byte ${tensor.begin}, expected ${position} ` +
          `(tensors ${tensor.begin < position ? 'overlap' : 'leave a gap'})`,
      );
    }
    position = tensor.end;
  }
  if (position !== fileBytes) fail(`${fileBytes - position} bytes after the last tensor belong to none`);
  return { tensors, metadata, headerBytes: json.length, fileBytes };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCountList(value: unknown): value is number[] {
  return Array.isArray(value) && value.length <= 64 && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}
