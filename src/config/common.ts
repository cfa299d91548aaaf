import { z } from 'zod';

/** Settings that several commands share. The descriptions are the help texts. */

export const deviceSetting = z
  .string()
  .regex(/^(auto|cpu|cuda|cuda:\d+|null)$/, 'expected auto, cpu, cuda, cuda:N or null')
  .default('auto')
  .describe('where to compute: auto, cpu, cuda, cuda:N (null: no arithmetic, for measuring overhead)');

export const threadsSetting = z.number().int().min(0).max(1024).default(0).describe('CPU threads (0: all cores)');

export const seedSetting = z
  .number()
  .int()
  .min(0)
  .max(Number.MAX_SAFE_INTEGER)
  .default(0)
  .describe('seed of every random number; the same seed gives the same output');

export const modelSetting = z
  .string()
  .min(1, 'expected a model name or path')
  .default('tiny')
  .describe('tiny (shipped), a Hugging Face folder, a single .safetensors file, or random:flux-kontext-dev');

export const dtypeSetting = z
  .enum(['f32', 'bf16'])
  .optional()
  .describe('compute type (default: f32 on the CPU, bf16 on CUDA)');

export const overwriteSetting = z.boolean().default(false).describe('write into a folder that is not empty');
export const resumeSetting = z.boolean().default(false).describe('go on with the unfinished run in --out');

export const computeSettings = { device: deviceSetting, threads: threadsSetting, seed: seedSetting };

/** A path that is not empty. */
export const pathSetting = (): z.ZodString => z.string().min(1, 'expected a path');

export const sceneSetting = pathSetting().describe('scene: a folder with transforms.json, or the file itself');

export const verifierSetting = pathSetting()
  .optional()
  .describe("3D verifier: VGGT safetensors, or an ONNX file (default: the model's)");

/** What decides how the editor edits, whichever views it is given. */
export const editorSettings = {
  model: modelSetting,
  vae: pathSetting().optional().describe('autoencoder, for a single-file --model: a file or a folder'),
  text: pathSetting().optional().describe('folder with the text encoders and tokenizers, for a single-file --model'),
  resolution: z.number().int().min(16).max(4096).optional().describe("long side of a view in pixels (default: the model's)"),
  steps: z.number().int().min(1).max(1000).optional().describe("denoising steps (default: the model's)"),
  guidance: z.number().min(0).max(100).optional().describe("distilled guidance (default: the model's)"),
  lora: pathSetting().optional().describe('LoRA file put on the editor'),
  loraScale: z.number().min(-10).max(10).default(1).describe('strength of the LoRA'),
  vaeTile: z.number().int().min(0).max(8192).optional().describe('VAE tile in pixels (0: whole picture; default: tiles when large)'),
  dtype: dtypeSetting,
};
