/**
 * Figures that show a run going wrong before its rewards do, and the guards that stop it: a policy that stops editing, blurs, gives
 * every view and group the same picture, or has no numbers any more.
 */
import type { TrainSettings } from '../../config/train';
import type { Image } from '../../scene';
import { laplacianVariance } from '../../scene/sharpness';

export interface EditHealth {
  /** Mean absolute difference of the edited views to the unedited ones. */
  editStrength: number;
  /** Variance of the Laplacian of the edited views over that of the unedited ones. */
  sharpness: number;
  /** Mean deviation over the rollouts of a group of what every pixel shows. */
  diversity: number;
}

/** @param rollouts [G][M]; views listed in `skip` (the anchor) do not count */
export function editHealth(before: readonly Image[], rollouts: readonly (readonly Image[])[], skip: readonly number[]): EditHealth {
  const views = before.flatMap((_, v) => (skip.includes(v) ? [] : [v]));
  let [strength, edited, source, spread] = [0, 0, 0, 0];
  for (const v of views) {
    const unedited = before[v];
    source += detail(unedited) * rollouts.length;
    for (const rollout of rollouts) {
      edited += detail(rollout[v]);
      strength += meanDifference(rollout[v].data, unedited.data);
    }
    spread += deviation(rollouts.map((rollout) => rollout[v].data));
  }
  const count = views.length * rollouts.length;
  return { editStrength: strength / count, sharpness: edited / Math.max(source, 1e-12), diversity: spread / views.length };
}

function meanDifference(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += Math.abs(a[i] - b[i]);
  return sum / a.length;
}

/** Variance of the Laplacian of the mean of the channels. */
function detail({ data, width, height }: Image): number {
  const plane = width * height;
  const grey = new Float64Array(plane);
  for (let i = 0; i < plane; i++) grey[i] = (data[i] + data[plane + i] + data[2 * plane + i]) / 3;
  return laplacianVariance(grey, width, height);
}

function deviation(pictures: readonly Float32Array[]): number {
  const [{ length }] = pictures;
  let total = 0;
  for (let i = 0; i < length; i++) {
    let [sum, squares] = [0, 0];
    for (const picture of pictures) {
      sum += picture[i];
      squares += picture[i] * picture[i];
    }
    total += Math.sqrt(Math.max(0, squares / pictures.length - (sum / pictures.length) ** 2));
  }
  return total / length;
}

/** What the guards remember; part of a checkpoint. */
export interface GuardState {
  /** Mean figures of the first updates, as many as `patience`: single updates differ by the scenes they show. */
  start?: { health: EditHealth; updates: number };
  strikes: Record<string, number>;
}

/** Checks an update; gives the reason to stop once a figure stayed too low for `patience` updates, or is no number. */
export function guard(state: GuardState, health: EditHealth & { loss: number; gradientNorm: number }, limits: TrainSettings['guards']): string | undefined {
  for (const [name, value] of Object.entries(health)) {
    if (!Number.isFinite(value)) return `${name} is ${value}: the run has no numbers any more; lower optimizer.learningRate or noiseLevel`;
  }
  const start = (state.start ??= { health: { editStrength: 0, sharpness: 0, diversity: 0 }, updates: 0 });
  if (start.updates < limits.patience) {
    start.updates += 1;
    for (const { name } of checks) start.health[name] += (health[name] - start.health[name]) / start.updates;
    return undefined;
  }
  for (const { name, advice } of checks) {
    const least = limits[name] * start.health[name];
    state.strikes[name] = health[name] < least ? (state.strikes[name] ?? 0) + 1 : 0;
    if (state.strikes[name] >= limits.patience) {
      return `${name} ${health[name].toPrecision(3)} stayed below ${least.toPrecision(3)} for ${limits.patience} updates: ${advice}`;
    }
  }
  return undefined;
}

const checks = [
  { name: 'editStrength', advice: 'the policy has stopped editing; give the anchor reward more weight' },
  { name: 'sharpness', advice: 'the pictures blur; raise kl or lower optimizer.learningRate' },
  { name: 'diversity', advice: 'all rollouts look the same (mode collapse); raise kl, or train anchor-guided' },
] as const;
