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
