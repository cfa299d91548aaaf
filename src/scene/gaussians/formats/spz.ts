/**
 * SPZ files (Niantic). Read: versions 1 to 4; written: version 3, which every viewer knows. Values stay in the axes of the file:
 * writers of splats store those of the PLY, whatever the format's nominal frame.
 * Steps: centre 2^−fractionalBits, log scale 1/16, opacity 1/255, f_dc 1/(0.15 · 255), rotation √½/511 in the three smallest
 * components, harmonics 1/16 (degree 1) and 1/8 (above).
 */
import { gzipSync } from 'node:zlib';
import { SceneError } from '../../../binding/errors';
import { MAX_SH_DEGREE, restCoefficients, type GaussianCloud } from '../cloud';
import {
  allocateCloud, antialiasedWarning, checkSplats, clampedOpacityWarning, decodeBytes, logitOfByte, viewOf,
  type DecodedSplats, type Decoder,
} from './decoder';
import { openSpz, spzFlagAntialiased, spzMagic, type SpzBlocks } from './spz-container';

/** Colours are stored with room beyond 0 … 1: byte = 255 (½ + 0.15 f_dc). */
const colourStep = 0.15 * 255;
const usualFractionalBits = 12;
const largestFixed = 2 ** 23 - 1;

/** Reads an SPZ file. */
export function* readSpz(size: number, name: string): Decoder {
  return fromBlocks(openSpz(yield { at: 0, length: size }, name), name);
}

/** @throws SceneError for anything but a whole SPZ file; `name` begins its messages */
export function decodeSpz(bytes: Uint8Array, name: string): DecodedSplats {
  return decodeBytes(readSpz(bytes.length, name), bytes);
}

function fromBlocks(blocks: SpzBlocks, name: string): DecodedSplats {
  const { count, version } = blocks;
  const degree = Math.min(blocks.shDegree, MAX_SH_DEGREE);
  const cloud = allocateCloud(count, degree, name);
  readPositions(blocks, cloud.means);
  for (let i = 0; i < 3 * count; i++) {
    cloud.logScales[i] = blocks.scales[i] / 16 - 10;
    cloud.sh0[i] = (blocks.colours[i] - 127.5) / colourStep;
  }
  for (let i = 0; i < count; i++) {
    cloud.opacityLogits[i] = logitOfByte(blocks.alphas[i]);
    if (version >= 3) unpackSmallestThree(blocks.rotations, 4 * i, cloud.quats);
    else unpackFirstThree(blocks.rotations, 3 * i, cloud.quats, 4 * i);
  }
  const stored = 3 * ((blocks.shDegree + 1) ** 2 - 1);
  const kept = 3 * restCoefficients(degree);
  for (let i = 0; i < count; i++) {
    for (let k = 0; k < kept; k++) cloud.shRest[i * kept + k] = (blocks.harmonics[i * stored + k] - 128) / 128;
  }
  const clamped = checkSplats(cloud, 0, count, name);
  return {
    cloud,
    format: `spz v${version}`,
    warnings: [
      ...((blocks.flags & spzFlagAntialiased) !== 0 ? [antialiasedWarning] : []),
      ...(blocks.shDegree > degree ? [`harmonics of degree ${blocks.shDegree} were cut to degree ${degree}`] : []),
      ...clampedOpacityWarning(clamped),
    ],
  };
}

function readPositions({ version, positions, fractionalBits }: SpzBlocks, out: Float32Array): void {
  if (version === 1) {
    const view = viewOf(positions);
    for (let i = 0; i < out.length; i++) out[i] = halfToNumber(view.getUint16(2 * i, true));
    return;
  }
  const step = 2 ** -fractionalBits;
  for (let i = 0; i < out.length; i++) {
    // The shift up and down extends the sign of the 24 bits.
    const fixed = ((positions[3 * i] << 8) | (positions[3 * i + 1] << 16) | (positions[3 * i + 2] << 24)) >> 8;
    out[i] = fixed * step;
  }
}

