import { z } from 'zod';
import { computeSettings, dtypeSetting, modelSetting, overwriteSetting, pathSetting, verifierSetting } from './common';
import { openFamilyNames, worldSplits } from './world';

const positive = (): z.ZodNumber => z.number().positive();
const count = (most = 1_000_000): z.ZodNumber => z.number().int().min(1).max(most);
const weight = (by: number): z.ZodDefault<z.ZodNumber> => z.number().min(0).max(1000).default(by);

/** Views and instructions of one scene of a user's own data; `preedits` is a folder made by `rl3dedit preedit`. */
const sceneData = z.strictObject({ scene: pathSetting(), preedits: pathSetting() });

const worldData = z.strictObject({
  families: z.array(z.enum(openFamilyNames)).min(1, 'expected a family').default(['floor-any']),
  split: z.enum(worldSplits).default('train'),
  /** Scenes of the split to draw from. */
  scenes: count().default(1000),
  /** Where anchors come from: the exact edit, or the base editor asked for one answer by name. */
  anchors: z.enum(['exact', 'edited']).default('exact'),
});

const customReward = z.strictObject({ path: pathSetting(), weight: weight(0.25) });

export const aggregations = ['per_reward', 'gdpo', 'paper_literal', 'calibrated'] as const;
export type Aggregation = (typeof aggregations)[number];

const rewards = z.strictObject({
  depth: weight(0.25),
  point: weight(0.25),
  pose: weight(0.25),
  anchor: weight(0.25),
  /** Negative controls: known to collapse to flat or blurred pictures. */
  sfm: weight(0),
  warp: weight(0),
  /** Average the logarithm of confidences instead of the confidences. */
  logConfidence: z.boolean().default(true),
  /** Put the anchor in its view's place before the verifier looks (RL3DEdit §3.4). */
  anchorSwap: z.boolean().default(true),
  aggregation: z.enum(aggregations).default('per_reward'),
  /** λ of exp(−λ · distance). */
  anchorScale: positive().default(1),
  lpips: pathSetting().optional(),
  custom: z.array(customReward).default([]),
  /** Deal the rewards of a group to the wrong rollouts: a run that still improves is broken. */
  shuffle: z.boolean().default(false),
});
export type RewardSettings = z.output<typeof rewards>;

const windowSettings = z.strictObject({
  size: count(1000).default(4),
  mode: z.enum(['random', 'progressive']).default('random'),
  /** First stochastic step: drawn from [first, last]. Default: 1 … max(1, steps / 2 − size). */
  first: z.number().int().min(0).optional(),
  last: z.number().int().min(0).optional(),
  /** Updates between moves of a progressive window. */
  every: count().default(25),
});
export type WindowSettings = z.output<typeof windowSettings>;

