/** Sigmas of the flow schedule with dynamic shifting. */
import { z } from 'zod';
import { ConfigError } from '../../binding/errors';
import { flowSigmas, shiftMu } from '../../flow/schedule';
import { compare, Comparison, parseWith, readCase } from './kinds';
import type { ParityContext, ParityResult } from './kinds';

export const kind = 'flow-schedule';

const schema = z.looseObject({
  cases: z.array(z.object({ image_seq_len: z.number().int().positive(), steps: z.number().int().positive(), mu: z.number() })).min(1),
});

export async function run(dir: string, _context: ParityContext): Promise<ParityResult> {
  const files = await readCase(dir);
  const { cases } = parseWith(schema, files.description, `${dir}/case.json`);
  const comparison = new Comparison(files.expected);
  for (const [i, { image_seq_len: tokens, steps, mu }] of cases.entries()) {
    const computed = shiftMu(tokens);
    const { relError } = compare('mu', [computed], [mu]);
    if (!(relError <= files.tolerance)) throw new ConfigError(`${dir}: mu of ${tokens} tokens is ${computed}, the case says ${mu}`);
    await comparison.check(`${i}.sigmas`, flowSigmas(steps, computed));
  }
  return comparison.finish();
}
