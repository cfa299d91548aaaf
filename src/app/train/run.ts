/** One update of a run: groups are rolled out, judged, and scored, then the adapter takes a step. */
import { AbortError } from '../../binding/errors';
import type { TrainSettings } from '../../config/train';
import type { UpdateFigures } from '../../report/metrics-file';
import { scoreGroups } from '../../rewards';
import type { GroupScores, RewardTerm, TermValues } from '../../rewards';
import type { Image } from '../../scene';
import { scaleInPlace, sumOfSquares } from '../../tensor/ops';
import { scope, unscoped } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import type { Trained } from './checkpoint';
import { withAnchor } from './evaluate';
import { editHealth } from './health';
import type { EditHealth } from './health';
import type { Judge } from './judge';
import { disposeCondition } from './policy';
import type { Policy, Roles } from './policy';
import { disposeBatches, rollOut } from './rollout';
import type { RolloutBatch } from './rollout';
import type { SampleSource, TrainSample } from './samples';
import { accumulate } from './update';
import type { StepFigures } from './update';
import { windowStart } from './window';

export interface Run {
  settings: TrainSettings;
  policy: Policy;
  trained: Trained;
  judge: Judge;
  terms: readonly RewardTerm[];
  source: SampleSource;
  signal: AbortSignal;
}

/** A judged group; `pictures` are its rollouts with the anchor in its place where it was given. */
export interface JudgedGroup {
  sample: TrainSample;
  batches: RolloutBatch[];
  pictures: Image[][];
  values: TermValues[];
  health: EditHealth;
  windowStart: number;
}

export function rolesOf({ anchorGuided }: TrainSettings, { before, anchor }: TrainSample): Roles {
  const views = before.map((_, v) => v);
  return anchorGuided ? { targets: views.filter((v) => v !== anchor.view), contexts: [anchor.view] } : { targets: views, contexts: [] };
}

/** Rolls out and judges one group. The caller disposes its batches. */
export async function judgedGroup(run: Run, update: number, group: number): Promise<JudgedGroup> {
  const { settings, policy, judge, terms, source, signal } = run;
  const sample = await source.sample(update, group);
  const roles = rolesOf(settings, sample);
  const contexts = roles.contexts.map(() => sample.anchor.picture);
  const condition = await policy.condition({ ...sample, roles, contexts });
  const start = windowStart(settings, update, group);
  try {
    const { batches, latents } = await rollOut(policy, condition, settings, { update, group, start }, signal);
    try {
      const made = await policy.decode(latents, condition);
      const given = settings.anchorGuided ? sample.anchor.view : null;
      const pictures = made.map((views) => withAnchor(views, sample.before.length, given, sample.anchor.picture));
      const values = await judge.judge(sample, pictures, terms, signal);
      const health = editHealth(sample.before, pictures, given === null ? [] : [given]);
      return { sample, batches, pictures, values, health, windowStart: start };
    } catch (error) {
      disposeBatches(batches);
      throw error;
    } finally {
      latents.dispose();
    }
  } finally {
    disposeCondition(condition);
  }
}

/** All groups of an update, then as many optimiser steps as there are inner epochs. */
export async function runUpdate(
  run: Run,
  update: number,
  onGroup: (group: JudgedGroup, index: number) => void,
): Promise<UpdateFigures> {
  const { settings, trained } = run;
  const groups: JudgedGroup[] = [];
  try {
    for (let g = 0; g < settings.groupsPerUpdate; g++) {
      const group = await judgedGroup(run, update, g);
      groups.push(group);
      onGroup(group, g);
    }
    const { aggregation, shuffle } = settings.rewards;
    const scores = scoreGroups(
      { aggregation, advantageClip: settings.advantageClip, shuffle, seed: settings.seed + update },
      groups.map(({ values }) => values),
    );
    const figures: StepFigures = { ratios: [], clippedHigh: 0, clippedLow: 0, kl: [], loss: 0 };
    let [norm, rate] = [0, 0];
    for (let epoch = 0; epoch < settings.innerEpochs; epoch++) {
      const sums = zeros(trained);
      try {
        // Once a step was taken the update is finished: half of one could not be taken up again.
        await addGradients(run, groups, scores, sums, figures, epoch === 0);
        norm = await clipped(sums, settings.optimizer.gradientNorm);
        rate = learningRate(settings, update);
        // A step into no numbers would end the run for good; the guards report it.
        if (Number.isFinite(norm)) trained.optimizer.step(sums, rate);
        await trained.device.sync();
      } finally {
        for (const sum of sums.values()) sum.dispose();
      }
    }
    return summary(groups, scores, figures, norm, rate);
  } finally {
    for (const { batches } of groups) disposeBatches(batches);
  }
}

