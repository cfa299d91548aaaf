/** Measures of single views against the exact answers. Pictures are [3, H, W] in [0, 1]; sums are float64. */
import { laplacianVariance } from '../../sharpness';
import { mean } from './statistics';
import type { EditTruth } from './truth';

/** Exact pictures have no error at all: this mean squared error (90 dB) bounds the PSNR. */
const minSquaredError = 1e-9;

export interface NearestAnswer {
  readonly index: number;
  readonly name: string;
  /** Mean |RGB difference| over the region. */
  readonly error: number;
}

/** Mean of |a - b| (or its square) over the masked pixels and three channels; null when the mask is empty. */
function meanDifference(a: Float32Array, b: Float32Array, mask: Uint8Array, squared = false): number | null {
  const plane = mask.length;
  let sum = 0;
  let count = 0;
  for (let i = 0; i < plane; i++) {
    if (!mask[i]) continue;
    count++;
    const [r, g, bl] = [a[i] - b[i], a[i + plane] - b[i + plane], a[i + 2 * plane] - b[i + 2 * plane]];
    sum += squared ? r * r + g * g + bl * bl : Math.abs(r) + Math.abs(g) + Math.abs(bl);
  }
  return count === 0 ? null : sum / (3 * count);
}

/** Mean |RGB difference| of a view's region to every answer; null when too little of the region is seen. */
export function answerErrors(truth: EditTruth, view: number, picture: Float32Array): number[] | null {
  const region = truth.regions[view];
  if (!region.measurable) return null;
  return truth.answers.map(({ pictures }) => meanDifference(picture, pictures[view], region.inside) as number);
}

/** The valid answer nearest to a view (scene.md 6.3, z decoding); null when too little of the region is seen. */
export function nearestAnswer(truth: EditTruth, view: number, picture: Float32Array): NearestAnswer | null {
  const errors = answerErrors(truth, view, picture);
  if (errors === null || errors.length === 0) return null;
  const index = errors.reduce((best, error, i) => (error < errors[best] ? i : best), 0);
  return { index, name: truth.answers[index].name, error: errors[index] };
}

/** Mean |RGB difference| to the unedited truth outside the dilated region; null when the region fills the view. */
export function untouchedError(truth: EditTruth, view: number, picture: Float32Array): number | null {
  const { outside, outsideCount } = truth.regions[view];
  return outsideCount < 16 ? null : meanDifference(picture, truth.source[view], outside);
}

/** Mean |RGB difference| to the unedited view inside the region; null when too little of it is seen. */
export function editStrength(truth: EditTruth, view: number, picture: Float32Array): number | null {
  const { inside, measurable } = truth.regions[view];
  return measurable ? meanDifference(picture, truth.source[view], inside) : null;
}

export interface AnswerPsnr {
  /** max over answers of the mean over views: faithful and consistent, dB. */
  readonly joint: number | null;
  /** mean over views of the max over answers: faithful view by view, dB. */
  readonly oracle: number | null;
}

/** PSNR of some views to every answer, in the edited region or the whole picture, at most 90 dB. */
export function jointPsnr(
  truth: EditTruth,
  pictures: readonly Float32Array[],
  views: readonly number[],
  where: 'region' | 'whole',
): AnswerPsnr {
  const seen = views.filter((view) => truth.regions[view].measurable);
  if (seen.length === 0 || truth.answers.length === 0) return { joint: null, oracle: null };
  const everywhere = new Uint8Array(truth.width * truth.height).fill(1);
  const psnr = truth.answers.map((answer) =>
    seen.map((view) => {
      const mask = where === 'region' ? truth.regions[view].inside : everywhere;
      const error = meanDifference(pictures[view], answer.pictures[view], mask, true) as number;
      return -10 * Math.log10(Math.max(error, minSquaredError));
    }),
  );
  return {
    joint: Math.max(...psnr.map((values) => mean(values) as number)),
    oracle: mean(seen.map((_, i) => Math.max(...psnr.map((values) => values[i])))),
  };
}

/** Variance of the Laplacian of Rec. 601 luma. */
function lumaVariance(picture: Float32Array, width: number, height: number): number {
  const plane = width * height;
  const luma = new Float64Array(plane);
  for (let i = 0; i < plane; i++) {
    luma[i] = 0.299 * picture[i] + 0.587 * picture[i + plane] + 0.114 * picture[i + 2 * plane];
  }
  return laplacianVariance(luma, width, height);
}

/** Laplacian variance of a view over that of the exact picture of an answer: below 1 blurred, above 1 noisy. */
export function sharpness(truth: EditTruth, view: number, picture: Float32Array, answer: number): number | null {
  const exact = lumaVariance(truth.answers[answer].pictures[view], truth.width, truth.height);
  return exact < 1e-9 ? null : lumaVariance(picture, truth.width, truth.height) / exact;
}

/** Mean colour and mean chroma (largest minus smallest channel) of the region. */
function palette(picture: Float32Array, mask: Uint8Array): { colour: number[]; chroma: number } {
  const plane = mask.length;
  const colour = [0, 0, 0];
  let chroma = 0;
  let count = 0;
  for (let i = 0; i < plane; i++) {
    if (!mask[i]) continue;
    count++;
    const [r, g, b] = [picture[i], picture[i + plane], picture[i + 2 * plane]];
    colour[0] += r;
    colour[1] += g;
    colour[2] += b;
    chroma += Math.max(r, g, b) - Math.min(r, g, b);
  }
  return { colour: colour.map((value) => value / count), chroma: chroma / count };
}

/** Mean |difference| between the region's mean colour and that of the nearest answer's; null for an unseen region. */
export function paletteDistance(truth: EditTruth, view: number, picture: Float32Array): number | null {
  const { inside, measurable } = truth.regions[view];
  if (!measurable || truth.answers.length === 0) return null;
  const { colour } = palette(picture, inside);
  const distances = truth.answers.map(({ pictures }) => {
    const exact = palette(pictures[view], inside).colour;
    return mean(colour.map((value, c) => Math.abs(value - exact[c]))) as number;
  });
  return Math.min(...distances);
}

/** Chroma of the region over the mean chroma of all answers: near 0 for a policy that paints everything grey. */
export function chromaRatio(truth: EditTruth, view: number, picture: Float32Array): number | null {
  const { inside, measurable } = truth.regions[view];
  if (!measurable) return null;
  const exact = mean(truth.answers.map(({ pictures }) => palette(pictures[view], inside).chroma));
  return exact === null || exact < 1e-3 ? null : palette(picture, inside).chroma / exact;
}
