/**
 * Colour maps of an edit. Most edits of appearance are nearly one affine map of colours (sepia, night, warm, another paint); a map is exact
 * for spherical harmonics of every degree, reaches Gaussians that no edited view shows, and needs no optimiser.
 */
import type { Image } from '../image';
import { SH_Y0 } from './cloud';
import type { GaussianCloud } from './cloud';

/** 3 × 4 row-major: colour′ = A · colour + b. */
export type ColourMap = readonly number[];

/** Weight of the identity beside a pixel pair: what the pictures do not tell stays. */
const ridge = 1e-3;

/** The affine map from one set of pictures to another, least squares over the pixels of weight masks[v][i] (all, without masks). */
export function colourMap(from: readonly Image[], to: readonly Image[], masks?: readonly Float32Array[]): ColourMap {
  const gram = new Float64Array(16);
  const right = new Float64Array(12);
  let weights = 0;
  from.forEach((image, v) => {
    const pixels = image.width * image.height;
    for (let i = 0; i < pixels; i++) {
      const weight = masks ? masks[v][i] : 1;
      if (weight === 0) continue;
      weights += weight;
      const x = [image.data[i], image.data[pixels + i], image.data[2 * pixels + i], 1];
      for (let a = 0; a < 4; a++) {
        for (let b = 0; b < 4; b++) gram[4 * a + b] += weight * x[a] * x[b];
        for (let c = 0; c < 3; c++) right[4 * c + a] += weight * x[a] * to[v].data[c * pixels + i];
      }
    }
  });
  const toIdentity = ridge * Math.max(1, weights);
  for (let a = 0; a < 4; a++) gram[5 * a] += toIdentity;
  for (let c = 0; c < 3; c++) right[4 * c + c] += toIdentity;
  return [0, 1, 2].flatMap((c) => solve4(gram, right.subarray(4 * c, 4 * c + 4)));
}

/** Solves a symmetric positive definite 4 × 4 system (Cholesky). */
function solve4(matrix: Float64Array, right: Float64Array): number[] {
  const l = new Float64Array(16);
  for (let i = 0; i < 4; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = matrix[4 * i + j];
      for (let k = 0; k < j; k++) sum -= l[4 * i + k] * l[4 * j + k];
      l[4 * i + j] = i === j ? Math.sqrt(Math.max(sum, 1e-30)) : sum / l[5 * j];
    }
  }
  const y = [0, 0, 0, 0];
  for (let i = 0; i < 4; i++) y[i] = (right[i] - y.slice(0, i).reduce((sum, value, k) => sum + l[4 * i + k] * value, 0)) / l[5 * i];
  for (let i = 3; i >= 0; i--) {
    let sum = y[i];
    for (let k = i + 1; k < 4; k++) sum -= l[4 * k + i] * y[k];
    y[i] = sum / l[5 * i];
  }
  return y;
}

/** The cloud with mapped colours; `share` [N] in [0, 1] is how much of the map each Gaussian takes. */
export function mapColours(cloud: GaussianCloud, map: ColourMap, share: ArrayLike<number>): GaussianCloud {
  const [sh0, shRest] = [Float32Array.from(cloud.sh0), Float32Array.from(cloud.shRest)];
  const rest = cloud.count === 0 ? 0 : shRest.length / cloud.count;
  const linear = (out: Float32Array, at: number, weight: number, constant: (c: number) => number): void => {
    const old = [out[at], out[at + 1], out[at + 2]];
    for (let c = 0; c < 3; c++) {
      const mapped = map[4 * c] * old[0] + map[4 * c + 1] * old[1] + map[4 * c + 2] * old[2] + constant(c);
      out[at + c] = old[c] + weight * (mapped - old[c]);
    }
  };
  // ½ + Y₀ sh0 is the colour: A ½ + b − ½, in units of Y₀, is what its middle moves by.
  const shift = (c: number): number => (0.5 * (map[4 * c] + map[4 * c + 1] + map[4 * c + 2]) + map[4 * c + 3] - 0.5) / SH_Y0;
  for (let i = 0; i < cloud.count; i++) {
    if (share[i] === 0) continue;
    linear(sh0, 3 * i, share[i], shift);
    for (let k = 0; k < rest; k += 3) linear(shRest, i * rest + k, share[i], () => 0);
  }
  return { ...cloud, sh0, shRest };
}

/** Per channel what makes a picture of what was expected of it. */
export interface Tint {
  gain: number;
  offset: number;
}

/**
 * The pictures without the tint and exposure by which they differ from each other. An editor that is not quite consistent differs most in
 * these. What all views share is the edit and stays; where `expected` does not explain a picture, nothing is changed.
 */
export function withoutTint(pictures: readonly Image[], expected: readonly Image[], masks?: readonly Float32Array[]): Image[] {
  const tints = pictures.map((picture, v) => tintsOf(picture, expected[v], masks?.[v]));
  const common = [0, 1, 2].map((c) => ({
    gain: Math.exp(tints.reduce((sum, tint) => sum + Math.log(tint[c].gain), 0) / tints.length),
    offset: tints.reduce((sum, tint) => sum + tint[c].offset, 0) / tints.length,
  }));
  return pictures.map((picture, v) => {
    const own = tints[v].map(({ gain, offset }, c) => ({ gain: gain / common[c].gain, offset: offset - common[c].offset }));
    return removeTint(picture, own, masks?.[v]);
  });
}

export function removeTint(picture: Image, tints: readonly Tint[], mask?: Float32Array): Image {
  const pixels = picture.width * picture.height;
  const data = picture.data.map((value, i) => {
    const { gain, offset } = tints[Math.floor(i / pixels)];
    const weight = mask ? mask[i % pixels] : 1;
    return value + weight * (Math.min(1, Math.max(0, (value - offset) / gain)) - value);
  });
  return { ...picture, data };
}

/** The tint of each channel, trusted as far as it explains the picture. */
export function tintsOf(picture: Image, expected: Image, mask?: Float32Array): Tint[] {
  return [0, 1, 2].map((c) => tintOf(picture, expected, c, mask));
}

const mostGain = 1.5;

function tintOf(picture: Image, expected: Image, channel: number, mask?: Float32Array): Tint {
  const pixels = picture.width * picture.height;
  let [n, x, y, xx, xy, yy] = [0, 0, 0, 0, 0, 0];
  for (let i = 0; i < pixels; i++) {
    const weight = mask ? mask[i] : 1;
    const [p, q] = [expected.data[channel * pixels + i], picture.data[channel * pixels + i]];
    // A cut value tells neither gain nor offset.
    if (weight === 0 || q <= 0 || q >= 1) continue;
    n += weight;
    x += weight * p;
    y += weight * q;
    xx += weight * p * p;
    xy += weight * p * q;
    yy += weight * q * q;
  }
  if (n < 16) return { gain: 1, offset: 0 };
  const [mx, my] = [x / n, y / n];
  const [vx, vy, cov] = [xx / n - mx * mx, yy / n - my * my, xy / n - mx * my];
  const explained = vx > 1e-8 && vy > 1e-8 ? Math.max(0, (cov * cov) / (vx * vy)) : 0;
  const slope = Math.min(mostGain, Math.max(1 / mostGain, vx > 1e-8 ? cov / vx : 1));
  const gain = 1 + explained * (slope - 1);
  return { gain, offset: explained * (my - gain * mx) };
}
