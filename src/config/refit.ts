import { z } from 'zod';
import { deviceSetting, modelSetting, pathSetting, seedSetting, threadsSetting, verifierSetting } from './common';

/** How edited views become a splat scene. */
export const refitSettings = {
  refit: z
    .enum(['source', 'scratch', 'none'])
    .default('source')
    .describe("edited scene: from the scene's own splats (fitted first where there are only photographs), from scratch, or none"),
  preset: z
    .enum(['auto', 'appearance', 'geometry'])
    .default('auto')
    .describe('what may move: colours alone, shape too, or what the verifier sees'),
  splats: pathSetting().optional().describe("the scene's own splats: .ply, .spz or .splat, in the frame of its cameras"),
  dataparser: pathSetting().optional().describe("nerfstudio's dataparser_transforms.json, for splats exported by it (default: the one beside them)"),
  background: z.enum(['black', 'white']).default('black').describe('what is behind splats'),
  sourceIterations: z.number().int().min(1).max(1_000_000).default(3000).describe('steps to fit the source where there are only photographs'),
  refitIterations: z.number().int().min(1).max(1_000_000).optional().describe("most steps to refit (default: the preset's; 3000 from scratch)"),
  folds: z.number().int().min(0).max(81).default(3).describe('edited views left out, one at a time, to find how long to fit'),
};

/** Settings of `rl3dedit refit`. */
export const refitSchema = z.strictObject({
  dir: pathSetting().describe('folder of a finished edit; views/after may hold pictures of your own'),
  ...refitSettings,
  refit: z.enum(['source', 'scratch']).default('source').describe(refitSettings.refit.description ?? ''),
  background: refitSettings.background.unwrap().optional().describe("what is behind splats (default: as in the edit)"),
  model: modelSetting.unwrap().optional().describe("whose verifier sees depth (default: the edit's)"),
  verifier: verifierSetting,
  device: deviceSetting,
  threads: threadsSetting,
  seed: seedSetting,
});

export type RefitSettings = z.output<typeof refitSchema>;
