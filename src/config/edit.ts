import { z } from 'zod';
import { refitSettings } from './refit';
import { computeSettings, editorSettings, overwriteSetting, pathSetting, resumeSetting, sceneSetting, verifierSetting } from './common';

/** Most views that one joint edit takes: the cells of the 3×3 grid. */
export const maxViews = 9;

/** Most views of an anchor-guided edit, which goes through them in groups. */
export const maxAnchoredViews = 81;

const fields = z.strictObject({
  scene: sceneSetting.describe('scene: a folder with photographs and cameras, its scene file, or splats alone (.ply, .spz, .splat)'),
  prompt: z.string().trim().min(1, 'expected an instruction').describe('the edit in one sentence'),
  out: pathSetting().describe('folder for the result'),
  ...editorSettings,
  verifier: verifierSetting,
  views: z
    .number()
    .int()
    .min(1)
    .max(maxAnchoredViews)
    .default(maxViews)
    .describe('views to edit; more than 9 only with --anchor-guided'),
  viewNames: z
    .array(z.string())
    .min(1, `expected 1 to ${maxAnchoredViews} names`)
    .max(maxAnchoredViews, `expected 1 to ${maxAnchoredViews} names`)
    .optional()
    .describe('these views, by image name, instead of an even choice (comma-separated)'),
  anchorGuided: z
    .boolean()
    .default(false)
    .describe('edit one view first; the others follow it in groups, as many as you like'),
  anchor: z
    .union([z.string().min(1, 'expected a view'), z.number().int().min(0)])
    .optional()
    .describe("the view that the others follow: an image name, or its index in the scene (default: the middle one)"),
  anchorPicture: pathSetting().optional().describe("the anchor's finished edit, a picture of your own, instead of one by the editor"),
  groupViews: z
    .number()
    .int()
    .min(2)
    .max(maxViews)
    .optional()
    .describe("views in one sequence of an anchor-guided edit, finished ones included (default: the model's, else 9)"),
  noise: z
    .enum(['independent', 'shared'])
    .default('independent')
    .describe('initial noise of the views: drawn for each, or the same for all'),
  ...computeSettings,
  overwrite: overwriteSetting,
  resume: resumeSetting,
  ...refitSettings,
  up: z
    .enum(['auto', 'x', '-x', 'y', '-y', 'z', '-z'])
    .default('auto')
    .describe('axis that points up in a scene of splats alone, as in --up=-y (auto: as in the scene of a reconstruction, z beside a dataparser_transforms.json, else -y)'),
  azimuth: z
    .number()
    .min(-360)
    .max(360)
    .default(0)
    .describe('turns the arc of views around a scene of splats alone, degrees about its up axis'),
  dataset: z.boolean().default(false).describe('write the edited views with their cameras to dataset/, as nerfstudio and as COLMAP'),
  approve: z.boolean().default(false).describe('stop when the views are edited, to look at them; `rl3dedit refit DIR` goes on'),
  stopAfter: z
    .string()
    .min(1, 'expected a stage name')
    .optional()
    .describe('stop after this stage and leave a resumable folder'),
});

/** Settings of `rl3dedit edit`. */
export const editSchema = fields.superRefine((settings, context) => {
  const problem = anchorProblem(settings);
  if (problem) context.addIssue({ code: 'custom', path: [problem.setting], message: problem.message });
});

export type EditSettings = z.output<typeof fields>;

/** What does not fit between the number of views and the anchor-guided mode. */
export function anchorProblem(settings: EditSettings): { setting: keyof EditSettings; message: string } | undefined {
  const { anchorGuided, views, viewNames } = settings;
  const setting = viewNames ? 'viewNames' : 'views';
  const count = viewNames?.length ?? views;
  if (anchorGuided) {
    return count < 2
      ? { setting, message: 'an anchor-guided edit needs at least two views: one that the others follow' }
      : undefined;
  }
  if (count > maxViews) {
    return { setting, message: `one joint pass takes at most ${maxViews} views; add --anchor-guided for more` };
  }
  const stray = (['anchor', 'anchorPicture', 'groupViews'] as const).find((name) => settings[name] !== undefined);
  return stray && { setting: stray, message: 'belongs to an anchor-guided edit; add --anchor-guided' };
}

/** The settings that decide an edit's result: a run may only be resumed with the same ones. */
export function editFingerprint(settings: EditSettings): Record<string, unknown> {
  const {
    out: _out,
    overwrite: _overwrite,
    resume: _resume,
    stopAfter: _stopAfter,
    threads: _threads,
    approve: _approve,
    ...deciding
  } = settings;
  return deciding;
}
