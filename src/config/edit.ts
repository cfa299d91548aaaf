import { z } from 'zod';
import { computeSettings, dtypeSetting, modelSetting, overwriteSetting, resumeSetting } from './common';

/** Most views that one joint edit takes: the cells of the 3×3 grid. */
export const maxViews = 9;

/** Settings of `rl3dedit edit`. */
export const editSchema = z.strictObject({
  scene: z.string().min(1, 'expected a path').describe('scene: a folder with transforms.json, or the file itself'),
  prompt: z.string().trim().min(1, 'expected an instruction').describe('the edit in one sentence'),
  out: z.string().min(1, 'expected a path').describe('folder for the result'),
  model: modelSetting,
  vae: z
    .string()
    .min(1, 'expected a path')
    .optional()
    .describe('autoencoder, for a single-file --model: a file or a folder'),
  text: z
    .string()
    .min(1, 'expected a path')
    .optional()
    .describe('folder with the text encoders and tokenizers, for a single-file --model'),
  verifier: z
    .string()
    .min(1, 'expected a path')
    .optional()
    .describe("3D verifier: VGGT safetensors, or an ONNX file (default: the model's)"),
  views: z.number().int().min(1).max(maxViews).default(maxViews).describe('views edited jointly'),
  viewNames: z
    .array(z.string())
    .min(1, 'expected 1 to 9 names')
    .max(maxViews, 'expected 1 to 9 names')
    .optional()
    .describe('these views, by image name, instead of an even choice (comma-separated)'),
  resolution: z
    .number()
    .int()
    .min(16)
    .max(4096)
    .optional()
    .describe("long side of a view in pixels (default: the model's)"),
  steps: z.number().int().min(1).max(1000).optional().describe("denoising steps (default: the model's)"),
  guidance: z.number().min(0).max(100).optional().describe("distilled guidance (default: the model's)"),
  noise: z
    .enum(['independent', 'shared'])
    .default('independent')
    .describe('initial noise of the views: drawn for each, or the same for all'),
  lora: z.string().min(1, 'expected a path').optional().describe('LoRA file put on the editor'),
  loraScale: z.number().min(-10).max(10).default(1).describe('strength of the LoRA'),
  vaeTile: z
    .number()
    .int()
    .min(0)
    .max(8192)
    .optional()
    .describe('VAE tile in pixels (0: whole picture; default: tiles when large)'),
  dtype: dtypeSetting,
  ...computeSettings,
  overwrite: overwriteSetting,
  resume: resumeSetting,
  stopAfter: z
    .string()
    .min(1, 'expected a stage name')
    .optional()
    .describe('stop after this stage and leave a resumable folder'),
});

export type EditSettings = z.output<typeof editSchema>;

/** The settings that decide an edit's result: a run may only be resumed with the same ones. */
export function editFingerprint(settings: EditSettings): Record<string, unknown> {
  const {
    out: _out,
    overwrite: _overwrite,
    resume: _resume,
    stopAfter: _stopAfter,
    threads: _threads,
    ...deciding
  } = settings;
  return deciding;
}
