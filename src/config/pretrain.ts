import { z } from 'zod';
import { computeSettings, overwriteSetting, pathSetting, resumeSetting } from './common';

/** Tiny networks in the order in which each needs the earlier ones. */
export const tinyNetworks = ['tokenizer', 'vae', 'editor', 'verifier'] as const;
export type TinyNetwork = (typeof tinyNetworks)[number];

/** Settings of `rl3dedit pretrain`. */
export const pretrainSchema = z.strictObject({
  network: z
    .enum(['all', ...tinyNetworks])
    .default('all')
    .describe('which tiny network to train'),
  out: pathSetting().describe('folder for the networks, their checkpoints and metrics'),
  photos: pathSetting().optional().describe('folder of photographs mixed into the training pictures'),
  init: pathSetting().optional().describe('model folder whose weights the editor starts from (default: random)'),
  initShare: z.number().min(0).max(1).default(0).describe('share of the weights of --init in the result: the average of both often beats either'),
  scenes: z.number().int().min(1).max(1_000_000).default(1000).describe('scenes that the editor has at hand at a time'),
  freshScenes: z.number().min(0).max(100).default(0.3).describe('new scenes per step of the editor, each in place of the oldest'),
  resolution: z
    .number()
    .int()
    .min(16)
    .max(1024)
    .optional()
    .describe("side of a training view in pixels (default: the network's)"),
  steps: z.number().int().min(1).max(10_000_000).optional().describe("optimiser steps (default: the recipe's)"),
  batch: z.number().int().min(1).max(4096).optional().describe("samples per step (default: the recipe's)"),
  learningRate: z.number().positive().max(10).optional().describe("peak learning rate (default: the recipe's)"),
  minutes: z
    .number()
    .positive()
    .max(100_000)
    .optional()
    .describe('stop after this wall time, with the schedule fitted to it'),
  logEvery: z.number().int().min(1).max(1_000_000).default(10).describe('steps between logged metrics'),
  evalEvery: z
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(200)
    .describe('steps between held-out evaluations and checkpoints'),
  ...computeSettings,
  overwrite: overwriteSetting,
  resume: resumeSetting,
});

export type PretrainSettings = z.output<typeof pretrainSchema>;
