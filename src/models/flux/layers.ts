/** The blocks of the FLUX transformer. L tokens are T text tokens followed by N image tokens; D = H · headDim. */
import { attention, concat, gatedResidual, modulate, rope } from '../../tensor/ops';
import type { Tensor } from '../../tensor/tensor';
import type { Weights } from '../../tensor/weights';
import { joinHeads, Linear, RmsNorm, splitHeads } from '../layers';
import { hiddenSize, mlpSize } from './config';
import type { FluxConfig } from './config';
import { chunk, tokens } from './math';
import type { RopeTables } from './math';

const eps = 1e-6;

/** Image and text tokens on their way through the double blocks: [B, N, D] and [B, T, D]. */
export interface Streams {
  image: Tensor;
  text: Tensor;
}

/**
 * Adaptive LayerNorm: `count` modulation vectors [B, D] from the conditioning vector. Its SiLU is the same for all blocks, so
 * they are given silu(vec).
 */
class AdaLayerNorm {
  private readonly linear: Linear;

  constructor(weights: Weights, dim: number, private readonly count: number) {
    this.linear = new Linear(weights.at('linear'), dim, count * dim);
  }

  forward(siluVec: Tensor): Tensor[] {
    return chunk(this.linear.forward(siluVec), this.count);
  }
}

class FeedForward {
  private readonly up: Linear;
  private readonly down: Linear;

  constructor(weights: Weights, dim: number, inner: number) {
    this.up = new Linear(weights.at('net.0.proj'), dim, inner);
    this.down = new Linear(weights.at('net.2'), inner, dim);
  }

  forward(x: Tensor): Tensor {
    return this.down.forward(this.up.forward(x, 'gelu_tanh'));
  }
}

/** Queries, keys and values of one stream: [B, L, H, headDim] each, queries and keys normalised per head. */
class QueryKeyValue {
  private readonly toQ: Linear;
  private readonly toK: Linear;
  private readonly toV: Linear;
  private readonly normQ: RmsNorm;
  private readonly normK: RmsNorm;
  private readonly heads: number;

  constructor(weights: Weights, config: FluxConfig, names: readonly [string, string, string, string, string]) {
    const dim = hiddenSize(config);
    const [q, k, v, normQ, normK] = names;
    this.heads = config.num_attention_heads;
    this.toQ = new Linear(weights.at(q), dim, dim);
    this.toK = new Linear(weights.at(k), dim, dim);
    this.toV = new Linear(weights.at(v), dim, dim);
    this.normQ = new RmsNorm(weights.at(normQ), config.attention_head_dim, eps);
    this.normK = new RmsNorm(weights.at(normK), config.attention_head_dim, eps);
  }

  forward(x: Tensor): [q: Tensor, k: Tensor, v: Tensor] {
    const q = this.normQ.forward(splitHeads(this.toQ.forward(x), this.heads));
    const k = this.normK.forward(splitHeads(this.toK.forward(x), this.heads));
    return [q, k, splitHeads(this.toV.forward(x), this.heads)];
  }
}

const imageNames = ['to_q', 'to_k', 'to_v', 'norm_q', 'norm_k'] as const;
const textNames = ['add_q_proj', 'add_k_proj', 'add_v_proj', 'norm_added_q', 'norm_added_k'] as const;

/** softmax(rope(q) rope(k)ᵀ / √headDim) v over all tokens, no mask: [B, L, D]. */
function ropeAttention(q: Tensor, k: Tensor, v: Tensor, { cos, sin }: RopeTables): Tensor {
  return joinHeads(attention(rope(q, cos, sin, 2), rope(k, cos, sin, 2), v));
}

/** Double-stream block: image and text keep weights of their own and meet in one attention. */
export class DoubleBlock {
  private readonly norm1: AdaLayerNorm;
  private readonly norm1Context: AdaLayerNorm;
  private readonly imageQkv: QueryKeyValue;
  private readonly textQkv: QueryKeyValue;
  private readonly toOut: Linear;
  private readonly toAddOut: Linear;
  private readonly ff: FeedForward;
  private readonly ffContext: FeedForward;

