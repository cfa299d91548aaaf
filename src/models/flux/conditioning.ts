/** The conditioning vector `vec` [B, D]: diffusion time, guidance strength and pooled text. */
import { ShapeError } from '../../binding/errors';
import { add, cast, sinusoidalEmbedding } from '../../tensor/ops';
import type { Tensor } from '../../tensor/tensor';
import type { Weights } from '../../tensor/weights';
import { Linear } from '../layers';
import { hiddenSize } from './config';
import type { FluxConfig } from './config';
import { scaledTimestep } from './math';
import type { TimestepRounding } from './math';

const sinusoidWidth = 256;

/** Linear → SiLU → Linear. */
class Embedder {
  private readonly linear1: Linear;
  private readonly linear2: Linear;

  constructor(weights: Weights, inFeatures: number, dim: number) {
    this.linear1 = new Linear(weights.at('linear_1'), inFeatures, dim);
    this.linear2 = new Linear(weights.at('linear_2'), dim, dim);
  }

  forward(x: Tensor): Tensor {
    return this.linear2.forward(this.linear1.forward(x, 'silu'));
  }
}

export class TimeTextEmbedding {
  private readonly timestepEmbedder: Embedder;
  private readonly guidanceEmbedder: Embedder | undefined;
  private readonly textEmbedder: Embedder;

  constructor(weights: Weights, config: FluxConfig) {
    const dim = hiddenSize(config);
    this.timestepEmbedder = new Embedder(weights.at('timestep_embedder'), sinusoidWidth, dim);
    if (config.guidance_embeds) this.guidanceEmbedder = new Embedder(weights.at('guidance_embedder'), sinusoidWidth, dim);
    this.textEmbedder = new Embedder(weights.at('text_embedder'), config.pooled_projection_dim, dim);
  }

  /** vec [B, D] = MLP(sinusoid(1000 t)) + MLP(sinusoid(1000 guidance)) + MLP(pooled [B, pooled]). */
  forward(timestep: readonly number[], guidance: readonly number[] | undefined, pooled: Tensor, rounding: TimestepRounding): Tensor {
    const embed = (values: readonly number[], name: string, rounding: TimestepRounding): Tensor => {
      if (values.length !== pooled.dim(0)) {
        throw new ShapeError(`flux: expected ${pooled.dim(0)} ${name} values, one per batch item, got ${values.length}`);
      }
      const scaled = pooled.device.tensor(values.map((value) => scaledTimestep(value, rounding)));
      return cast(sinusoidalEmbedding(scaled, sinusoidWidth), pooled.dtype);
    };
    const vec = add(this.timestepEmbedder.forward(embed(timestep, 'timestep', rounding)), this.textEmbedder.forward(pooled));
    if (!this.guidanceEmbedder) return vec;
    if (!guidance) throw new ShapeError('flux: this network was distilled with guidance; expected a guidance value per batch item');
    // Both pipelines hand guidance over in the compute type: no division by 1000 in between.
    return add(vec, this.guidanceEmbedder.forward(embed(guidance, 'guidance', rounding === 'none' ? 'none' : 'bfl')));
  }
}
