/**
 * T5 v1.1 encoder (transformers `T5EncoderModel`): RMS norms, no biases, no 1/√d scaling, gated GELU, and one table of relative
 * position biases shared by all layers. FLUX pads to a fixed length and passes no mask: the padding attends and is attended.
 *
 *   ids [B, L] → embedding → layers: x += o(attention(q, k, v) + bias), x += wo(gelu(wi_0 h) · wi_1 h) → final norm
 */
import { add, attention, cast, embedding, mul, permute, rmsnorm } from '../../tensor/ops';
import { scope, unscoped } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import type { Weights } from '../../tensor/weights';
import { joinHeads, Linear, splitHeads } from '../layers';

/** Field names of transformers' config.json. */
export interface T5Config {
  vocab_size: number;
  d_model: number;
  /** Width of one head; heads · d_kv need not be d_model. */
  d_kv: number;
  d_ff: number;
  num_layers: number;
  num_heads: number;
  relative_attention_num_buckets: number;
  relative_attention_max_distance: number;
  layer_norm_epsilon: number;
}

export const t5Xxl: T5Config = {
  vocab_size: 32128,
  d_model: 4096,
  d_kv: 64,
  d_ff: 10240,
  num_layers: 24,
  num_heads: 64,
  relative_attention_num_buckets: 32,
  relative_attention_max_distance: 128,
  layer_norm_epsilon: 1e-6,
};

/** Bucket of a distance key − query (Raffel et al. 2020): exact for small distances, logarithmic up to the largest. */
export function relativePositionBucket(distance: number, buckets: number, maxDistance: number): number {
  const half = buckets / 2;
  const exact = half / 2;
  const base = distance > 0 ? half : 0;
  const away = Math.abs(distance);
  if (away < exact) return base + away;
  // In f32, as the reference computes it: the floor is sensitive at the bucket edges.
  const ratio = Math.fround(Math.log(Math.fround(away / exact)));
  const log = Math.fround(Math.fround(ratio / Math.fround(Math.log(maxDistance / exact))) * (half - exact));
  return base + Math.min(half - 1, exact + Math.floor(log));
}

class T5Block {
  private readonly attentionNorm: Tensor;
  private readonly q: Linear;
  private readonly k: Linear;
  private readonly v: Linear;
  private readonly o: Linear;
  private readonly feedForwardNorm: Tensor;
  private readonly wi0: Linear;
  private readonly wi1: Linear;
  private readonly wo: Linear;

  constructor(weights: Weights, private readonly config: T5Config) {
    const { d_model: dim, d_ff: inner } = config;
    const width = config.num_heads * config.d_kv;
    const plain = { bias: false };
    this.attentionNorm = weights.get('layer.0.layer_norm.weight', [dim]);
    const attn = weights.at('layer.0.SelfAttention');
    this.q = new Linear(attn.at('q'), dim, width, plain);
    this.k = new Linear(attn.at('k'), dim, width, plain);
    this.v = new Linear(attn.at('v'), dim, width, plain);
    this.o = new Linear(attn.at('o'), width, dim, plain);
    this.feedForwardNorm = weights.get('layer.1.layer_norm.weight', [dim]);
    const dense = weights.at('layer.1.DenseReluDense');
    this.wi0 = new Linear(dense.at('wi_0'), dim, inner, plain);
    this.wi1 = new Linear(dense.at('wi_1'), dim, inner, plain);
    this.wo = new Linear(dense.at('wo'), inner, dim, plain);
  }

  forward(x: Tensor, bias: Tensor): Tensor {
    return scope(() => {
      const { num_heads: heads, layer_norm_epsilon: eps } = this.config;
      const h = rmsnorm(x, this.attentionNorm, eps);
      const attended = attention(
        splitHeads(this.q.forward(h), heads),
        splitHeads(this.k.forward(h), heads),
        splitHeads(this.v.forward(h), heads),
        { scale: 1, bias },
      );
      const y = add(x, this.o.forward(joinHeads(attended)));
      const g = rmsnorm(y, this.feedForwardNorm, eps);
      return add(y, this.wo.forward(mul(this.wi0.forward(g, 'gelu_tanh'), this.wi1.forward(g))));
    });
  }
}

export class T5Encoder {
  private readonly shared: Tensor;
  private readonly relativeBias: Tensor;
  private readonly blocks: T5Block[];
  private readonly finalLayerNorm: Tensor;
  /** Buckets by length: the same few lengths come again and again. */
  private readonly buckets = new Map<number, Tensor>();

  constructor(weights: Weights, readonly config: T5Config) {
    const table = [config.vocab_size, config.d_model];
    this.shared = weights.has('shared.weight') ? weights.get('shared.weight', table) : weights.get('encoder.embed_tokens.weight', table);
    this.relativeBias = weights.get('encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight', [
      config.relative_attention_num_buckets,
      config.num_heads,
    ]);
    this.blocks = Array.from({ length: config.num_layers }, (_, i) => new T5Block(weights.at(`encoder.block.${i}`), config));
    this.finalLayerNorm = weights.get('encoder.final_layer_norm.weight', [config.d_model]);
  }

  /** ids: B rows of token ids, equally long -> last hidden state [B, L, d_model], padding rows included */
  forward(ids: readonly ArrayLike<number>[]): Tensor {
    return scope(() => {
      const length = ids[0].length;
      const flat = Int32Array.from(ids.flatMap((row) => Array.from(row)));
      let x = embedding(this.shared.device.tensor(flat, [ids.length, length]), this.shared);
      const bias = this.positionBias(length);
      for (const block of this.blocks) x = block.forward(x, bias);
      return rmsnorm(x, this.finalLayerNorm, this.config.layer_norm_epsilon);
    });
  }

  dispose(): void {
    for (const tensor of this.buckets.values()) tensor.dispose();
    this.buckets.clear();
  }

  /** [heads, L, L] */
  private positionBias(length: number): Tensor {
    let buckets = this.buckets.get(length);
    if (!buckets) {
      const { relative_attention_num_buckets: count, relative_attention_max_distance: far } = this.config;
      const ids = Int32Array.from({ length: length * length }, (_, at) =>
        relativePositionBucket((at % length) - Math.floor(at / length), count, far),
      );
      buckets = unscoped(() => this.shared.device.tensor(ids, [length, length]));
      this.buckets.set(length, buckets);
    }
    // Attention adds its bias in f32, whatever the type of the rest.
    return cast(permute(embedding(buckets, this.relativeBias), [2, 0, 1]), 'f32');
  }
}
