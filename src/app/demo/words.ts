/** What a demo's figures mean, for people who read only one paragraph. */
import type { DemoFigures } from '../demo';

export interface Story {
  before: DemoFigures;
  after: DemoFigures;
  sharedNoise: DemoFigures;
  paperMode?: DemoFigures;
  paperBefore?: DemoFigures;
  unseenBefore: DemoFigures;
  unseenAfter: DemoFigures;
}

/** Entropy below this share of the base's is a loss of diversity worth saying. */
const keptDiversity = 0.95;
/** Mixed over joint error from which views are said to follow their anchor. */
const followsAnchor = 1.6;

export function inPlainWords({ before, after, sharedNoise, paperMode, paperBefore, unseenBefore, unseenAfter }: Story): string[] {
  const value = (of: DemoFigures, name: string): number => of[name] ?? NaN;
  const change = (a: number, b: number): string => `${b >= a ? '+' : '−'}${Math.abs(100 * (b / a - 1)).toFixed(0)} %`;
  const [warp, warpAfter] = [value(before, 'warpError'), value(after, 'warpError')];
  const joint = value(after, 'mixedWarpError') / warpAfter;
  const diversity = value(after, 'entropy') / value(before, 'entropy');
  const text = [
    `Training changed the true disagreement between views by ${change(warp, warpAfter)} (${warp.toFixed(3)} to ${warpAfter.toFixed(3)}); the share of views ` +
      `that show their anchor's answer went from ${value(before, 'agreement').toFixed(2)} to ${value(after, 'agreement').toFixed(2)}, what the anchor tells about ` +
      `the other views from ${value(before, 'mutualInformationBits').toFixed(2)} to ${value(after, 'mutualInformationBits').toFixed(2)} bits.`,
    (diversity >= keptDiversity
      ? `The editor still gives all kinds of answers (entropy ${value(after, 'entropy').toFixed(2)})`
      : `The editor has lost diversity (entropy ${value(before, 'entropy').toFixed(2)} to ${value(after, 'entropy').toFixed(2)})`) +
      (joint >= followsAnchor
        ? `, and views taken from edits with other anchors disagree ${joint.toFixed(1)} times as much: the views follow their anchor.`
        : `, and views taken from edits with other anchors disagree only ${joint.toFixed(1)} times as much: part of the gain is that all edits became alike.`),
    `Price: the error of single views to the nearest valid answer changed by ${change(value(before, 'quality'), value(after, 'quality'))}, of regions that should stay ` +
      `as they were by ${change(value(before, 'untouched'), value(after, 'untouched'))}.`,
    `Giving all views the same starting noise costs nothing and makes views alike among themselves (error ${value(sharedNoise, 'warpError').toFixed(3)}), but it cannot make them ` +
      `follow a given edit: agreement with the anchor is ${value(sharedNoise, 'agreement').toFixed(2)}.`,
    `Instructions and scenes kept out of all training: error ${value(unseenBefore, 'warpError').toFixed(3)} to ${value(unseenAfter, 'warpError').toFixed(3)}, agreement ` +
      `${value(unseenBefore, 'agreement').toFixed(2)} to ${value(unseenAfter, 'agreement').toFixed(2)}.`,
  ];
  if (paperMode && paperBefore) {
    const [free, tuned] = [value(paperBefore, 'warpError'), value(paperMode, 'warpError')];
    const kept = value(paperMode, 'entropy') / value(paperBefore, 'entropy');
    text.push(
      `Without an anchor (the paper's mode) the error went from ${free.toFixed(3)} to ${tuned.toFixed(3)} and the entropy of the answers from ` +
        `${value(paperBefore, 'entropy').toFixed(2)} to ${value(paperMode, 'entropy').toFixed(2)}; views of different edits mixed disagree by ` +
        `${value(paperMode, 'mixedWarpError').toFixed(3)}` +
        (kept < keptDiversity ? ': part of the gain is that the editor settles on few answers.' : '.'),
    );
  }
  text.push(
    'Reinforcement learning strengthens a dependence between views that the base editor already has in part; it does not invent one. All figures use exact depth and cameras, never the verifier.',
  );
  return text;
}