  constructor(weights: Weights, config: FluxConfig) {
    const dim = hiddenSize(config);
    const attn = weights.at('attn');
    this.norm1 = new AdaLayerNorm(weights.at('norm1'), dim, 6);
    this.norm1Context = new AdaLayerNorm(weights.at('norm1_context'), dim, 6);
    this.imageQkv = new QueryKeyValue(attn, config, imageNames);
    this.textQkv = new QueryKeyValue(attn, config, textNames);
    this.toOut = new Linear(attn.at('to_out.0'), dim, dim);
    this.toAddOut = new Linear(attn.at('to_add_out'), dim, dim);
    this.ff = new FeedForward(weights.at('ff'), dim, mlpSize(config));
    this.ffContext = new FeedForward(weights.at('ff_context'), dim, mlpSize(config));
  }

  forward({ image, text }: Streams, siluVec: Tensor, rope: RopeTables): Streams {
    const [shift, scale, gate, shiftMlp, scaleMlp, gateMlp] = this.norm1.forward(siluVec);
    const [textShift, textScale, textGate, textShiftMlp, textScaleMlp, textGateMlp] = this.norm1Context.forward(siluVec);

    const [q, k, v] = this.imageQkv.forward(modulate(image, shift, scale, eps));
    const [textQ, textK, textV] = this.textQkv.forward(modulate(text, textShift, textScale, eps));
    const attended = ropeAttention(concat([textQ, q], 1), concat([textK, k], 1), concat([textV, v], 1), rope);

    const textLength = text.dim(1);
    image = gatedResidual(image, gate, this.toOut.forward(tokens(attended, textLength, image.dim(1))));
    image = gatedResidual(image, gateMlp, this.ff.forward(modulate(image, shiftMlp, scaleMlp, eps)));
    text = gatedResidual(text, textGate, this.toAddOut.forward(tokens(attended, 0, textLength)));
    text = gatedResidual(text, textGateMlp, this.ffContext.forward(modulate(text, textShiftMlp, textScaleMlp, eps)));
    return { image, text };
  }
}

/** Single-stream block on [text | image]: attention and feed-forward in parallel, one output projection and one gate. */
export class SingleBlock {
  private readonly norm: AdaLayerNorm;
  private readonly qkv: QueryKeyValue;
  private readonly projMlp: Linear;
  private readonly projOut: Linear;

  constructor(weights: Weights, config: FluxConfig) {
    const dim = hiddenSize(config);
    this.norm = new AdaLayerNorm(weights.at('norm'), dim, 3);
    this.qkv = new QueryKeyValue(weights.at('attn'), config, imageNames);
    this.projMlp = new Linear(weights.at('proj_mlp'), dim, mlpSize(config));
    this.projOut = new Linear(weights.at('proj_out'), dim + mlpSize(config), dim);
  }

  forward(x: Tensor, siluVec: Tensor, rope: RopeTables): Tensor {
    const [shift, scale, gate] = this.norm.forward(siluVec);
    const normed = modulate(x, shift, scale, eps);
    const [q, k, v] = this.qkv.forward(normed);
    const mlp = this.projMlp.forward(normed, 'gelu_tanh');
    return gatedResidual(x, gate, this.projOut.forward(concat([ropeAttention(q, k, v, rope), mlp], 2)));
  }
}

/** Last layer: modulated LayerNorm and projection to velocities. In this layout the modulation is [scale | shift]. */
export class OutputLayer {
  private readonly norm: AdaLayerNorm;
  private readonly projOut: Linear;

  constructor(weights: Weights, config: FluxConfig) {
    const dim = hiddenSize(config);
    this.norm = new AdaLayerNorm(weights.at('norm_out'), dim, 2);
    this.projOut = new Linear(weights.at('proj_out'), dim, config.out_channels ?? config.in_channels);
  }

  forward(x: Tensor, siluVec: Tensor): Tensor {
    const [scale, shift] = this.norm.forward(siluVec);
    return this.projOut.forward(modulate(x, shift, scale, eps));
  }
}
