/** What the image encoder, the aggregator and the camera head are made of. */
import { attention, gatedResidual, reshape, rope, slice } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import type { Weights } from '../../tensor/weights';
import { joinHeads, LayerNorm, Linear } from '../layers';
import type { RopeTables } from './positions';

export interface BlockOptions {
  dim: number;
  heads: number;
  /** Of norm1, norm2 and, where there are any, the norms of queries and keys. */
  eps: number;
  /** LayerNorm of queries and keys over the head dimension, before the rotation. */
  qkNorm?: boolean;
}

class Attention {
  private readonly qkv: Linear;
  private readonly qNorm: LayerNorm | null;
  private readonly kNorm: LayerNorm | null;
  private readonly proj: Linear;

  constructor(weights: Weights, private readonly options: BlockOptions) {
    const { dim, heads, eps, qkNorm } = options;
    this.qkv = new Linear(weights.at('qkv'), dim, 3 * dim);
    this.qNorm = qkNorm ? new LayerNorm(weights.at('q_norm'), dim / heads, eps) : null;
    this.kNorm = qkNorm ? new LayerNorm(weights.at('k_norm'), dim / heads, eps) : null;
    this.proj = new Linear(weights.at('proj'), dim, dim);
  }

  /** [B, L, C] -> [B, L, C] */
  forward(x: Tensor, positions: RopeTables | null): Tensor {
    const { dim, heads } = this.options;
    const [batch, length] = x.shape;
    const qkv = this.qkv.forward(x);
    const part = (i: number): Tensor => reshape(slice(qkv, 2, i * dim, dim), [batch, length, heads, dim / heads]);
    const turned = (y: Tensor, norm: LayerNorm | null): Tensor => {
      const normed = norm ? norm.forward(y) : y;
      return positions ? rope(normed, positions.cos, positions.sin, dim / heads / 2) : normed;
    };
    return this.proj.forward(joinHeads(attention(turned(part(0), this.qNorm), turned(part(1), this.kNorm), part(2))));
  }
}

/** fc2(gelu(fc1 x)), the exact GELU */
export class Mlp {
  private readonly fc1: Linear;
  private readonly fc2: Linear;

  constructor(weights: Weights, dim: number, inner: number, out = dim) {
    this.fc1 = new Linear(weights.at('fc1'), dim, inner);
    this.fc2 = new Linear(weights.at('fc2'), inner, out);
  }

  forward(x: Tensor): Tensor {
    return this.fc2.forward(this.fc1.forward(x, 'gelu_erf'));
  }
}

/** x + gamma ∘ branch */
class LayerScale {
  private readonly gamma: Tensor;

  constructor(weights: Weights, private readonly dim: number) {
    this.gamma = weights.get('gamma', [dim]);
  }

  forward(x: Tensor, branch: Tensor): Tensor {
    const rows = [1, x.size / this.dim, this.dim];
    const y = gatedResidual(reshape(x, rows), reshape(this.gamma, [1, this.dim]), reshape(branch, rows));
    return reshape(y, x.shape);
  }
}

/** x ← x + ls1 ∘ Attn(LN(x)); x ← x + ls2 ∘ MLP(LN(x)) */
export class Block {
  private readonly norm1: LayerNorm;
  private readonly attn: Attention;
  private readonly ls1: LayerScale;
  private readonly norm2: LayerNorm;
  private readonly mlp: Mlp;
  private readonly ls2: LayerScale;

  constructor(weights: Weights, options: BlockOptions) {
    const { dim, eps } = options;
    this.norm1 = new LayerNorm(weights.at('norm1'), dim, eps);
    this.attn = new Attention(weights.at('attn'), options);
    this.ls1 = new LayerScale(weights.at('ls1'), dim);
    this.norm2 = new LayerNorm(weights.at('norm2'), dim, eps);
    this.mlp = new Mlp(weights.at('mlp'), dim, 4 * dim);
    this.ls2 = new LayerScale(weights.at('ls2'), dim);
  }

  /** [B, L, C] -> [B, L, C]; `positions` null: tokens are a set. */
  forward(x: Tensor, positions: RopeTables | null = null): Tensor {
    return scope(() => {
      const seen = this.ls1.forward(x, this.attn.forward(this.norm1.forward(x), positions));
      return this.ls2.forward(seen, this.mlp.forward(this.norm2.forward(seen)));
    });
  }
}
