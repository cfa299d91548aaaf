/** How long to fit, found on edited views that the fit did not see. */
import { mean } from '../vec3';

/** Views to leave out, spread evenly over those that show the edit. */
export function leftOut(shows: readonly boolean[], folds: number): number[] {
  const views = shows.map((_, v) => v).filter((v) => shows[v]);
  const count = views.length < 3 ? 0 : Math.min(folds, views.length);
  return Array.from({ length: count }, (_, k) => views[Math.floor(((k + 0.5) * views.length) / count)]);
}

/**
 * The checkpoint where the views left out are met best, [fold][checkpoint]: the last one that is worse than the highest by no more than so
 * many standard errors of their difference. With 0 that is the highest itself.
 */
export function bestCheckpoint(curves: readonly (readonly number[])[], standardErrors: number): number {
  const means = curves[0].map((_, k) => mean(curves.map((curve) => curve[k])));
  const highest = means.indexOf(Math.max(...means));
  const isAsGood = (k: number): boolean => {
    const worse = curves.map((curve) => curve[highest] - curve[k]);
    const variance = mean(worse.map((x) => (x - mean(worse)) ** 2)) / Math.max(1, worse.length - 1);
    return mean(worse) <= standardErrors * Math.sqrt(variance);
  };
  return means.reduce((last, _, k) => (k > last && isAsGood(k) ? k : last), highest);
}
