import { z } from 'zod';
import { computeSettings, editorSettings, overwriteSetting, pathSetting, resumeSetting, sceneSetting } from './common';

/** Settings of `rl3dedit preedit`. */
export const preeditSchema = z
  .strictObject({
    scene: sceneSetting,
    out: pathSetting().describe('folder for the edits'),
    prompt: z.string().trim().min(1, 'expected an instruction').optional().describe('the edit in one sentence'),
    prompts: pathSetting().optional().describe('text file with one instruction per line (empty lines and # comments are skipped)'),
    ...editorSettings,
    resolution: editorSettings.resolution.describe("long side of an edit in pixels (default: the model's, else about a megapixel)"),
    views: z.number().int().min(1).max(300).optional().describe('views to edit, evenly chosen (default: every view)'),
    viewNames: z
      .array(z.string())
      .min(1, 'expected a name')
      .max(300, 'expected at most 300 names')
      .optional()
      .describe('these views, by image name (comma-separated)'),
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
