/** What the text encoder kinds share: token ids in, hidden states out. */
import { SafetensorsWeights } from '../../tensor/safetensors';
import type { Tensor } from '../../tensor/tensor';
import { Weights } from '../../tensor/weights';
import { Comparison, readCase } from './kinds';
import type { ParityCase, ParityContext, ParityResult } from './kinds';

/** Builds the network with `build`, runs it on `input_ids` and compares the outputs it names. */
export async function runTextCase(
  dir: string,
  { device, dtype }: ParityContext,
  build: (weights: Weights, files: ParityCase) => (ids: ArrayLike<number>[]) => Record<string, Tensor>,
  free: () => void = () => undefined,
): Promise<ParityResult> {
  const files = await readCase(dir);
  const comparison = new Comparison(files.expected);
  using source = new SafetensorsWeights(device, files.weights, { dtype });
  const weights = new Weights(source);
  let outputs: Record<string, Tensor> = {};
  try {
    const forward = build(weights, files);
    const { data, shape } = files.inputs.get('input_ids');
    const [batch, length] = shape.length === 1 ? [1, shape[0]] : shape;
    outputs = forward(Array.from({ length: batch }, (_, b) => data.subarray(b * length, (b + 1) * length)));
    for (const [name, tensor] of Object.entries(outputs)) {
      if (files.expected.has(name)) await comparison.check(name, tensor);
    }
    return comparison.finish();
  } finally {
    free();
    for (const tensor of [...Object.values(outputs), ...weights.parameters.values()]) tensor.dispose();
  }
}
