/** One stochastic step and its log-probability. */
import { z } from 'zod';
import { sdeStep } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import { Comparison, parseWith, readCase } from './kinds';
import type { ParityContext, ParityResult } from './kinds';

export const kind = 'flow-sde';

const schema = z.looseObject({
  cases: z
    .array(z.object({ sigma: z.number(), sigma_next: z.number(), sigma_max: z.number(), noise_level: z.number().positive() }))
    .min(1),
});

/** Steps are f32 whatever the networks compute in. */
export async function run(dir: string, { device }: ParityContext): Promise<ParityResult> {
  const files = await readCase(dir);
  const { cases } = parseWith(schema, files.description, `${dir}/case.json`);
  const comparison = new Comparison(files.expected);
  for (const [i, { sigma, sigma_next: sigmaNext, sigma_max: sigmaMax, noise_level: noiseLevel }] of cases.entries()) {
    const { next, mean, logProb, std } = scope(() => {
      const [sample, velocity, noise] = ['sample', 'velocity', 'noise'].map((name) => files.inputs.upload(`${i}.${name}`, device));
      return sdeStep(sample, velocity, noise, { kind: 'flow_sde', sigma, sigmaNext, sigmaMax, noiseLevel });
    });
    await comparison.check(`${i}.std`, [std]);
    await comparison.check(`${i}.next`, next);
    await comparison.check(`${i}.mean`, mean);
    if (logProb) await comparison.check(`${i}.log_prob`, logProb);
    for (const tensor of [next, mean, logProb]) tensor?.dispose();
  }
  return comparison.finish();
}
