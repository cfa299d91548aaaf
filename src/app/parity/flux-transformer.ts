/** FLUX transformer: output, block outputs, and gradients of weights and inputs. Either checkpoint layout. */
import { record } from '../../tensor/tape';
import type { Tensor } from '../../tensor/tensor';
import { cast } from '../../tensor/ops';
import { fluxInputNames, openFluxCase } from './flux-case';
import { Comparison, readCase } from './kinds';
import type { ParityContext, ParityResult } from './kinds';

export const kind = 'flux-transformer';

export async function run(dir: string, context: ParityContext): Promise<ParityResult> {
  const files = await readCase(dir);
  const comparison = new Comparison(files.expected);
  const opened = openFluxCase(files, context);
  try {
    const { model, inputs, tensors } = opened;
    // Both by the names the expected gradients have.
    const leaves = new Map<string, Tensor>();
    for (const [name, parameter] of model.weights.parameters) leaves.set(`grad.${name}`, parameter);
    for (const name of fluxInputNames) leaves.set(`grad.input.${name}`, tensors[name]);
    for (const [name, leaf] of leaves) leaf.requiresGrad = files.expected.has(name);

    const blocks = new Map<string, Tensor>();
    const probe = (stage: string, index: number, image: Tensor, text: Tensor): void => {
      blocks.set(`${stage}.${index}.hidden_states`, image.retain());
      blocks.set(`${stage}.${index}.encoder_hidden_states`, text.retain());
    };
    const { result: output, tape } = record(() => model.forward(inputs, { probe }));
    await comparison.check('output', output);
    for (const [name, tensor] of blocks) {
      if (files.expected.has(name)) await comparison.check(name, tensor);
      tensor.release();
    }
    if ([...leaves.values()].some((leaf) => leaf.requiresGrad)) {
      const cotangent = cast(files.inputs.upload('cotangent', context.device), context.dtype);
      const gradients = tape.gradients([output], [cotangent]);
      for (const [name, leaf] of leaves) {
        const gradient = gradients.get(leaf);
        if (gradient) await comparison.check(name, gradient);
      }
      for (const gradient of gradients.values()) gradient.dispose();
      cotangent.dispose();
    }
    tape.dispose();
    output.dispose();
    return comparison.finish();
  } finally {
    opened.dispose();
  }
}
