/** All measures of multi-view edits, per sample and pooled over samples (scene.md 6.3). Truth only: no learned judge. */
import { ConfigError, ShapeError } from '../../../binding/errors';
import { mixedControl, type Run } from './mixed';
import { chromaRatio, editStrength, jointPsnr, nearestAnswer, paletteDistance, sharpness, untouchedError } from './pictures';
import { AnswerCounts, mean, Mean, PairCounts } from './statistics';
import type { EditTruth } from './truth';
import { warpError } from './warp';

/** One edit of V views. The pictures are kept, not copied, until the last `summary`. */
export interface EditSample {
  readonly truth: EditTruth;
  /** V pictures [3, H, W] in [0, 1], values outside are measured as they are. */
  readonly pictures: readonly Float32Array[];
  /** Index of the view that was given to the editor finished, null when all views were made. */
  readonly anchor: number | null;
  /** The answer the given view shows; by default the nearest. */
  readonly anchorAnswer?: string;
}

/** Means over generated views, i.e. all but the given one. Null: not measurable in these views. */
export interface SampleMeasures {
  /** Warp error of the edited region over all ordered pairs of views, with the given view, and without it. */
  readonly warpError: number | null;
  readonly warpToAnchor: number | null;
  readonly warpAmongViews: number | null;
  /** Warp error of all mutually visible pixels over all pairs. */
  readonly warpWhole: number | null;
  /** Share of (given view, view) pairs with the same nearest answer; of all pairs when none is given. */
  readonly agreement: number | null;
  /** The same among generated views. */
  readonly agreementAmongViews: number | null;
  /** Mean |RGB error| of the region to the nearest answer. */
  readonly quality: number | null;
  /** Mean |RGB error| outside the dilated region to the unedited truth. */
  readonly untouched: number | null;
  /** PSNR in the region, dB: the best common answer, and the best answer of each view. */
  readonly jointPsnr: number | null;
  readonly oraclePsnr: number | null;
  /** The same over whole pictures. */
  readonly jointPsnrWhole: number | null;
  readonly oraclePsnrWhole: number | null;
  /** Laplacian variance over that of the nearest answer. */
  readonly sharpness: number | null;
  readonly paletteDistance: number | null;
  readonly chromaRatio: number | null;
  /** Mean |RGB difference| of the region to the unedited view. */
  readonly editStrength: number | null;
  /** Share of views nearer to the unedited view than to any answer. */
  readonly unedited: number | null;
}

export interface MeasureSummary extends SampleMeasures {
  /** Plug-in mutual information of (anchor answer, view answer), bits; of ordered pairs of views without anchors. */
  readonly mutualInformationBits: number | null;
  /** With the Miller-Madow correction of the plug-in's positive bias. */
  readonly mutualInformationCorrectedBits: number | null;
  /** Entropy of the generated views' answers over log(number of answer names that occur in any sample's edit). */
  readonly entropy: number | null;
  /** The generated views' answers. */
  readonly answerShares: Readonly<Record<string, number>>;
  /** `warpError` and `agreement` after the generated views were exchanged with runs of other anchors. */
  readonly mixedWarpError: number | null;
  readonly mixedAgreement: number | null;
  readonly samples: number;
}

const averaged = [
  'warpError', 'warpToAnchor', 'warpAmongViews', 'warpWhole', 'agreement', 'agreementAmongViews', 'quality', 'untouched',
  'jointPsnr', 'oraclePsnr', 'jointPsnrWhole', 'oraclePsnrWhole', 'sharpness', 'paletteDistance', 'chromaRatio',
  'editStrength', 'unedited',
] as const satisfies readonly (keyof SampleMeasures)[];

function checkSample({ truth, pictures, anchor, anchorAnswer }: EditSample): void {
  const views = truth.source.length;
  if (pictures.length !== views) throw new ShapeError(`measures: ${pictures.length} pictures, the truth has ${views} views`);
  const length = 3 * truth.width * truth.height;
  pictures.forEach((picture, v) => {
    if (picture.length !== length) {
      throw new ShapeError(`measures: picture ${v} has ${picture.length} values, expected 3x${truth.height}x${truth.width}`);
    }
  });
  if (anchor !== null && (!Number.isInteger(anchor) || anchor < 0 || anchor >= views)) {
    throw new ConfigError(`measures: anchor ${anchor} is none of the views 0..${views - 1}`);
  }
  if (anchorAnswer !== undefined && (anchor === null || !truth.answers.some(({ name }) => name === anchorAnswer))) {
    const names = truth.answers.map(({ name }) => name).join(', ');
    throw new ConfigError(`measures: anchor answer "${anchorAnswer}" needs an anchor and must be one of ${names}`);
  }
}

