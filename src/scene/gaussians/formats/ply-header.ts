/** Headers of PLY files: elements, their properties and where the values lie. Shared by point clouds and splats. */
import { SceneError } from '../../../binding/errors';

export const maxPlyHeaderBytes = 1 << 16;
const maxElements = 64;
const maxProperties = 1024;

export type PlyScalar = 'int8' | 'uint8' | 'int16' | 'uint16' | 'int32' | 'uint32' | 'float32' | 'float64';
export type PlyReader = (view: DataView, at: number) => number;

const scalars: Readonly<Record<PlyScalar, { readonly bytes: number; readonly read: PlyReader }>> = {
  int8: { bytes: 1, read: (v, at) => v.getInt8(at) },
  uint8: { bytes: 1, read: (v, at) => v.getUint8(at) },
  int16: { bytes: 2, read: (v, at) => v.getInt16(at, true) },
  uint16: { bytes: 2, read: (v, at) => v.getUint16(at, true) },
  int32: { bytes: 4, read: (v, at) => v.getInt32(at, true) },
  uint32: { bytes: 4, read: (v, at) => v.getUint32(at, true) },
  float32: { bytes: 4, read: (v, at) => v.getFloat32(at, true) },
  float64: { bytes: 8, read: (v, at) => v.getFloat64(at, true) },
};

const scalarOfWord: ReadonlyMap<string, PlyScalar> = new Map<string, PlyScalar>([
  ...Object.keys(scalars).map((word): [string, PlyScalar] => [word, word as PlyScalar]),
  ['char', 'int8'], ['uchar', 'uint8'], ['short', 'int16'], ['ushort', 'uint16'], ['int', 'int32'], ['uint', 'uint32'],
  ['float', 'float32'], ['double', 'float64'],
]);

export interface PlyProperty {
  readonly name: string;
  readonly type: PlyScalar;
  readonly bytes: number;
  /** Bytes from the start of the row; little endian. */
  readonly offset: number;
  readonly read: PlyReader;
}

export interface PlyElement {
  readonly name: string;
  readonly count: number;
  readonly properties: readonly PlyProperty[];
  /** Bytes of a binary row. */
  readonly stride: number;
  /** Why the element cannot be read, beginning with its line (lists, unknown types); it may still be skipped at the end. */
  readonly unreadable?: string;
}

export interface PlyHeader {
  readonly ascii: boolean;
  readonly elements: readonly PlyElement[];
  readonly comments: readonly string[];
  /** Bytes of the header. */
  readonly bodyAt: number;
  /** Lines of the header, the one of end_header included. */
  readonly lines: number;
}

/** Whether bytes begin as a PLY file does. */
export function isPly(bytes: Uint8Array): boolean {
  return /^ply\r?\n/.test(Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 8)).toString('latin1'));
}

interface OpenElement {
  name: string;
  count: number;
  properties: PlyProperty[];
  stride: number;
  unreadable?: string;
}

/**
 * Reads the header at the start of `bytes` (the file's first `maxPlyHeaderBytes` bytes or all of it). LF and CRLF.
 * @throws SceneError naming the file and the line
 */
export function parsePlyHeader(bytes: Uint8Array, file: string): PlyHeader {
  const { length } = bytes;
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(length, maxPlyHeaderBytes)).toString('latin1');
  const end = /^end_header\r?\n/m.exec(text);
  if (!/^ply\r?\n/.test(text)) throw new SceneError(`${file}: not a PLY file (it does not begin with "ply")`);
  if (!end) {
    throw new SceneError(`${file}: the PLY header has no end_header line in its first ${maxPlyHeaderBytes} bytes`);
  }
  const lines = text.slice(0, end.index).split(/\r?\n/);
  const elements: OpenElement[] = [];
  const comments: string[] = [];
  let format = '';
  lines.forEach((line, index) => {
    const where = `${file}:${index + 1}`;
    const words = line.trim().split(/\s+/);
    if (words[0] === 'format') format = words[1] ?? '';
    if (words[0] === 'comment') comments.push(line.trim().slice('comment'.length).trim());
    if (words[0] === 'element') elements.push(openElement(words, elements, where));
    if (words[0] === 'property') {
      const element = elements.at(-1);
      if (!element) throw new SceneError(`${where}: a property stands before the first element`);
      addProperty(element, words, where);
    }
  });
  if (format !== 'ascii' && format !== 'binary_little_endian') {
    throw new SceneError(`${file}: PLY format "${format}" is not supported; write ascii or binary_little_endian`);
  }
  return { ascii: format === 'ascii', elements, comments, bodyAt: end.index + end[0].length, lines: lines.length };
}

function openElement(words: readonly string[], elements: readonly OpenElement[], where: string): OpenElement {
  const name = words[1] ?? '';
  if (!/^\d{1,12}$/.test(words[2] ?? '')) {
    throw new SceneError(`${where}: ${name} count "${words[2]}" is not a whole number`);
  }
  if (elements.length >= maxElements) throw new SceneError(`${where}: more than ${maxElements} elements`);
  if (elements.some((e) => e.name === name)) throw new SceneError(`${where}: element "${name}" stands twice`);
  return { name, count: Number(words[2]), properties: [], stride: 0 };
}

function addProperty(element: OpenElement, words: readonly string[], where: string): void {
  const scalar = scalarOfWord.get(words[1] ?? '');
  if (!scalar) {
    element.unreadable ??= `${where}: ${element.name} property type "${words[1]}" is not supported`;
    return;
  }
  const name = words[2] ?? '';
  if (element.properties.length >= maxProperties) {
    throw new SceneError(`${where}: more than ${maxProperties} properties in element "${element.name}"`);
  }
  if (element.properties.some((p) => p.name === name)) {
    throw new SceneError(`${where}: ${element.name} property "${name}" stands twice`);
  }
  element.properties.push({ name, type: scalar, offset: element.stride, ...scalars[scalar] });
  element.stride += scalars[scalar].bytes;
}

/**
 * The vertices of a file that begins with them.
 * @throws SceneError when they are missing, come later, or have lists
 */
export function verticesOf(header: PlyHeader, file: string): PlyElement {
  const vertices = header.elements.find((e) => e.name === 'vertex');
  if (!vertices) throw new SceneError(`${file}: the PLY header names no vertex element`);
  if (header.elements[0] !== vertices) {
    throw new SceneError(
      `${file}: element "${header.elements[0].name}" stands before the vertices; only files that begin with vertices are read`,
    );
  }
  if (vertices.unreadable) throw new SceneError(vertices.unreadable);
  return vertices;
}

/**
 * Holds the vertex count against the bytes after the header.
 * @throws SceneError when the rows cannot be in there
 */
export function checkVertexRoom(header: PlyHeader, vertices: PlyElement, fileBytes: number, what: string, file: string): void {
  const room = fileBytes - header.bodyAt;
  const { count, stride, properties } = vertices;
  const least = header.ascii ? count * properties.length * 2 - 1 : count * stride;
  if (room < least) {
    throw new SceneError(
      `${file}: the header claims ${count} ${what} (at least ${least} bytes), but only ${room} bytes follow`,
    );
  }
}
