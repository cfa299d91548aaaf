import { z } from 'zod';
import { computeSettings, dtypeSetting, pathSetting } from './common';

/** Settings of `rl3dedit bench`. */
export const benchSchema = z.strictObject({
  names: z.array(z.string()).default([]).describe('benches to run (none: all)'),
  model: z
    .string()
    .min(1, 'expected a model name or path')
    .default('random:tiny')
    .describe('model of the benches denoise-step and edit; random:flux-kontext-dev is the full size'),
  dtype: dtypeSetting,
  seconds: z.number().positive().max(3600).default(1).describe('time spent on each case'),
  out: pathSetting().optional().describe('folder for bench.json and bench.html'),
  baseline: pathSetting().optional().describe('bench.json to compare with (default: the one recorded for this device in bench/baselines)'),
  saveBaseline: z.boolean().default(false).describe("make this run the device's recorded baseline"),
  ...computeSettings,
});

export type BenchSettings = z.output<typeof benchSchema>;

/** Settings of `rl3dedit parity`. */
export const paritySchema = z.strictObject({
  dirs: z.array(z.string()).min(1, 'expected at least one case folder').describe('folders that hold a case.json'),
  device: computeSettings.device,
  threads: computeSettings.threads,
  dtype: dtypeSetting,
});

export type ParitySettings = z.output<typeof paritySchema>;
