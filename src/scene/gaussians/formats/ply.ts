/**
 * Splats in PLY files. Read: any order of columns (by name), binary little endian and ascii, all scalar types; written: the
 * column order of the original 3DGS code with zero normals, exact f32. Values are before activation; `f_rest` is channel-major:
 * f_rest[c (K−1) + k−1], K = (degree + 1)².
 */
import { SceneError } from '../../../binding/errors';
import { MAX_SH_DEGREE, restCoefficients, type GaussianCloud } from '../cloud';
import { isCompressedPly, readCompressedPly } from './compressed-ply';
import {
  allocateCloud, antialiasedWarning, checkSplats, clampedOpacityWarning, decodeBytes, maxSplats, viewOf,
  type DecodedSplats, type Decoder,
} from './decoder';
import {
  checkVertexRoom, maxPlyHeaderBytes, parsePlyHeader, verticesOf, type PlyElement, type PlyHeader, type PlyProperty,
} from './ply-header';

/** Rows are read and written in pieces of about this size. */
const pieceBytes = 1 << 22;
/** Longest line of an ascii file: 1024 columns of 32 characters are twice what is met. */
const maxLineBytes = 1 << 16;

/** A column of the file and where its values go: out[i · step + offset]. */
interface Column {
  readonly property: PlyProperty;
  readonly index: number;
  readonly out: Float32Array;
  readonly step: number;
  readonly offset: number;
}

/** Reads a splat PLY, compressed or not. */
export function* readPly(size: number, name: string): Decoder {
  const header = parsePlyHeader(yield { at: 0, length: Math.min(size, maxPlyHeaderBytes) }, name);
  const flags = flagWarnings(header.comments);
  if (isCompressedPly(header)) {
    const decoded = yield* readCompressedPly(header, size, name);
    return { ...decoded, warnings: [...flags, ...decoded.warnings] };
  }
  const vertices = verticesOf(header, name);
  const { degree, stored } = degreeOf(vertices, name);
  if (vertices.count > maxSplats) {
    throw new SceneError(`${name}: ${vertices.count} splats is over the limit of ${maxSplats}`);
  }
  requireColumns(vertices, name);
  checkVertexRoom(header, vertices, size, 'splats', name);
  const cloud = allocateCloud(vertices.count, degree, name);
  const columns = columnsOf(vertices, cloud, stored);
  const clamped = header.ascii
    ? yield* readAscii(header, vertices, columns, cloud, size, name)
    : yield* readBinary(header, vertices, columns, cloud, name);
  const used = new Set([...columns.map((c) => c.property.name), 'nx', 'ny', 'nz']);
  const ignored = vertices.properties.map((p) => p.name).filter((p) => !used.has(p) && !p.startsWith('f_rest_'));
  return {
    cloud,
    format: 'ply',
    warnings: [
      ...flags,
      ...(degree < MAX_SH_DEGREE || stored === restCoefficients(degree)
        ? []
        : [`harmonics of degree ${Math.sqrt(stored + 1) - 1} were cut to degree ${degree}`]),
      ...(ignored.length > 0 ? [`columns that splats do not have were ignored: ${ignored.join(', ')}`] : []),
      ...clampedOpacityWarning(clamped),
    ],
  };
}

/** @throws SceneError for anything but a whole, finite splat PLY; `name` begins its messages */
export function decodePly(bytes: Uint8Array, name: string): DecodedSplats {
  return decodeBytes(readPly(bytes.length, name), bytes);
}

function flagWarnings(comments: readonly string[]): string[] {
  const mip = comments.some((c) => /^antialiased\s*[:=]?\s*1$/i.test(c) || /^SplatRenderMode\s*[:=]?\s*mip$/i.test(c));
  const flat = comments.some((c) => /^SplatRenderMode\s*[:=]?\s*2dgs$/i.test(c));
  return [
    ...(mip ? [antialiasedWarning] : []),
    ...(flat ? ['the splats were trained as flat discs (2DGS); rendered as ellipsoids they look different'] : []),
  ];
}

