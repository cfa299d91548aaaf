import { z } from 'zod';
import { computeSettings, modelSetting, pathSetting } from './common';
import { maxViews } from './edit';

/** Settings of `rl3dedit demo`. */
export const demoSchema = z.strictObject({
  out: pathSetting().default('rl3dedit-demo').describe('folder for the pictures'),
  prompt: z
    .string()
    .trim()
    .min(1, 'expected an instruction')
    .default('turn the photo into sepia')
    .describe('the edit in one sentence'),
  views: z.number().int().min(1).max(maxViews).default(maxViews).describe('views edited jointly'),
  resolution: z
    .number()
    .int()
    .min(16)
    .max(4096)
    .optional()
    .describe("long side of a view in pixels (default: the model's)"),
  steps: z.number().int().min(1).max(1000).optional().describe("denoising steps (default: the model's)"),
  noise: z.enum(['independent', 'shared']).default('independent').describe('initial noise of the views'),
  model: modelSetting,
  updates: z.number().int().min(1).max(10_000).default(72).describe('updates of the anchor-guided training'),
  paperUpdates: z.number().int().min(0).max(10_000).default(12).describe("updates of the paper's mode, for comparison (0: none)"),
  refit: z.enum(['source', 'none']).default('source').describe('whether the edited views become a splat scene'),
  samples: z.number().int().min(1).max(1000).default(16).describe('held-out scenes that everything is measured on'),
  ...computeSettings,
});

export type DemoSettings = z.output<typeof demoSchema>;
