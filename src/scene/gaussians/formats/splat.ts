/**
 * .splat files (antimatter15): 32 bytes per splat and no header. f32 centre, f32 standard deviations, bytes red, green, blue,
 * opacity (255 · value), bytes w, x, y, z (128 + 128 q). No harmonics beyond the zeroth.
 */
import { SceneError } from '../../../binding/errors';
import { SH_Y0, type GaussianCloud } from '../cloud';
import {
  allocateCloud, checkSplats, decodeBytes, logitOfByte, viewOf, type DecodedSplats, type Decoder,
} from './decoder';

export const splatBytes = 32;
const splatsPerPiece = 1 << 17;

/** Reads a .splat file. */
export function* readSplat(size: number, name: string): Decoder {
  if (size === 0 || size % splatBytes !== 0) {
    throw new SceneError(`${name}: ${size} bytes are no whole number of splats of ${splatBytes} bytes`);
  }
  const count = size / splatBytes;
  const cloud = allocateCloud(count, 0, name);
  for (let first = 0; first < count; first += splatsPerPiece) {
    const last = Math.min(first + splatsPerPiece, count);
    const piece = yield { at: first * splatBytes, length: (last - first) * splatBytes };
    const view = viewOf(piece);
    for (let i = first, at = 0; i < last; i++, at += splatBytes) {
      for (let k = 0; k < 3; k++) {
        const deviation = view.getFloat32(at + 12 + 4 * k, true);
        if (!(deviation > 0)) {
          throw new SceneError(`${name}: splat ${i} has scale_${k} = ${deviation}, expected a number above 0`);
        }
        cloud.means[3 * i + k] = view.getFloat32(at + 4 * k, true);
        cloud.logScales[3 * i + k] = Math.log(deviation);
        cloud.sh0[3 * i + k] = (piece[at + 24 + k] / 255 - 0.5) / SH_Y0;
      }
      cloud.opacityLogits[i] = logitOfByte(piece[at + 27]);
      const q = [0, 1, 2, 3].map((k) => (piece[at + 28 + k] - 128) / 128);
      const length = Math.sqrt(q.reduce((sum, x) => sum + x * x, 0));
      for (let k = 0; k < 4; k++) cloud.quats[4 * i + k] = length > 0 ? q[k] / length : 0;
    }
    checkSplats(cloud, first, last, name);
  }
  return { cloud, format: 'splat', warnings: [] };
}

/** @throws SceneError for anything but a whole number of sound splats; `name` begins its messages */
export function decodeSplat(bytes: Uint8Array, name: string): DecodedSplats {
  return decodeBytes(readSplat(bytes.length, name), bytes);
}

/** Splats by falling volume · opacity (viewers show the first ones while they load); equal ones by index. */
export function importanceOrder(cloud: GaussianCloud): Uint32Array {
  const importance = new Float64Array(cloud.count);
  const order = new Uint32Array(cloud.count);
  for (let i = 0; i < cloud.count; i++) {
    order[i] = i;
    const volume = cloud.logScales[3 * i] + cloud.logScales[3 * i + 1] + cloud.logScales[3 * i + 2];
    // In logarithms, which neither overflow nor vanish; ln σ(λ) = −ln(1 + e^−λ).
    const logit = cloud.opacityLogits[i];
    importance[i] = volume + (logit < 0 ? logit - Math.log1p(Math.exp(logit)) : -Math.log1p(Math.exp(-logit)));
  }
  return order.sort((a, b) => importance[b] - importance[a] || a - b);
}

/** A .splat file in pieces. */
export function* encodeSplatPieces(cloud: GaussianCloud, name = 'splats'): Generator<Uint8Array, void> {
  checkSplats(cloud, 0, cloud.count, name, false);
  const order = importanceOrder(cloud);
  for (let first = 0; first < cloud.count; first += splatsPerPiece) {
    const last = Math.min(first + splatsPerPiece, cloud.count);
    const piece = new Uint8Array((last - first) * splatBytes);
    const view = viewOf(piece);
    for (let row = first, at = 0; row < last; row++, at += splatBytes) {
      const i = order[row];
      for (let k = 0; k < 3; k++) {
        const deviation = Math.exp(cloud.logScales[3 * i + k]);
        view.setFloat32(at + 4 * k, cloud.means[3 * i + k], true);
        // Beyond f32's range the file would hold 0 or infinity, which no reader takes.
        view.setFloat32(at + 12 + 4 * k, Math.min(3e38, Math.max(1e-38, deviation)), true);
        piece[at + 24 + k] = byteOf(255 * (0.5 + SH_Y0 * cloud.sh0[3 * i + k]));
      }
      piece[at + 27] = byteOf(255 / (1 + Math.exp(-cloud.opacityLogits[i])));
      const q = cloud.quats.subarray(4 * i, 4 * i + 4);
      const length = Math.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2 + q[3] ** 2);
      for (let k = 0; k < 4; k++) piece[at + 28 + k] = byteOf(128 + (128 * q[k]) / length);
    }
    yield piece;
  }
}

function byteOf(value: number): number {
  return Math.min(255, Math.max(0, Math.round(value)));
}

/** A whole .splat file in memory. */
export function encodeSplat(cloud: GaussianCloud): Uint8Array {
  return Buffer.concat([...encodeSplatPieces(cloud)]);
}
