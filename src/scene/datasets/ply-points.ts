/** Point clouds from PLY files (ascii or binary little endian): x, y, z and, where present, 8-bit red, green, blue. */
import { readFile, stat } from 'node:fs/promises';
import { SceneError } from '../../binding/errors';
import type { ScenePoints } from '../scene';

const maxFileBytes = 1 << 30;
const maxPoints = 20_000_000;
const maxHeaderBytes = 1 << 16;

type Reader = (view: DataView, at: number) => number;
interface Property {
  readonly name: string;
  readonly bytes: number;
  readonly offset: number;
  readonly read: Reader;
}

const int8: [number, Reader] = [1, (v, at) => v.getInt8(at)];
const uint8: [number, Reader] = [1, (v, at) => v.getUint8(at)];
const int16: [number, Reader] = [2, (v, at) => v.getInt16(at, true)];
const uint16: [number, Reader] = [2, (v, at) => v.getUint16(at, true)];
const int32: [number, Reader] = [4, (v, at) => v.getInt32(at, true)];
const uint32: [number, Reader] = [4, (v, at) => v.getUint32(at, true)];
const float32: [number, Reader] = [4, (v, at) => v.getFloat32(at, true)];
const float64: [number, Reader] = [8, (v, at) => v.getFloat64(at, true)];
const types: ReadonlyMap<string, [number, Reader]> = new Map([
  ['char', int8], ['int8', int8], ['uchar', uint8], ['uint8', uint8], ['short', int16], ['int16', int16],
  ['ushort', uint16], ['uint16', uint16], ['int', int32], ['int32', int32], ['uint', uint32], ['uint32', uint32],
  ['float', float32], ['float32', float32], ['double', float64], ['float64', float64],
]);

interface Header {
  readonly ascii: boolean;
  readonly count: number;
  readonly stride: number;
  readonly properties: readonly Property[];
  readonly bodyAt: number;
  readonly lines: number;
}

function parseHeader(bytes: Buffer, file: string): Header {
  const text = bytes.toString('latin1', 0, Math.min(bytes.length, maxHeaderBytes));
  const end = /^end_header\r?\n/m.exec(text);
  if (!/^ply\r?\n/.test(text)) throw new SceneError(`${file}: not a PLY file (it does not begin with "ply")`);
  if (!end) throw new SceneError(`${file}: the PLY header has no end_header line in its first ${maxHeaderBytes} bytes`);
  const lines = text.slice(0, end.index).split(/\r?\n/);
  const properties: Property[] = [];
  let format = '';
  let element = '';
  let count = -1;
  let stride = 0;
  lines.forEach((line, index) => {
    const fail = (why: string): never => {
      throw new SceneError(`${file}:${index + 1}: ${why}`);
    };
    const words = line.trim().split(/\s+/);
    if (words[0] === 'format') format = words[1] ?? '';
    if (words[0] === 'element') {
      element = words[1] ?? '';
      if (element === 'vertex') {
        if (!/^\d{1,12}$/.test(words[2] ?? '')) fail(`vertex count "${words[2]}" is not a whole number`);
        count = Number(words[2]);
      } else if (count < 0) {
        fail(`element "${element}" stands before the vertices; only files that begin with vertices are read`);
      }
    }
    if (words[0] === 'property' && element === 'vertex') {
      const type = types.get(words[1]);
      if (!type) return fail(`vertex property type "${words[1]}" is not supported`);
      properties.push({ name: words[2], bytes: type[0], offset: stride, read: type[1] });
      stride += type[0];
    }
  });
  if (format !== 'ascii' && format !== 'binary_little_endian') {
    throw new SceneError(`${file}: PLY format "${format}" is not supported; write ascii or binary_little_endian`);
  }
  if (count < 0) throw new SceneError(`${file}: the PLY header names no vertex element`);
  if (count > maxPoints) throw new SceneError(`${file}: ${count} points is over the limit of ${maxPoints}`);
  for (const name of ['x', 'y', 'z']) {
    if (!properties.some((p) => p.name === name)) {
      throw new SceneError(`${file}: the vertices have no property "${name}"`);
    }
  }
  return {
    ascii: format === 'ascii', count, stride, properties,
    bodyAt: end.index + end[0].length, lines: lines.length,
  };
}

/**
 * Reads a point cloud.
 * @throws SceneError for a broken, truncated or unsupported file, and for coordinates that are not finite. Counts are
 *   held against the file's size before memory is taken.
 */
export async function readPointsPly(file: string): Promise<ScenePoints> {
  let bytes: Buffer;
  try {
    const { size } = await stat(file);
    if (size > maxFileBytes) throw new SceneError(`${file}: ${size} bytes is over the limit of ${maxFileBytes} bytes`);
    bytes = await readFile(file);
  } catch (error) {
    if (error instanceof SceneError) throw error;
    throw new SceneError(`${file}: cannot be read (${(error as Error).message})`, { cause: error });
  }
  const header = parseHeader(bytes, file);
  const { count, properties, stride, bodyAt } = header;
  const room = bytes.length - bodyAt;
  const least = header.ascii ? count * properties.length * 2 - 1 : count * stride;
  if (room < least) {
    throw new SceneError(
      `${file}: the header claims ${count} points (at least ${least} bytes), but only ${room} bytes follow`,
    );
  }
  const find = (name: string): number => properties.findIndex((p) => p.name === name);
  const xyz = ['x', 'y', 'z'].map(find);
  const rgb = ['red', 'green', 'blue'].map(find);
  const colored = rgb.every((i) => i >= 0 && properties[i].bytes === 1);
  const positions = new Float32Array(3 * count);
  const colors = colored ? new Uint8Array(3 * count) : undefined;
  const put = (index: number, valueOf: (property: number) => number): void => {
    for (let k = 0; k < 3; k++) {
      const x = valueOf(xyz[k]);
      if (!Number.isFinite(x)) {
        throw new SceneError(`${file}: point ${index} has ${'xyz'[k]} = ${x}, expected a finite number`);
      }
      positions[3 * index + k] = x;
      if (colors) colors[3 * index + k] = valueOf(rgb[k]);
    }
  };
  if (header.ascii) {
    let at = bodyAt;
    for (let i = 0; i < count; i++) {
      const newline = bytes.indexOf(10, at);
      const words = bytes.toString('latin1', at, newline < 0 ? bytes.length : newline).trim().split(/\s+/);
      if (words.length < properties.length) {
        throw new SceneError(
          `${file}:${header.lines + 1 + i}: expected ${properties.length} numbers, got "${words.join(' ')}"`,
        );
      }
      put(i, (p) => Number(words[p]));
      at = newline < 0 ? bytes.length : newline + 1;
    }
  } else {
    const body = new DataView(bytes.buffer, bytes.byteOffset + bodyAt, room);
    for (let i = 0; i < count; i++) put(i, (p) => properties[p].read(body, i * stride + properties[p].offset));
  }
  return { count, positions, colors };
}
