/**
 * PlayCanvas' compressed PLY: chunks of 256 splats with the range of every quantity, four packed 32-bit words per splat,
 * harmonics in bytes. Positions and scales are 11-10-11 bits between the chunk's ends, rotations the three smallest components
 * in 10 bits, colours and opacity 8 bits.
 */
import { SceneError } from '../../../binding/errors';
import { restCoefficients, SH_Y0, type GaussianCloud } from '../cloud';
import {
  allocateCloud, checkSplats, clampedOpacityWarning, logitOfByte, maxSplats, viewOf, type DecodedSplats, type Decoder,
} from './decoder';
import type { PlyElement, PlyHeader, PlyProperty, PlyScalar } from './ply-header';

const chunkSplats = 256;
/** Chunks decoded between two pieces of the file. */
const chunksPerPiece = 256;

const packedNames = ['packed_position', 'packed_rotation', 'packed_scale', 'packed_color'] as const;
const ends = (names: readonly string[]): string[] => ['min', 'max'].flatMap((end) => names.map((n) => `${end}_${n}`));
const rangeNames = [...ends(['x', 'y', 'z']), ...ends(['scale_x', 'scale_y', 'scale_z'])];
const colourNames = ends(['r', 'g', 'b']);

/** Whether a header is that of a compressed splat file: its vertices are packed. */
export function isCompressedPly(header: PlyHeader): boolean {
  const vertices = header.elements.find((e) => e.name === 'vertex');
  return vertices?.properties.some((p) => p.name === 'packed_position') ?? false;
}

/** An element and where its rows begin. */
interface Rows {
  readonly element: PlyElement;
  readonly at: number;
}

function locate(header: PlyHeader, wanted: string, size: number, name: string): Rows | undefined {
  if (!header.elements.some((e) => e.name === wanted)) return undefined;
  let at = header.bodyAt;
  for (const element of header.elements) {
    if (element.unreadable) throw new SceneError(element.unreadable);
    const bytes = element.count * element.stride;
    if (element.name === wanted) {
      if (at + bytes > size) {
        throw new SceneError(
          `${name}: the header claims ${element.count} rows of "${wanted}" (${bytes} bytes), ` +
            `but only ${Math.max(0, size - at)} bytes follow`,
        );
      }
      return { element, at };
    }
    at += bytes;
  }
  return undefined;
}

function property(element: PlyElement, wanted: string, type: PlyScalar, name: string): PlyProperty {
  const found = element.properties.find((p) => p.name === wanted);
  if (!found) throw new SceneError(`${name}: compressed splats, but "${element.name}" has no property "${wanted}"`);
  if (found.type !== type) {
    throw new SceneError(`${name}: "${element.name}" property "${wanted}" is ${found.type}, expected ${type}`);
  }
  return found;
}

/** Reads the rows after a header for which `isCompressedPly` holds. */
export function* readCompressedPly(header: PlyHeader, size: number, name: string): Decoder {
  if (header.ascii) throw new SceneError(`${name}: compressed splats in an ascii file; write binary_little_endian`);
  const vertex = locate(header, 'vertex', size, name)!;
  const chunk = locate(header, 'chunk', size, name);
  const sh = locate(header, 'sh', size, name);
  if (!chunk) throw new SceneError(`${name}: compressed splats without an element "chunk"`);
  const { count } = vertex.element;
  if (count > maxSplats) throw new SceneError(`${name}: ${count} splats is over the limit of ${maxSplats}`);
  const chunks = Math.ceil(count / chunkSplats);
  if (chunk.element.count !== chunks) {
    throw new SceneError(`${name}: ${count} splats lie in ${chunks} chunks, but the file has ${chunk.element.count}`);
  }
  const packed = packedNames.map((p) => property(vertex.element, p, 'uint32', name).offset);
  const coloured = chunk.element.properties.some((p) => p.name === 'min_r');
  const ranges = [...rangeNames, ...(coloured ? colourNames : [])].map((p) =>
    property(chunk.element, p, 'float32', name),
  );
  const rest = sh ? harmonics(sh.element, count, name) : [];
  const degree = Math.sqrt(rest.length / 3 + 1) - 1;
  const cloud = allocateCloud(count, degree, name);

  let clamped = 0;
  for (let firstChunk = 0; firstChunk < chunks; firstChunk += chunksPerPiece) {
    const lastChunk = Math.min(firstChunk + chunksPerPiece, chunks);
    const chunkView = viewOf(yield rows(chunk, firstChunk, lastChunk));
    const values = new Float64Array(ranges.length * (lastChunk - firstChunk));
    for (let j = 0; j < values.length; j++) {
      const { name: label, offset } = ranges[j % ranges.length];
      const row = Math.floor(j / ranges.length);
      values[j] = chunkView.getFloat32(row * chunk.element.stride + offset, true);
      if (!Number.isFinite(values[j])) {
        throw new SceneError(`${name}: chunk ${firstChunk + row} has ${label} = ${values[j]}, expected a finite number`);
      }
    }
    const first = firstChunk * chunkSplats;
    const last = Math.min(lastChunk * chunkSplats, count);
    const view = viewOf(yield rows(vertex, first, last));
    for (let i = first; i < last; i++) {
      const from = Math.floor((i - first) / chunkSplats) * ranges.length;
      const row = (i - first) * vertex.element.stride;
      const word = (k: number): number => view.getUint32(row + packed[k], true);
      unpackVector(word(0), values, from, cloud.means, 3 * i);
      unpackRotation(word(1), cloud.quats, 4 * i);
      unpackVector(word(2), values, from + 6, cloud.logScales, 3 * i);
      unpackColour(word(3), values, coloured ? from + 12 : -1, cloud, i);
    }
    if (sh) unpackHarmonics(yield rows(sh, first, last), sh.element.stride, rest, cloud, first, last);
    clamped += checkSplats(cloud, first, last, name);
  }
  return { cloud, format: 'compressed-ply', warnings: clampedOpacityWarning(clamped) } satisfies DecodedSplats;
}

