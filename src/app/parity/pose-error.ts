/** Errors of relative poses between two sets of cameras. */
import { z } from 'zod';
import { poseError } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import { Comparison, parseWith, readCase } from './kinds';
import type { ParityContext, ParityResult } from './kinds';

export const kind = 'pose-error';

const index = z.number().int().nonnegative();
const schema = z.looseObject({ pairs: z.array(z.tuple([index, index])).min(1) });

/** Poses are f32 whatever the networks compute in; the case's translation angles run to 180°. */
export async function run(dir: string, { device }: ParityContext): Promise<ParityResult> {
  const files = await readCase(dir);
  const { pairs } = parseWith(schema, files.description, `${dir}/case.json`);
  const comparison = new Comparison(files.expected);
  const { rotationDeg, translationDeg } = scope(() => {
    const indices = device.tensor(Int32Array.from(pairs.flat()), [pairs.length, 2]);
    return poseError(files.inputs.upload('estimate', device), files.inputs.upload('reference', device), indices);
  });
  await comparison.check('rotation_deg', rotationDeg);
  await comparison.check('translation_deg', translationDeg);
  rotationDeg.dispose();
  translationDeg.dispose();
  return comparison.finish();
}
