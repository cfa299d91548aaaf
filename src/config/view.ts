import { z } from 'zod';
import { pathSetting } from './common';

/** Settings of `rl3dedit view`. */
export const viewSchema = z.strictObject({
  path: pathSetting().describe('splat file (.ply, .spz, .splat), or the output folder of an edit, a training or a reconstruction'),
  port: z.number().int().min(0).max(65_535).default(0).describe('port on 127.0.0.1 (0: any free one)'),
});

export type ViewSettings = z.output<typeof viewSchema>;
