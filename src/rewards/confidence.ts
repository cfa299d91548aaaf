/**
 * Confidence rewards r_D and r_P (RL3DEdit, arXiv 2603.03143, eq. 1): means over pixels and views of the verifier's depth and point
 * confidences. A confidence is 1 + exp(·) >= 1; with VGGT's loss its logarithm follows −log of the expected error.
 */
import { ShapeError } from '../binding/errors';

/** Confidences of one view. */
export interface ViewConfidence {
  /** Mean over pixels: the paper's figure. */
  mean: number;
  /** Mean of the logarithm: not ruled by the few most confident pixels. */
  meanLog: number;
  /** Share of pixels below 1.5: the lowest useful threshold. */
  lowShare: number;
  /** Pixels whose confidence was no number; they count as 1, the lowest. */
  invalid: number;
}

export interface ConfidenceReward {
  views: ViewConfidence[];
  /** Means over views. */
  mean: number;
  meanLog: number;
  /** Of the worst view: one bad view in nine moves the mean little. */
  minMean: number;
  minMeanLog: number;
  invalid: number;
}

const lowConfidence = 1.5;

/**
 * Statistics of confidences [V, pixels]. `mask` [V, pixels] takes the pixels where it is not 0 (padding and borders out).
 * Never NaN: what is no number counts as 1, an overflow to infinity as the largest f32.
 * @throws ShapeError when the sizes do not fit or a view has no pixel
 */
export function confidenceReward(confidence: ArrayLike<number>, views: number, mask?: ArrayLike<number>): ConfidenceReward {
  const pixels = confidence.length / views;
  if (!Number.isInteger(views) || views < 1 || !Number.isInteger(pixels) || pixels < 1) {
    throw new ShapeError(`confidence reward: ${confidence.length} confidences do not divide into ${views} views`);
  }
  if (mask && mask.length !== confidence.length) {
    throw new ShapeError(`confidence reward: the mask has ${mask.length} pixels, the confidences ${confidence.length}`);
  }
  const each = Array.from({ length: views }, (_, v) => viewConfidence(confidence, v * pixels, (v + 1) * pixels, mask));
  const empty = each.findIndex((view) => view === undefined);
  if (empty >= 0) throw new ShapeError(`confidence reward: the mask leaves no pixel of view ${empty}`);
  const known = each as ViewConfidence[];
  const average = (pick: (view: ViewConfidence) => number): number => known.reduce((sum, view) => sum + pick(view), 0) / views;
  return {
    views: known,
    mean: average((view) => view.mean),
    meanLog: average((view) => view.meanLog),
    minMean: Math.min(...known.map((view) => view.mean)),
    minMeanLog: Math.min(...known.map((view) => view.meanLog)),
    invalid: known.reduce((sum, view) => sum + view.invalid, 0),
  };
}

const largest = 3.4e38;

function viewConfidence(values: ArrayLike<number>, from: number, to: number, mask?: ArrayLike<number>): ViewConfidence | undefined {
  let [count, sum, logs, low, invalid] = [0, 0, 0, 0, 0];
  for (let i = from; i < to; i++) {
    if (mask && mask[i] === 0) continue;
    const valid = values[i] >= 1;
    const c = valid ? Math.min(values[i], largest) : 1;
    count += 1;
    sum += c;
    logs += Math.log(c);
    if (c < lowConfidence) low += 1;
    if (!valid) invalid += 1;
  }
  if (count === 0) return undefined;
  return { mean: sum / count, meanLog: logs / count, lowShare: low / count, invalid };
}
