/** FLUX transformer with a LoRA read from its saved names: output, and gradients of every A and B. */
import { z } from 'zod';
import { WeightsError } from '../../binding/errors';
import { loadLora } from '../../models/lora-file';
import type { LoraSource } from '../../models/lora-file';
import { cast } from '../../tensor/ops';
import { record } from '../../tensor/tape';
import { openFluxCase } from './flux-case';
import { Comparison, parseWith, readCase } from './kinds';
import type { HostTensors, ParityContext, ParityResult } from './kinds';

export const kind = 'flux-lora';

const loraSchema = z.looseObject({ rank: z.number().int().positive(), alpha: z.number() });

export async function run(dir: string, context: ParityContext): Promise<ParityResult> {
  const files = await readCase(dir);
  const { alpha } = parseWith(loraSchema, files.description, `${dir}/case.json`);
  const comparison = new Comparison(files.expected);
  const opened = openFluxCase(files, context);
  try {
    const { model, inputs } = opened;
    const { lora, unmatched } = await loadLora(loraIn(files.inputs, context), model.weights.registered(), { alpha });
    if (unmatched.length > 0) {
      throw new WeightsError(`${files.inputs.file}: the network has no place for ${unmatched.slice(0, 3).join(', ')}`);
    }
    lora.train();
    const { result: output, tape } = record(() => model.forward(inputs));
    await comparison.check('output', output);
    const cotangent = cast(files.inputs.upload('cotangent', context.device), context.dtype);
    const gradients = tape.gradients([output], [cotangent]);
    for (const [name, parameter] of lora.parameters()) {
      const gradient = gradients.get(parameter);
      if (gradient) await comparison.check(`grad.transformer.${name}`, gradient);
    }
    for (const gradient of gradients.values()) gradient.dispose();
    cotangent.dispose();
    output.dispose();
    lora.dispose();
    return comparison.finish();
  } finally {
    opened.dispose();
  }
}

/** The case's inputs hold the LoRA file under the prefix `lora.`. */
function loraIn(inputs: HostTensors, { device }: ParityContext): LoraSource {
  const prefix = 'lora.';
  return {
    names: () => inputs.names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)),
    shapeOf: (name) => inputs.tensors.get(prefix + name)?.shape,
    load: (name) => inputs.upload(prefix + name, device),
    metadata: () => ({}),
  };
}
