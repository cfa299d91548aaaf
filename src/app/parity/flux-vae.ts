/** FLUX autoencoder: mean and log-variance of the encoder, picture of the decoder. Either checkpoint layout. */
import { parseVaeConfig } from '../model/network-configs';
import { AutoencoderKL } from '../../models/vae/autoencoder';
import { BflVaeWeights } from '../../models/vae/checkpoint';
import { cast } from '../../tensor/ops';
import { SafetensorsWeights } from '../../tensor/safetensors';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { Weights } from '../../tensor/weights';
import { Comparison, readCase } from './kinds';
import type { ParityContext, ParityResult } from './kinds';

export const kind = 'flux-vae';

export async function run(dir: string, { device, dtype }: ParityContext): Promise<ParityResult> {
  const files = await readCase(dir);
  const config = parseVaeConfig(files.config, `${dir}/case.json: config`);
  const comparison = new Comparison(files.expected);
  using source = new SafetensorsWeights(device, files.weights, { dtype });
  const singleFile = source.has('decoder.mid.block_1.norm1.weight');
  const weights = new Weights(singleFile ? new BflVaeWeights(source, config.block_out_channels.length) : source);
  const made: Tensor[] = [];
  try {
    const vae = new AutoencoderKL(weights, config);
    const results = scope(() => {
      const input = (name: string): Tensor => cast(files.inputs.upload(name, device), dtype);
      const encoded = files.inputs.has('image') ? vae.encode(input('image')) : undefined;
      return {
        mean: encoded?.mean,
        logvar: encoded?.logVariance,
        decoded: files.inputs.has('latents') ? vae.decode(input('latents')) : undefined,
      };
    });
    for (const tensor of Object.values(results)) if (tensor) made.push(tensor);
    for (const [name, tensor] of Object.entries(results)) {
      if (tensor && files.expected.has(name)) await comparison.check(name, tensor);
    }
    return comparison.finish();
  } finally {
    for (const tensor of [...made, ...weights.parameters.values()]) tensor.dispose();
  }
}
