import { z } from 'zod';
import { computeSettings, dtypeSetting, modelSetting, overwriteSetting, resumeSetting } from './common';

const path = (): z.ZodString => z.string().min(1, 'expected a path');

/** Settings of `rl3dedit preedit`. */
export const preeditSchema = z
  .strictObject({
    scene: path().describe('scene: a folder with transforms.json, or the file itself'),
    out: path().describe('folder for the edits'),
    prompt: z.string().trim().min(1, 'expected an instruction').optional().describe('the edit in one sentence'),
    prompts: path().optional().describe('text file with one instruction per line (empty lines and # comments are skipped)'),
    model: modelSetting,
    vae: path().optional().describe('autoencoder, for a single-file --model: a file or a folder'),
    text: path().optional().describe('folder with the text encoders and tokenizers, for a single-file --model'),
    views: z.number().int().min(1).max(300).optional().describe('views to edit, evenly chosen (default: every view)'),
    viewNames: z
      .array(z.string())
      .min(1, 'expected a name')
      .max(300, 'expected at most 300 names')
      .optional()
      .describe('these views, by image name (comma-separated)'),
    resolution: z
      .number()
      .int()
      .min(16)
      .max(4096)
      .optional()
      .describe("long side of an edit in pixels (default: the model's, else about a megapixel)"),
    steps: z.number().int().min(1).max(1000).optional().describe("denoising steps (default: the model's)"),
    guidance: z.number().min(0).max(100).optional().describe("distilled guidance (default: the model's)"),
    lora: path().optional().describe('LoRA file put on the editor'),
    loraScale: z.number().min(-10).max(10).default(1).describe('strength of the LoRA'),
    vaeTile: z
      .number()
      .int()
      .min(0)
      .max(8192)
      .optional()
      .describe('VAE tile in pixels (0: whole picture; default: tiles when large)'),
    minStrength: z
      .number()
      .min(0)
      .max(1)
      .default(0.01)
      .describe('an edit that changes pixels by less on average counts as unchanged'),
    minSharpness: z
      .number()
      .min(0)
      .max(1)
      .default(0.2)
      .describe('an edit with a smaller share of the sharpness of its view counts as blurred'),
    minContrast: z
      .number()
      .min(0)
      .max(1)
      .default(0.02)
      .describe('an edit whose brightness varies by less (standard deviation) counts as flat'),
    dtype: dtypeSetting,
    ...computeSettings,
    overwrite: overwriteSetting,
    resume: resumeSetting,
  })
  .superRefine(({ prompt, prompts, views, viewNames }, context) => {
    const problem = (at: string, message: string): void =>
      void context.addIssue({ code: 'custom', path: [at], message });
    if (prompt === undefined && prompts === undefined) problem('prompt', 'missing: give --prompt (the edit in one sentence) or --prompts (a file with one per line)');
    if (views !== undefined && viewNames) problem('viewNames', 'give a number of views or a list of them, not both');
  });

export type PreeditSettings = z.output<typeof preeditSchema>;

/**
 * The settings that decide the edits, with the instructions themselves: a run may only be resumed with the same ones, and
 * their hash names the result.
 */
export function preeditFingerprint(settings: PreeditSettings, instructions: readonly string[]): Record<string, unknown> {
  const {
    out: _out,
    overwrite: _overwrite,
    resume: _resume,
    threads: _threads,
    ...deciding
  } = settings;
  return { ...deciding, instructions };
}
