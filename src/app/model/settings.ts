/** How an editor wants to be driven: what its folder says beyond the networks' dimensions. */
import { z } from 'zod';
import { ConfigError } from '../../binding/errors';
import { fluxShift, flowSigmas, shiftMu } from '../../flow';
import type { ShiftLine } from '../../flow';

const settingsSchema = z.object({
  /**
   * Fixed shift of the noise schedule, sigma = shift · s / (1 + (shift - 1) s); without it the shift grows with the
   * number of target tokens, as FLUX was trained.
   */
  timestep_shift: z.number().positive().optional(),
  /** What the network predicts: the velocity noise - image. */
  prediction: z.literal('velocity').default('velocity'),
  /** Rounding of 1000·t and 1000·guidance that the weights were trained with. */
  timestep_rounding: z.enum(['none', 'diffusers', 'bfl']).optional(),
  /** `grid`: the instruction with a clause about the grid of views; `plain`: the instruction as it is. */
  prompt_template: z.enum(['grid', 'plain']).default('grid'),
  /** `view`: each view is encoded alone; `grid`: the mosaic of all views is encoded as one picture. */
  vae_input: z.enum(['view', 'grid']).default('grid'),
  /**
   * Positions of the views' tokens: those of one mosaic, or image ids of their own per view (only where trained so).
   */
  view_layout: z.enum(['grid', 'index']).default('grid'),
  default_steps: z.number().int().positive().default(28),
  default_guidance: z.number().nonnegative().default(2.5),
  /** Long side of a view in pixels; without it the grid gets about a megapixel. */
  view_size: z.number().int().positive().optional(),
  /** Width / height of a view; without it that of the photographs. */
  view_aspect: z.number().positive().optional(),
  /** Views in one sequence of an anchor-guided edit, finished ones included; without it the nine of the grid. */
  group_views: z.number().int().min(2).max(9).optional(),
});

/** The keys of transformer/config.json that speak of use; all have defaults that suit FLUX.1-Kontext-dev. */
export type EditorSettings = z.infer<typeof settingsSchema>;

/** @throws ConfigError naming `where` and the field */
export function parseEditorSettings(json: unknown, where: string): EditorSettings {
  const parsed = settingsSchema.safeParse(json);
  if (parsed.success) {
    const settings = parsed.data;
    if (settings.view_layout === 'grid' || settings.vae_input === 'view') return settings;
    throw new ConfigError(
      `${where}: view_layout: 'index' needs vae_input 'view', since every view has tokens of its own`,
    );
  }
  const [issue] = parsed.error.issues;
  throw new ConfigError(`${where}: ${issue.path.join('.') || 'the file'}: ${issue.message}`);
}

const schedulerSchema = z.object({
  base_shift: z.number().default(fluxShift.baseShift),
  max_shift: z.number().default(fluxShift.maxShift),
  base_image_seq_len: z.number().default(fluxShift.baseTokens),
  max_image_seq_len: z.number().default(fluxShift.maxTokens),
});

/** The shift line of a scheduler_config.json. @throws ConfigError naming `where` and the field */
export function parseShiftLine(json: unknown, where: string): ShiftLine {
  const parsed = schedulerSchema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new ConfigError(`${where}: ${issue.path.join('.') || 'the file'}: ${issue.message}`);
  }
  const {
    base_shift: baseShift,
    max_shift: maxShift,
    base_image_seq_len: baseTokens,
    max_image_seq_len: maxTokens,
  } = parsed.data;
  return { baseShift, maxShift, baseTokens, maxTokens };
}

/** `steps` + 1 noise levels for a number of target tokens. */
export function editSigmas(steps: number, targetTokens: number, settings: EditorSettings, line: ShiftLine): number[] {
  const { timestep_shift: shift } = settings;
  return flowSigmas(steps, shift === undefined ? shiftMu(targetTokens, line) : Math.log(shift));
}