async function addGradients(
  { settings, policy, trained, signal }: Run,
  groups: readonly JudgedGroup[],
  scores: readonly GroupScores[],
  sums: Map<Tensor, Tensor>,
  figures: StepFigures,
  abortable: boolean,
): Promise<void> {
  const share = 1 / (settings.window.size * settings.group * groups.length);
  for (const [g, { batches }] of groups.entries()) {
    // Nothing to learn from, and its KL alone would pull with a weight that depends on luck.
    if (scores[g].zeroVariance) continue;
    for (const batch of batches) {
      if (abortable && signal.aborted) throw new AbortError();
      const advantages = scores[g].advantages.slice(batch.first, batch.first + batch.size);
      const added = await accumulate(policy, trained.lora, batch, advantages, settings, share, sums);
      figures.ratios.push(...added.ratios);
      figures.kl.push(...added.kl);
      figures.clippedHigh += added.clippedHigh;
      figures.clippedLow += added.clippedLow;
      figures.loss += added.loss / settings.innerEpochs;
    }
  }
}

function zeros({ lora }: Trained): Map<Tensor, Tensor> {
  return unscoped(() =>
    new Map(
      [...lora.parameters().values()].map((parameter) => {
        const sum = parameter.device.empty(parameter.shape);
        scaleInPlace(sum, 0);
        return [parameter, sum];
      }),
    ),
  );
}

async function clipped(sums: Map<Tensor, Tensor>, limit: number): Promise<number> {
  const total = scope(() => sumOfSquares([...sums.values()]));
  const [square] = await total.toFloat32();
  total.dispose();
  const norm = Math.sqrt(square);
  if (norm > limit) for (const sum of sums.values()) scaleInPlace(sum, limit / norm);
  return norm;
}

/** Up over the warm-up, then flat, then down to a tenth at the last update. */
export function learningRate({ optimizer, updates }: TrainSettings, update: number): number {
  const { learningRate: peak, warmup, decayFrom } = optimizer;
  const up = Math.min(1, (update + 1) / Math.max(1, warmup));
  const progress = update / updates;
  const down = progress <= decayFrom ? 1 : 1 - 0.9 * ((progress - decayFrom) / (1 - decayFrom));
  return peak * up * down;
}

function summary(
  groups: readonly JudgedGroup[],
  scores: readonly GroupScores[],
  { ratios, clippedHigh, clippedLow, kl, loss }: StepFigures,
  gradientNorm: number,
  rate: number,
): UpdateFigures {
  const rewards: UpdateFigures['rewards'] = {};
  for (const name of Object.keys(scores[0].terms)) {
    const terms = scores.map((score) => score.terms[name]);
    const finite = terms.flatMap(({ values }) => values.filter(Number.isFinite));
    rewards[name] = {
      mean: mean(finite),
      // Inside the groups: what tells rollouts of one sample apart.
      std: mean(terms.map(({ used }) => deviation(used))),
      invalid: terms.reduce((sum, { invalid }) => sum + invalid, 0),
    };
  }
  const advantages = scores.flatMap((score) => score.advantages);
  const healthy = (pick: (health: EditHealth) => number): number => mean(groups.map(({ health }) => pick(health)));
  return {
    rewards,
    advantage: { mean: mean(advantages), std: deviation(advantages) },
    ratio: ratios.length === 0 ? { mean: 1, min: 1, max: 1 } : { mean: mean(ratios), min: Math.min(...ratios), max: Math.max(...ratios) },
    clipFraction: { high: clippedHigh / Math.max(1, ratios.length), low: clippedLow / Math.max(1, ratios.length) },
    kl: kl.length === 0 ? 0 : mean(kl),
    loss,
    gradientNorm,
    learningRate: rate,
    zeroVarianceShare: scores.filter(({ zeroVariance }) => zeroVariance).length / scores.length,
    sharpness: healthy(({ sharpness }) => sharpness),
    editStrength: healthy(({ editStrength }) => editStrength),
    diversity: healthy(({ diversity }) => diversity),
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function deviation(values: readonly number[]): number {
  const centre = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - centre) ** 2)));
}
