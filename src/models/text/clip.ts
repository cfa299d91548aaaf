/**
 * CLIP-L text encoder (transformers `CLIPTextModel`). FLUX uses only the pooled vector: the final hidden state at the first
 * end-of-text token, without the text projection.
 *
 *   ids [B, L] → token + position embedding → layers of pre-norm attention (causal) and MLP (quick GELU) → final norm
 */
import { add, attention, indexRows, reshape, rows } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import type { Weights } from '../../tensor/weights';
import { Embedding, joinHeads, LayerNorm, Linear, splitHeads } from '../layers';

/** Field names of transformers' config.json. */
export interface ClipTextConfig {
  vocab_size: number;
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  max_position_embeddings: number;
  layer_norm_eps: number;
  /** The id of end-of-text; 2 is the old default and means "the largest id", which it is. */
  eos_token_id: number;
}

export const clipL: ClipTextConfig = {
  vocab_size: 49408,
  hidden_size: 768,
  intermediate_size: 3072,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  max_position_embeddings: 77,
  layer_norm_eps: 1e-5,
  eos_token_id: 2,
};

class ClipLayer {
  private readonly layerNorm1: LayerNorm;
  private readonly layerNorm2: LayerNorm;
  private readonly qProj: Linear;
  private readonly kProj: Linear;
  private readonly vProj: Linear;
  private readonly outProj: Linear;
  private readonly fc1: Linear;
  private readonly fc2: Linear;

  constructor(weights: Weights, private readonly config: ClipTextConfig) {
    const { hidden_size: dim, intermediate_size: inner, layer_norm_eps: eps } = config;
    this.layerNorm1 = new LayerNorm(weights.at('layer_norm1'), dim, eps);
    this.layerNorm2 = new LayerNorm(weights.at('layer_norm2'), dim, eps);
    const attn = weights.at('self_attn');
    this.qProj = new Linear(attn.at('q_proj'), dim, dim);
    this.kProj = new Linear(attn.at('k_proj'), dim, dim);
    this.vProj = new Linear(attn.at('v_proj'), dim, dim);
    this.outProj = new Linear(attn.at('out_proj'), dim, dim);
    this.fc1 = new Linear(weights.at('mlp.fc1'), dim, inner);
    this.fc2 = new Linear(weights.at('mlp.fc2'), inner, dim);
  }

  forward(x: Tensor): Tensor {
    return scope(() => {
      const heads = this.config.num_attention_heads;
      const h = this.layerNorm1.forward(x);
      const attended = attention(
        splitHeads(this.qProj.forward(h), heads),
        splitHeads(this.kProj.forward(h), heads),
        splitHeads(this.vProj.forward(h), heads),
        { causal: true },
      );
      const y = add(x, this.outProj.forward(joinHeads(attended)));
      return add(y, this.fc2.forward(this.fc1.forward(this.layerNorm2.forward(y), 'quick_gelu')));
    });
  }
}

export class ClipTextEncoder {
  private readonly tokens: Embedding;
  private readonly positions: Tensor;
  private readonly layers: ClipLayer[];
  private readonly finalLayerNorm: LayerNorm;

  /** Accepts both key layouts: with and without the `text_model.` prefix. */
  constructor(weights: Weights, readonly config: ClipTextConfig) {
    const root = weights.has('text_model.final_layer_norm.weight') && !weights.has('final_layer_norm.weight') ? weights.at('text_model') : weights;
    const dim = config.hidden_size;
    this.tokens = new Embedding(root.at('embeddings.token_embedding'), config.vocab_size, dim);
    this.positions = root.get('embeddings.position_embedding.weight', [config.max_position_embeddings, dim]);
    this.layers = Array.from({ length: config.num_hidden_layers }, (_, i) => new ClipLayer(root.at(`encoder.layers.${i}`), config));
    this.finalLayerNorm = new LayerNorm(root.at('final_layer_norm'), dim, config.layer_norm_eps);
  }

  /**
   * ids: B rows of token ids, equally long (at most `max_position_embeddings`) -> lastHiddenState [B, L, dim], pooled [B, dim].
   */
  forward(ids: readonly ArrayLike<number>[]): { lastHiddenState: Tensor; pooled: Tensor } {
    return scope(() => {
      const length = ids[0].length;
      const { device } = this.positions;
      const flat = Int32Array.from(ids.flatMap((row) => Array.from(row)));
      let x = add(this.tokens.forward(device.tensor(flat, [ids.length, length])), rows(this.positions, 0, length));
      for (const layer of this.layers) x = layer.forward(x);
      const lastHiddenState = this.finalLayerNorm.forward(x);
      const ends = Int32Array.from(ids, (row, b) => b * length + endOfText(row, this.config.eos_token_id));
      const pooled = indexRows(reshape(lastHiddenState, [ids.length * length, this.config.hidden_size]), device.tensor(ends));
      return { lastHiddenState, pooled };
    });
  }
}

/** Position of the first end-of-text id; with the old default id 2 the first largest id, which the tokenizer made the same. */
function endOfText(row: ArrayLike<number>, eos: number): number {
  const ids = Array.from(row);
  const wanted = eos === 2 ? Math.max(...ids) : eos;
  return Math.max(0, ids.indexOf(wanted));
}