/** Degree kept, and coefficients per channel in the file. */
function degreeOf(vertices: PlyElement, name: string): { degree: number; stored: number } {
  const rest = vertices.properties.filter((p) => /^f_rest_\d+$/.test(p.name));
  const stored = rest.length / 3;
  const degree = Math.sqrt(stored + 1) - 1;
  if (![0, 1, 2, 3, 4].includes(degree)) {
    throw new SceneError(`${name}: the vertices have ${rest.length} f_rest properties, expected 0, 9, 24, 45 or 72`);
  }
  const names = new Set(rest.map((p) => p.name));
  for (let k = 0; k < rest.length; k++) {
    if (!names.has(`f_rest_${k}`)) throw new SceneError(`${name}: the vertices have no property "f_rest_${k}"`);
  }
  return { degree: Math.min(degree, MAX_SH_DEGREE), stored };
}

const required = [
  'x', 'y', 'z', 'f_dc_0', 'f_dc_1', 'f_dc_2', 'opacity', 'scale_0', 'scale_1', 'scale_2',
  'rot_0', 'rot_1', 'rot_2', 'rot_3',
] as const;

function requireColumns(vertices: PlyElement, name: string): void {
  const missing = required.filter((column) => !vertices.properties.some((p) => p.name === column));
  if (missing.length === 0) return;
  const hint =
    missing.length === 1 && missing[0] === 'scale_2'
      ? '; a file of flat discs (2DGS) cannot be read'
      : missing.length > 10 ? '; is it a point cloud or a mesh?' : '';
  throw new SceneError(`${name}: not a splat file, the vertices have no property "${missing.join('", "')}"${hint}`);
}

function columnsOf(vertices: PlyElement, cloud: GaussianCloud, stored: number): Column[] {
  const columns: Column[] = [];
  const add = (column: string, out: Float32Array, step: number, offset: number): void => {
    const index = vertices.properties.findIndex((p) => p.name === column);
    columns.push({ property: vertices.properties[index], index, out, step, offset });
  };
  for (let k = 0; k < 3; k++) {
    add('xyz'[k], cloud.means, 3, k);
    add(`scale_${k}`, cloud.logScales, 3, k);
    add(`f_dc_${k}`, cloud.sh0, 3, k);
  }
  for (let k = 0; k < 4; k++) add(`rot_${k}`, cloud.quats, 4, k);
  add('opacity', cloud.opacityLogits, 1, 0);
  const rest = restCoefficients(cloud.shDegree);
  for (let k = 0; k < rest; k++) {
    for (let c = 0; c < 3; c++) add(`f_rest_${c * stored + k}`, cloud.shRest, 3 * rest, 3 * k + c);
  }
  return columns;
}

function* readBinary(
  header: PlyHeader,
  { count, stride }: PlyElement,
  columns: readonly Column[],
  cloud: GaussianCloud,
  name: string,
): Decoder<number> {
  const rows = Math.max(1, Math.floor(pieceBytes / stride));
  let clamped = 0;
  for (let first = 0; first < count; first += rows) {
    const last = Math.min(first + rows, count);
    const view = viewOf(yield { at: header.bodyAt + first * stride, length: (last - first) * stride });
    for (const { property, out, step, offset } of columns) {
      const { read } = property;
      if (property.type === 'float32') {
        // Spelt out: this is nearly every column of every file.
        for (let i = first, at = property.offset; i < last; i++, at += stride) {
          out[i * step + offset] = view.getFloat32(at, true);
        }
      } else {
        for (let i = first, at = property.offset; i < last; i++, at += stride) out[i * step + offset] = read(view, at);
      }
    }
    clamped += checkSplats(cloud, first, last, name);
  }
  return clamped;
}