function rows({ element, at }: Rows, first: number, last: number): { at: number; length: number } {
  return { at: at + first * element.stride, length: (last - first) * element.stride };
}

/** Offsets of f_rest_0 … in a row of bytes. */
function harmonics(element: PlyElement, count: number, name: string): number[] {
  const wanted = element.properties.filter((p) => /^f_rest_\d+$/.test(p.name)).length;
  if (![9, 24, 45].includes(wanted)) {
    throw new SceneError(`${name}: element "sh" has ${wanted} f_rest properties, expected 9, 24 or 45`);
  }
  if (element.count !== count) {
    throw new SceneError(`${name}: ${element.count} rows of harmonics for ${count} splats`);
  }
  return Array.from({ length: wanted }, (_, k) => property(element, `f_rest_${k}`, 'uint8', name).offset);
}

/** 11-10-11 bits → between the three minima at values[from] and the three maxima after them. */
function unpackVector(word: number, values: Float64Array, from: number, out: Float32Array, at: number): void {
  const t = [(word >>> 21) / 2047, ((word >>> 11) & 1023) / 1023, (word & 2047) / 2047];
  for (let k = 0; k < 3; k++) out[at + k] = values[from + k] * (1 - t[k]) + values[from + 3 + k] * t[k];
}

/** Two bits name the largest of (w, x, y, z); the others follow in order, 10 bits between ∓√½. */
function unpackRotation(word: number, out: Float32Array, at: number): void {
  const largest = word >>> 30;
  let squares = 0;
  for (let k = 3, shift = 0; k >= 0; k--) {
    if (k === largest) continue;
    const value = (((word >>> shift) & 1023) / 1023 - 0.5) * Math.SQRT2;
    out[at + k] = value;
    squares += value * value;
    shift += 10;
  }
  out[at + largest] = Math.sqrt(Math.max(0, 1 - squares));
}

function unpackColour(word: number, values: Float64Array, from: number, cloud: GaussianCloud, i: number): void {
  for (let c = 0; c < 3; c++) {
    const t = ((word >>> (24 - 8 * c)) & 255) / 255;
    const colour = from < 0 ? t : values[from + c] * (1 - t) + values[from + 3 + c] * t;
    cloud.sh0[3 * i + c] = (colour - 0.5) / SH_Y0;
  }
  cloud.opacityLogits[i] = logitOfByte(word & 255);
}

/** Bytes are 256 equal steps of −4 … 4; the outermost two mean the ends themselves. */
function unpackHarmonics(
  bytes: Uint8Array,
  stride: number,
  offsets: readonly number[],
  cloud: GaussianCloud,
  first: number,
  last: number,
): void {
  const rest = restCoefficients(cloud.shDegree);
  for (let i = first; i < last; i++) {
    for (let k = 0; k < rest; k++) {
      for (let c = 0; c < 3; c++) {
        const byte = bytes[(i - first) * stride + offsets[c * rest + k]];
        const t = byte === 0 ? 0 : byte === 255 ? 1 : (byte + 0.5) / 256;
        cloud.shRest[3 * (i * rest + k) + c] = 8 * (t - 0.5);
      }
    }
  }
}
