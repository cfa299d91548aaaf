/** Benches of the networks around the editor: the tiny verifier and the tiny autoencoder. */
import { AutoencoderKL } from '../../models/vae/autoencoder';
import { downscale } from '../../models/vae/config';
import { parseVggtConfig, Vggt, vggtPresets } from '../../models/vggt';
import type { BenchCase } from '../../report/bench-report';
import { RandomWeights } from '../../tensor/random-weights';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { Weights } from '../../tensor/weights';
import { tinyVae } from '../pretrain/vae';
import type { Bench, BenchContext } from './cases';
import { deviceTimes, quantiles } from './measure';
import { normal } from './products';

const views = 9;
/** Side of the tiny editor's views in pixels. */
const viewPx = 96;

async function timedCase(
  { device, dtype, settings, signal }: BenchContext,
  name: string,
  input: Tensor,
  forward: (input: Tensor) => unknown,
): Promise<BenchCase> {
  try {
    const times = await deviceTimes(device, () => void scope(() => (forward(input), undefined)), settings.seconds, signal);
    return { name, dtype, shape: `[${input.shape}]`, ms: quantiles(times), samples: times.length };
  } finally {
    input.dispose();
  }
}

export const vggtForwardBench: Bench = {
  name: 'vggt-tiny-forward',
  describe: 'the tiny verifier on nine views, all heads',
  run: async (context) => {
    const { device, dtype, settings } = context;
    const config = parseVggtConfig(vggtPresets.tinyVerifier);
    const model = new Vggt(new Weights(new RandomWeights(device, { seed: settings.seed, dtype })), config);
    try {
      const images = normal(device, [views, 3, config.img_size, config.img_size], dtype, 1);
      return [await timedCase(context, 'vggt-tiny-forward', images, (input) => model.forward(input))];
    } finally {
      model.dispose();
    }
  },
};

export const vaeBench: Bench = {
  name: 'vae-tiny',
  describe: 'the tiny autoencoder, encoding and decoding nine views',
  run: async (context) => {
    const { device, dtype, settings } = context;
    const model = new AutoencoderKL(new Weights(new RandomWeights(device, { seed: settings.seed, dtype })), tinyVae);
    const latentPx = viewPx / downscale(tinyVae);
    try {
      const pictures = normal(device, [views, tinyVae.in_channels, viewPx, viewPx], dtype, 1);
      const encode = await timedCase(context, 'vae-tiny encode', pictures, (input) => model.encodeLatents(input));
      const latents = normal(device, [views, tinyVae.latent_channels, latentPx, latentPx], dtype, 2);
      return [encode, await timedCase(context, 'vae-tiny decode', latents, (input) => model.decodeLatents(input))];
    } finally {
      for (const parameter of model.weights.parameters.values()) parameter.dispose();
    }
  },
};