function* readAscii(
  header: PlyHeader,
  { count, properties }: PlyElement,
  columns: readonly Column[],
  cloud: GaussianCloud,
  size: number,
  name: string,
): Decoder<number> {
  let row = 0;
  let tail = '';
  for (let at = header.bodyAt; row < count && at < size; at += pieceBytes) {
    const piece = yield { at, length: Math.min(pieceBytes, size - at) };
    const text = tail + Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength).toString('latin1');
    const lines = text.split('\n');
    tail = at + pieceBytes < size ? (lines.pop() ?? '') : '';
    if (tail.length > maxLineBytes) {
      throw new SceneError(`${name}:${header.lines + 1 + row + lines.length}: a line of more than ${maxLineBytes} bytes`);
    }
    for (const line of lines) {
      if (row === count) break;
      const words = line.trim().split(/\s+/);
      if (words.length < properties.length) {
        throw new SceneError(
          `${name}:${header.lines + 1 + row}: expected ${properties.length} numbers, got "${line.trim().slice(0, 80)}"`,
        );
      }
      for (const { index, out, step, offset } of columns) out[row * step + offset] = numberOf(words[index]);
      row++;
    }
  }
  if (row < count) throw new SceneError(`${name}: the header claims ${count} splats, but only ${row} rows follow`);
  return checkSplats(cloud, 0, count, name);
}

/** Number of a word as C and Python print it. */
function numberOf(word: string): number {
  const infinite = /^([+-]?)inf(inity)?$/i.exec(word);
  if (infinite) return infinite[1] === '-' ? -Infinity : Infinity;
  return /^[+-]?(\d|\.\d)/.test(word) && !/^[+-]?0[xob]/i.test(word) ? Number(word) : NaN;
}

/** A binary little-endian PLY in pieces: header first, then rows. */
export function* encodePlyPieces(cloud: GaussianCloud, name = 'splats'): Generator<Uint8Array, void> {
  checkSplats(cloud, 0, cloud.count, name, false);
  const rest = restCoefficients(cloud.shDegree);
  const names = [
    'x', 'y', 'z', 'nx', 'ny', 'nz', 'f_dc_0', 'f_dc_1', 'f_dc_2',
    ...Array.from({ length: 3 * rest }, (_, k) => `f_rest_${k}`),
    'opacity', 'scale_0', 'scale_1', 'scale_2', 'rot_0', 'rot_1', 'rot_2', 'rot_3',
  ];
  const head = [
    'ply', 'format binary_little_endian 1.0', `element vertex ${cloud.count}`,
    ...names.map((property) => `property float ${property}`), 'end_header', '',
  ];
  yield Buffer.from(head.join('\n'), 'latin1');
  const stride = 4 * names.length;
  const rows = Math.floor(pieceBytes / stride);
  for (let first = 0; first < cloud.count; first += rows) {
    const last = Math.min(first + rows, cloud.count);
    const piece = new Uint8Array((last - first) * stride);
    const view = viewOf(piece);
    let at = 0;
    const put = (values: Float32Array, from: number, length: number): void => {
      for (let k = 0; k < length; k++, at += 4) view.setFloat32(at, values[from + k], true);
    };
    for (let i = first; i < last; i++) {
      put(cloud.means, 3 * i, 3);
      at += 12; // Normals stay 0: splats have none, but readers count columns.
      put(cloud.sh0, 3 * i, 3);
      for (let c = 0; c < 3; c++) {
        for (let k = 0; k < rest; k++) put(cloud.shRest, 3 * (i * rest + k) + c, 1);
      }
      put(cloud.opacityLogits, i, 1);
      put(cloud.logScales, 3 * i, 3);
      put(cloud.quats, 4 * i, 4);
    }
    yield piece;
  }
}

/** A whole PLY file in memory. */
export function encodePly(cloud: GaussianCloud): Uint8Array {
  return Buffer.concat([...encodePlyPieces(cloud)]);
}
