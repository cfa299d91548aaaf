import { z } from 'zod';
import { computeSettings, dtypeSetting } from './common';

/** Settings of `rl3dedit bench`. */
export const benchSchema = z.strictObject({
  names: z.array(z.string()).default([]).describe('benches to run (none: all)'),
  dtype: dtypeSetting,
  seconds: z.number().positive().max(3600).default(1).describe('time spent on each case'),
  out: z.string().min(1, 'expected a path').optional().describe('folder for bench.json and the HTML report'),
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
