/**
 * The layers every network here is made of. A layer is built from `Weights` at its checkpoint path, so its parameter names
 * are those of the public checkpoints; `forward` only enqueues.
 */
import { add, cast, conv2d, convTranspose2d, embedding, groupNorm, layernorm, linear, reshape, rmsnorm, scale, unary } from '../tensor/ops';
import type { Activation, Padding } from '../tensor/ops';
import type { Tensor } from '../tensor/tensor';
import type { Weights } from '../tensor/weights';

/** A low-rank update of a Linear: y += scale · B(A x). A [r, in], B [out, r]. */
export interface LowRank {
  a: Tensor;
  b: Tensor;
  scale: number;
}

/** y = x Wᵀ + b over the last dimension; weight [out, in], bias [out]. Finds its LoRA by the path it registers under. */
export class Linear {
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  lowRank: LowRank[] = [];

  constructor(
    weights: Weights,
    readonly inFeatures: number,
    readonly outFeatures: number,
    { bias = true }: { bias?: boolean } = {},
  ) {
    this.weight = weights.get('weight', [outFeatures, inFeatures]);
    this.bias = bias ? weights.get('bias', [outFeatures]) : null;
    weights.register(this);
  }

  /** x [..., in] -> [..., out] */
  forward(x: Tensor, activation: Activation = 'none'): Tensor {
    if (this.lowRank.length === 0) return linear(x, this.weight, this.bias, activation);
    let y = linear(x, this.weight, this.bias);
    for (const { a, b, scale: factor } of this.lowRank) {
      // A switched-off update still goes this way, not through the fused activation: base and adapted network share their bits.
      if (factor === 0) continue;
      const down = linear(x, cast(a, x.dtype));
      y = add(y, linear(factor === 1 ? down : scale(down, factor), cast(b, x.dtype)));
    }
    return activation === 'none' ? y : unary(y, activation);
  }
}

/** LayerNorm over the last dimension, with affine parameters. */
export class LayerNorm {
  readonly weight: Tensor;
  readonly bias: Tensor;

  constructor(weights: Weights, dim: number, readonly eps: number) {
    this.weight = weights.get('weight', [dim]);
    this.bias = weights.get('bias', [dim]);
  }

  forward(x: Tensor): Tensor {
    return layernorm(x, this.weight, this.bias, this.eps);
  }
}

/** RMSNorm over the last dimension. */
export class RmsNorm {
  readonly weight: Tensor;

  constructor(weights: Weights, dim: number, readonly eps: number) {
    this.weight = weights.get('weight', [dim]);
  }

  forward(x: Tensor): Tensor {
    return rmsnorm(x, this.weight, this.eps);
  }
}

/** Convolution, NCHW; weight OIHW. */
export class Conv2d {
  readonly weight: Tensor;
  readonly bias: Tensor | null;

  constructor(
    weights: Weights,
    inChannels: number,
    outChannels: number,
    kernel: number,
    private readonly options: { stride?: number; padding?: Padding; bias?: boolean } = {},
  ) {
    this.weight = weights.get('weight', [outChannels, inChannels, kernel, kernel]);
    this.bias = options.bias === false ? null : weights.get('bias', [outChannels]);
  }

  forward(x: Tensor): Tensor {
    return conv2d(x, this.weight, this.bias, this.options);
  }
}

/** Transposed convolution with kernel = stride; weight IOHW. */
export class ConvTranspose2d {
  readonly weight: Tensor;
  readonly bias: Tensor;

  constructor(weights: Weights, inChannels: number, outChannels: number, private readonly stride: number) {
    this.weight = weights.get('weight', [inChannels, outChannels, stride, stride]);
    this.bias = weights.get('bias', [outChannels]);
  }

  forward(x: Tensor): Tensor {
    return convTranspose2d(x, this.weight, this.bias, { stride: this.stride });
  }
}

/** GroupNorm over channels of NCHW. */
export class GroupNorm {
  readonly weight: Tensor;
  readonly bias: Tensor;

  constructor(weights: Weights, channels: number, private readonly groups: number, private readonly eps: number) {
    this.weight = weights.get('weight', [channels]);
    this.bias = weights.get('bias', [channels]);
  }

  forward(x: Tensor): Tensor {
    return groupNorm(x, this.weight, this.bias, this.groups, this.eps);
  }
}

/** Rows of a table by id. */
export class Embedding {
  readonly weight: Tensor;

  constructor(weights: Weights, count: number, dim: number) {
    this.weight = weights.get('weight', [count, dim]);
  }

  /** ids i32 [...] -> [..., dim] */
  forward(ids: Tensor): Tensor {
    return embedding(ids, this.weight);
  }
}

/** Splits the last dimension into heads: [B, L, H·D] -> [B, L, H, D], a view. */
export function splitHeads(x: Tensor, heads: number): Tensor {
  const [batch, length, width] = x.shape;
  return reshape(x, [batch, length, heads, width / heads]);
}

/** Joins heads: [B, L, H, D] -> [B, L, H·D], a view. */
export function joinHeads(x: Tensor): Tensor {
  const [batch, length, heads, dim] = x.shape;
  return reshape(x, [batch, length, heads * dim]);
}