/** Settings of `rl3dedit train`: the run file. Defaults are the paper's where it states them (specs: method 3.6). */
export const trainSchema = z
  .strictObject({
    out: pathSetting().describe('folder of the run'),
    model: modelSetting,
    verifier: verifierSetting,
    lora: pathSetting().optional().describe('LoRA file to start from'),
    data: z
      .union([z.strictObject({ world: worldData }), z.strictObject({ scenes: z.array(sceneData).min(1) })])
      .describe('what to train on: procedural scenes, or scenes with pre-edits'),
    views: z.number().int().min(1).max(9).default(9).describe('views edited jointly'),
    resolution: z.number().int().min(16).max(4096).optional().describe("side of a view in pixels (default: the model's)"),
    anchorGuided: z.boolean().default(false).describe('one finished view stands in the grid as clean context'),
    fixedAnchor: z.number().int().min(0).max(8).optional().describe('always this view as the anchor (default: drawn per sample)'),
    noise: z.enum(['independent', 'shared']).default('independent').describe('initial noise of the views'),
    groupNoise: z.enum(['shared', 'independent']).default('shared').describe('initial noise of the rollouts of a group'),
    group: z.number().int().min(2, 'a group of 1 has nothing to compare with').max(1024).default(16).describe('rollouts per group'),
    groupsPerUpdate: count(4096).default(4).describe('groups per update'),
    batch: count(4096).optional().describe('rollouts per forward pass (default: the group)'),
    updates: count().default(330).describe('updates of the run'),
    innerEpochs: count(64).default(1).describe('optimiser steps per rollout batch'),
    steps: count(1000).default(12).describe('denoising steps of a rollout'),
    sde: z.enum(['flow_sde', 'flow_sde_cp', 'cps', 'dance']).default('flow_sde').describe('form of the stochastic steps'),
    noiseLevel: z.number().min(0.01).max(10).default(0.8).describe('strength of the exploration'),
    window: windowSettings.prefault({}).describe('stochastic steps'),
    guidance: z.number().min(0).max(100).optional().describe("distilled guidance (default: the model's)"),
    adapter: z
      .strictObject({
        rank: count(4096).default(32),
        alpha: positive().optional(),
        targets: z.array(z.string().min(1)).min(1).optional(),
      })
      .prefault({})
      .describe('LoRA'),
    clip: positive().default(1e-4).describe('range of the clipped ratio'),
    kl: z.number().min(0).max(1000).default(1e-3).describe('weight of the distance to the base, on velocities'),
    guard: z.boolean().default(false).describe('GRPO-Guard: normalised ratios and gradients of one scale for all steps'),
    advantageClip: positive().default(5).describe('largest advantage'),
    optimizer: z
      .strictObject({
        learningRate: positive().max(10).default(3e-4),
        warmup: z.number().int().min(0).default(0),
        /** Share of the run after which the rate falls linearly to a tenth (1: never). */
        decayFrom: z.number().min(0).max(1).default(1),
        beta1: z.number().min(0).max(0.9999).default(0.9),
        beta2: z.number().min(0).max(0.99999).default(0.999),
        weightDecay: z.number().min(0).max(1).default(1e-4),
        gradientNorm: positive().default(1),
      })
      .prefault({})
      .describe('AdamW'),
    ema: z
      .strictObject({ decay: z.number().min(0).max(0.99999).default(0.9), every: count().default(4) })
      .prefault({})
      .describe('average of the adapter: what is evaluated and saved'),
    rewards: rewards.prefault({}).describe('rewards and how they are put together'),
    evaluateEvery: z.number().int().min(0).default(20).describe('updates between evaluations on held-out samples (0: never)'),
    evaluationSamples: count(1000).default(12).describe('held-out samples of an evaluation'),
    sampleEvery: z.number().int().min(0).default(20).describe('updates between sample grids (0: never)'),
    checkpointEvery: count().default(10).describe('updates between checkpoints'),
    keep: count(1000).default(2).describe('checkpoints kept'),
    guards: z
      .strictObject({
        /** Stop when the mean edit strength falls below this share of the first update's. */
        editStrength: z.number().min(0).max(1).default(0.3),
        /** … the sharpness … */
        sharpness: z.number().min(0).max(1).default(0.4),
        /** … the spread of the edits within and between groups … */
        diversity: z.number().min(0).max(1).default(0.15),
        /** Updates in a row before a guard stops the run. */
        patience: count().default(5),
      })
      .prefault({})
      .describe('what stops a run that collapses'),
    matmul: z.enum(['f32', 'bf16']).default('bf16').describe('precision of matrix products on the CPU (sums are f32)'),
    merged: z.boolean().default(false).describe('also write the transformer with the adapter merged into it'),
    plan: z.boolean().default(false).describe('print what the run will hold in memory, and stop'),
    dtype: dtypeSetting,
    ...computeSettings,
    overwrite: overwriteSetting,
  })
  .superRefine((settings, context) => {
    const { steps, window, fixedAnchor, views, anchorGuided } = settings;
    // `with`: further settings that may be the cause, where the one at fault was left at its default.
    const problem = (at: string[], message: string, ...causes: string[]): void =>
      void context.addIssue({ code: 'custom', path: at, message, params: { with: causes } });
    const [first, last] = windowRange(settings);
    if (window.size > steps - 2) problem(['window', 'size'], `${window.size} stochastic steps do not fit between the first and the last of ${steps} steps`, 'steps');
    else if (first < 1) problem(['window', 'first'], 'the first step (0) must stay deterministic: its noise never shrinks with the number of steps');
    else if (last < first) problem(['window', 'last'], `lies before first = ${first}`, 'window');
    else if (last + window.size > steps - 1) {
      problem(['window', 'last'], `a window of ${window.size} at step ${last} reaches the last of ${steps} steps, which must stay deterministic; at most ${steps - 1 - window.size}`, 'steps');
    }
    if (fixedAnchor !== undefined && fixedAnchor >= views) problem(['fixedAnchor'], `there are ${views} views, 0 to ${views - 1}`);
    if (anchorGuided && views < 2) problem(['views'], 'anchor-guided training needs at least two views: one is given', 'anchorGuided');
    const { depth, point, pose, anchor, sfm, warp, custom } = settings.rewards;
    if (depth + point + pose + anchor + sfm + warp + custom.reduce((sum, one) => sum + one.weight, 0) === 0) problem(['rewards'], 'all weights are 0');
  });

export type TrainSettings = z.output<typeof trainSchema>;

/** First and last step at which a window may start (method 3.2: 1 … max(1, steps/2 − size)). */
export function windowRange({ steps, window }: { steps: number; window: WindowSettings }): [number, number] {
  const first = window.first ?? 1;
  const usual = window.mode === 'progressive' ? steps - 1 - window.size : Math.max(first, Math.floor(steps / 2) - window.size);
  return [first, window.last ?? usual];
}