/** Share of pairs of equal names, pairs with an unknown one left out. */
function sameShare(pairs: readonly (readonly [string | null, string | null])[]): number | null {
  return mean(pairs.map(([a, b]) => (a === null || b === null ? null : Number(a === b))));
}

/** The measures of one sample, and the answers its views show (null where too little of the region is seen). */
export function measureSample(sample: EditSample): { measures: SampleMeasures; answers: (string | null)[] } {
  checkSample(sample);
  const { truth, pictures, anchor, anchorAnswer } = sample;
  const nearest = pictures.map((picture, v) => nearestAnswer(truth, v, picture));
  const answers = nearest.map((found, v) => (v === anchor && anchorAnswer ? anchorAnswer : (found?.name ?? null)));
  const made = pictures.map((_, v) => v).filter((v) => v !== anchor);
  const over = (measure: (view: number) => number | null): number | null => mean(made.map(measure));
  const among = made.flatMap((a, i) => made.slice(i + 1).map((b) => [answers[a], answers[b]] as const));
  const agreementAmongViews = sameShare(among);
  const warp = warpError(truth, pictures, anchor);
  const region = jointPsnr(truth, pictures, made, 'region');
  const whole = jointPsnr(truth, pictures, made, 'whole');
  const strength = (v: number): number | null => editStrength(truth, v, pictures[v]);
  const measures: SampleMeasures = {
    warpError: warp.all.edited,
    warpToAnchor: warp.toAnchor.edited,
    warpAmongViews: warp.amongViews.edited,
    warpWhole: warp.all.whole,
    agreement: anchor === null ? agreementAmongViews : sameShare(made.map((v) => [answers[anchor], answers[v]] as const)),
    agreementAmongViews,
    quality: over((v) => nearest[v]?.error ?? null),
    untouched: over((v) => untouchedError(truth, v, pictures[v])),
    jointPsnr: region.joint,
    oraclePsnr: region.oracle,
    jointPsnrWhole: whole.joint,
    oraclePsnrWhole: whole.oracle,
    sharpness: over((v) => {
      const found = nearest[v];
      return found && sharpness(truth, v, pictures[v], found.index);
    }),
    paletteDistance: over((v) => paletteDistance(truth, v, pictures[v])),
    chromaRatio: over((v) => chromaRatio(truth, v, pictures[v])),
    editStrength: over(strength),
    unedited: over((v) => {
      const [found, distance] = [nearest[v], strength(v)];
      return found === null || distance === null ? null : Number(distance < found.error);
    }),
  };
  return { measures, answers };
}

/** Pools samples of any number of scenes and anchors. */
export class MeasureSet {
  private readonly means_ = new Map(averaged.map((key) => [key, new Mean()] as const));
  private readonly counts_ = new AnswerCounts();
  private readonly pairs_ = new PairCounts();
  private readonly names_ = new Set<string>();
  private readonly runs_ = new Map<string, Run[]>();
  private samples_ = 0;

  /** Adds a sample and returns its own measures. Throws ShapeError or ConfigError for one that does not fit its truth. */
  add(sample: EditSample): SampleMeasures {
    const { measures, answers } = measureSample(sample);
    const { truth, anchor, pictures } = sample;
    for (const key of averaged) this.means_.get(key)?.add(measures[key]);
    for (const { name } of truth.answers) this.names_.add(name);
    answers.forEach((name, v) => {
      if (v === anchor || name === null) return;
      this.counts_.add(name);
      answers.forEach((other, u) => {
        if (u !== v && other !== null && (anchor === null || u === anchor)) this.pairs_.add(other, name);
      });
    });
    const key = `${truth.key}/${anchor}`;
    this.runs_.set(key, [...(this.runs_.get(key) ?? []), { truth, pictures, anchor, answers }]);
    this.samples_++;
    return measures;
  }

  /** Means over all samples; every value is finite or null. */
  summary(): MeasureSummary {
    const mixed = mixedControl([...this.runs_.values()]);
    const means = Object.fromEntries(averaged.map((key) => [key, this.means_.get(key)?.value() ?? null]));
    return {
      ...(means as unknown as SampleMeasures),
      mutualInformationBits: this.pairs_.mutualInformationBits(),
      mutualInformationCorrectedBits: this.pairs_.millerMadowBits(),
      entropy: this.counts_.normalisedEntropy(this.names_.size),
      answerShares: this.counts_.shares(),
      mixedWarpError: mixed.warpError,
      mixedAgreement: mixed.agreement,
      samples: this.samples_,
    };
  }
}
