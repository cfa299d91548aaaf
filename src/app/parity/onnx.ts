/** An ONNX module: every output on the case's inputs. It computes in float32 on the CPU whatever the device. */
import * as path from 'node:path';
import { z } from 'zod';
import { OnnxModule } from '../../models/onnx';
import type { OnnxArray } from '../../models/onnx';
import { WeightsError } from '../../binding/errors';
import { Comparison, parseWith, readCase } from './kinds';
import type { ParityContext, ParityResult } from './kinds';

export const kind = 'onnx';

const schema = z.looseObject({
  inputs: z.array(z.string()).optional(),
  outputs: z.array(z.string()).optional(),
  model: z
    .string()
    .regex(/^[\w.-]+$/, 'expected a file name')
    .default('model.onnx'),
});

export async function run(dir: string, { signal }: ParityContext): Promise<ParityResult> {
  const files = await readCase(dir);
  const { inputs, outputs, model } = parseWith(schema, files.description, `${dir}/case.json`);
  const comparison = new Comparison(files.expected);
  const module = await OnnxModule.open(path.join(dir, model), { signal });
  try {
    const feeds: Record<string, OnnxArray> = {};
    for (const name of inputs ?? module.inputs.map((port) => port.name)) feeds[name] = files.inputs.get(name);
    const results = await module.run(feeds, { signal });
    for (const name of outputs ?? files.expected.names) {
      const result = results[name];
      if (!result)
        throw new WeightsError(`${dir}/${model}: has no output '${name}'; it has ${Object.keys(results).join(', ')}`);
      await comparison.check(name, Float32Array.from(result.data, Number));
    }
    return comparison.finish();
  } finally {
    await module.dispose();
  }
}
