import { z } from 'zod';
import { computeSettings, modelSetting, overwriteSetting, pathSetting, verifierSetting } from './common';

/** Settings of `rl3dedit reconstruct`. */
export const reconstructSchema = z.strictObject({
  scene: pathSetting().describe('folder of photographs with cameras'),
  out: pathSetting().describe('folder for the splat scene'),
  resolution: z.number().int().min(16).max(8192).default(512).describe('longer side of a view in pixels; never more than the photographs have'),
  iterations: z.number().int().min(1).max(1_000_000).default(7000).describe('optimiser steps, one view each'),
  strategy: z
    .enum(['mcmc', 'densify'])
    .default('mcmc')
    .describe('where Gaussians go: mcmc (hard cap, robust) or densify (clone and split by gradients)'),
  cap: z.number().int().min(1).max(50_000_000).optional().describe('Gaussians at most (default: 1.2 per pixel of a view)'),
  init: z
    .enum(['points', 'verifier', 'random'])
    .optional()
    .describe("where they start: the scene's points, what the verifier sees, or random (default: points, else random)"),
  model: modelSetting.describe('whose verifier --init verifier asks'),
  verifier: verifierSetting,
  shDegree: z.number().int().min(0).max(3).default(3).describe('degree of the spherical harmonics'),
  testEvery: z.number().int().min(0).max(1000).default(8).describe('every n-th view is held out to measure (0: none)'),
  ...computeSettings,
  overwrite: overwriteSetting,
});

export type ReconstructSettings = z.output<typeof reconstructSchema>;
