/** The tiny autoencoder: FLUX's architecture with few channels, trained on photographs and procedural views. */
import { AutoencoderKL } from '../../models/vae/autoencoder';
import type { VaeConfig } from '../../models/vae/config';
import { Rng } from '../../scene/procedural';
import type { Device } from '../../tensor/device';
import { add, addScalar, mean, mul, randn, scale, sub, unary } from '../../tensor/ops';
import { RandomWeights } from '../../tensor/random-weights';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { Weights } from '../../tensor/weights';
import { drawBatch } from './data';
import type { PicturePool } from './data';
import type { Recipe, TrainingTask } from './trainer';

export const tinyVae: VaeConfig = {
  in_channels: 3,
  out_channels: 3,
  block_out_channels: [16, 32, 64, 64],
  layers_per_block: 1,
  latent_channels: 16,
  norm_num_groups: 8,
  scaling_factor: 1,
  shift_factor: 0,
};

export const vaeRecipe: Recipe = {
  steps: 8000,
  learningRate: 2e-3,
  weightDecay: 0,
  warmup: 100,
  decayFrom: 0.4,
  emaDecay: 0.998,
  clipNorm: 1,
};

/** Weight of the Kullback-Leibler term per latent element: keeps latents near unit scale at little cost in sharpness. */
const KL_WEIGHT = 1e-4;
/** Weight of the squared error: what PSNR measures. The absolute error beside it keeps edges. */
const SQUARED_WEIGHT = 6;

export interface VaeTaskOptions {
  device: Device;
  seed: number;
  batch: number;
  recipe: Recipe;
  train: PicturePool;
  validation: PicturePool;
}

interface VaeBatch {
  image: Tensor;
  noise: Tensor;
}

export function vaeTask({ device, seed, batch, recipe, train, validation }: VaeTaskOptions): TrainingTask<VaeBatch> & { model: AutoencoderKL } {
  const weights = new Weights(new RandomWeights(device, { seed }));
  const model = new AutoencoderKL(weights, tinyVae);
  const { size } = train;
  const latent = [batch, tinyVae.latent_channels, size / 8, size / 8];
  return {
    name: 'vae',
    model,
    parameters: weights.parameters,
    recipe,
    prepare: async (step) => {
      const image = device.tensor(drawBatch(train, new Rng(seed, 1, step), batch, 0.25), [batch, 3, size, size]);
      const noise = device.empty(latent);
      randn(noise, { seed, stream: 1, offset: step * noise.size });
      return { image, noise };
    },
    loss: ({ image, noise }) => {
      const { mean: mu, logVariance } = model.encode(image);
      const sample = add(mu, mul(unary(scale(logVariance, 0.5), 'exp'), noise));
      const difference = sub(model.decode(sample), image);
      const squared = mean(unary(difference, 'square'));
      const absolute = mean(unary(difference, 'abs'));
      // 0.5 (σ² + μ² − 1 − ln σ²), averaged over latent elements
      const divergence = mean(scale(addScalar(sub(add(unary(logVariance, 'exp'), unary(mu, 'square')), logVariance), -1), 0.5));
      const loss = add(add(scale(absolute, 0.3), scale(squared, SQUARED_WEIGHT)), scale(divergence, KL_WEIGHT));
      image.dispose();
      noise.dispose();
      return { loss, metrics: { squared, divergence } };
    },
    evaluate: async () => ({ psnr: await reconstructionPsnr(model, device, validation) }),
  };
}

/** PSNR in dB over a pool: peak 1 for pictures in [0, 1], clamped as a file would be. */
export async function reconstructionPsnr(model: AutoencoderKL, device: Device, pool: PicturePool): Promise<number> {
  const { size, count } = pool;
  const pixels = 3 * size * size;
  const batch = 16;
  let error = 0;
  for (let first = 0; first < count; first += batch) {
    const n = Math.min(batch, count - first);
    const image = Float32Array.from(pool.data.subarray(first * pixels, (first + n) * pixels), (byte) => byte / 127.5 - 1);
    const output = scope(() => model.decode(model.encode(device.tensor(image, [n, 3, size, size])).mean));
    const decoded = await output.toFloat32();
    output.dispose();
    for (let i = 0; i < decoded.length; i++) error += ((Math.min(1, Math.max(-1, decoded[i])) - image[i]) / 2) ** 2;
  }
  return -10 * Math.log10(error / (count * pixels));
}

/** Mean and standard deviation of the latents over a pool: they become shift and scaling, so the editor sees unit latents. */
export async function latentStatistics(model: AutoencoderKL, device: Device, pool: PicturePool): Promise<{ mean: number; std: number }> {
  const { size, count } = pool;
  const pixels = 3 * size * size;
  let [sum, squares, n] = [0, 0, 0];
  for (let first = 0; first < count; first += 16) {
    const here = Math.min(16, count - first);
    const image = Float32Array.from(pool.data.subarray(first * pixels, (first + here) * pixels), (byte) => byte / 127.5 - 1);
    const latents = scope(() => model.encode(device.tensor(image, [here, 3, size, size])).mean);
    for (const value of await latents.toFloat32()) {
      sum += value;
      squares += value * value;
      n += 1;
    }
    latents.dispose();
  }
  const average = sum / n;
  return { mean: average, std: Math.sqrt(squares / n - average * average) };
}