function halfToNumber(bits: number): number {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** x, y, z in bytes; w ≥ 0 from the unit length. */
function unpackFirstThree(bytes: Uint8Array, from: number, out: Float32Array, at: number): void {
  let squares = 0;
  for (let k = 0; k < 3; k++) {
    const value = bytes[from + k] / 127.5 - 1;
    out[at + 1 + k] = value;
    squares += value * value;
  }
  out[at] = Math.sqrt(Math.max(0, 1 - squares));
}

/** In the order (x, y, z, w) of this format: two bits name the largest, the others follow with a sign and nine bits each. */
function unpackSmallestThree(bytes: Uint8Array, at: number, out: Float32Array): void {
  const word = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
  const largest = word >>> 30;
  let squares = 0;
  for (let k = 3, shift = 0; k >= 0; k--) {
    if (k === largest) continue;
    const magnitude = (((word >>> shift) & 511) / 511) * Math.SQRT1_2;
    out[at + ((k + 1) & 3)] = (word >>> (shift + 9)) & 1 ? -magnitude : magnitude;
    squares += magnitude * magnitude;
    shift += 10;
  }
  out[at + ((largest + 1) & 3)] = Math.sqrt(Math.max(0, 1 - squares));
}

function packSmallestThree(quats: Float32Array, at: number, out: Uint8Array): void {
  const q = [quats[at + 1], quats[at + 2], quats[at + 3], quats[at]];
  const length = Math.sqrt(q.reduce((sum, x) => sum + x * x, 0));
  let largest = 0;
  for (let k = 1; k < 4; k++) if (Math.abs(q[k]) > Math.abs(q[largest])) largest = k;
  let word = largest;
  for (let k = 0; k < 4; k++) {
    if (k === largest) continue;
    const magnitude = Math.min(511, Math.round((511 * Math.abs(q[k])) / (length * Math.SQRT1_2)));
    const negative = q[k] < 0 !== q[largest] < 0 ? 1 : 0;
    word = (word << 10) | (negative << 9) | magnitude;
  }
  for (let k = 0; k < 4; k++) out[at + k] = (word >>> (8 * k)) & 255;
}

/** Fewer fractional bits than usual where the scene is wider than ±2047 units. */
function fractionalBitsFor(means: Float32Array, name: string): number {
  let extent = 0;
  for (const x of means) extent = Math.max(extent, Math.abs(x));
  for (let bits = usualFractionalBits; bits >= 0; bits--) {
    if (Math.round(extent * 2 ** bits) <= largestFixed) return bits;
  }
  throw new SceneError(`${name}: a centre lies ${extent} units out, SPZ holds ±${largestFixed}; write a .ply`);
}

/** Body of a version 3 file before gzip, and how many splats lost something at the ends of a range. */
export function packSpz(cloud: GaussianCloud, name = 'splats'): { body: Uint8Array; clamped: number } {
  checkSplats(cloud, 0, cloud.count, name, false);
  const { count, shDegree } = cloud;
  const rest = 3 * restCoefficients(shDegree);
  const body = new Uint8Array(16 + count * (20 + rest));
  const bits = fractionalBitsFor(cloud.means, name);
  const header = viewOf(body);
  header.setUint32(0, spzMagic, true);
  header.setUint32(4, 3, true);
  header.setUint32(8, count, true);
  body[12] = shDegree;
  body[13] = bits;
  let at = 16;
  const block = (width: number): Uint8Array => body.subarray(at, (at += width * count));
  const [positions, alphas, colours, scales, rotations, harmonics] = [9, 1, 3, 3, 4, rest].map(block);
  let clamped = 0;
  let beyond = false;
  const byteOf = (value: number): number => {
    if (value < -0.5 || value > 255.5) beyond = true;
    return Math.min(255, Math.max(0, Math.round(value)));
  };
  for (let i = 0; i < count; i++) {
    beyond = false;
    for (let j = 3 * i; j < 3 * i + 3; j++) {
      const fixed = Math.round(cloud.means[j] * 2 ** bits);
      for (let k = 0; k < 3; k++) positions[3 * j + k] = (fixed >> (8 * k)) & 255;
      colours[j] = byteOf(127.5 + colourStep * cloud.sh0[j]);
      scales[j] = byteOf(16 * (cloud.logScales[j] + 10));
    }
    alphas[i] = byteOf(255 / (1 + Math.exp(-cloud.opacityLogits[i])));
    packSmallestThree(cloud.quats, 4 * i, rotations);
    for (let k = 0; k < rest; k++) {
      const value = cloud.shRest[i * rest + k];
      if (Math.abs(value) > 1) beyond = true;
      // Fewer distinct bytes pack better: 5 bits for degree 1, 4 above. A step's middle is kept, so 0 stays 0.
      const step = k < 9 ? 8 : 16;
      const byte = Math.floor((Math.round(128 * value) + 128 + step / 2) / step) * step;
      harmonics[i * rest + k] = Math.min(255, Math.max(0, byte));
    }
    if (beyond) clamped++;
  }
  return { body, clamped };
}

/** A whole SPZ file, version 3, in memory. The same cloud gives the same bytes. */
export function encodeSpz(cloud: GaussianCloud): Uint8Array {
  return gzipSync(packSpz(cloud).body);
}
