import { add, attention, groupNorm, permute, reshape, upsampleNearest2x } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import type { Weights } from '../../tensor/weights';
import { Conv2d, GroupNorm, Linear } from '../layers';

/** Every GroupNorm of the autoencoder. */
export const NORM_EPS = 1e-6;

/** GroupNorm → SiLU, one op. */
export class NormSilu {
  private readonly norm: GroupNorm;

  constructor(weights: Weights, channels: number, private readonly groups: number) {
    this.norm = new GroupNorm(weights, channels, groups, NORM_EPS);
  }

  forward(x: Tensor): Tensor {
    return groupNorm(x, this.norm.weight, this.norm.bias, this.groups, NORM_EPS, { silu: true });
  }
}

/** x + conv(silu(norm(conv(silu(norm(x)))))), with a 1×1 shortcut where the channels change. */
export class ResnetBlock {
  private readonly norm1: NormSilu;
  private readonly conv1: Conv2d;
  private readonly norm2: NormSilu;
  private readonly conv2: Conv2d;
  private readonly convShortcut: Conv2d | null;

  constructor(weights: Weights, inChannels: number, outChannels: number, groups: number) {
    const padding = [1, 1, 1, 1] as const;
    this.norm1 = new NormSilu(weights.at('norm1'), inChannels, groups);
    this.conv1 = new Conv2d(weights.at('conv1'), inChannels, outChannels, 3, { padding });
    this.norm2 = new NormSilu(weights.at('norm2'), outChannels, groups);
    this.conv2 = new Conv2d(weights.at('conv2'), outChannels, outChannels, 3, { padding });
    this.convShortcut = inChannels === outChannels ? null : new Conv2d(weights.at('conv_shortcut'), inChannels, outChannels, 1);
  }

  /** [B, in, h, w] -> [B, out, h, w] */
  forward(x: Tensor): Tensor {
    return scope(() => {
      const h = this.conv2.forward(this.norm2.forward(this.conv1.forward(this.norm1.forward(x))));
      return add(this.convShortcut ? this.convShortcut.forward(x) : x, h);
    });
  }
}

/** Single-head self-attention over all positions; the head is as wide as the level has channels. */
export class AttentionBlock {
  private readonly groupNorm: GroupNorm;
  private readonly toQ: Linear;
  private readonly toK: Linear;
  private readonly toV: Linear;
  private readonly toOut: Linear;

  constructor(weights: Weights, private readonly channels: number, groups: number) {
    this.groupNorm = new GroupNorm(weights.at('group_norm'), channels, groups, NORM_EPS);
    this.toQ = new Linear(weights.at('to_q'), channels, channels);
    this.toK = new Linear(weights.at('to_k'), channels, channels);
    this.toV = new Linear(weights.at('to_v'), channels, channels);
    this.toOut = new Linear(weights.at('to_out.0'), channels, channels);
  }

  forward(x: Tensor): Tensor {
    return scope(() => {
      const [batch, channels, height, width] = x.shape;
      const tokens = permute(reshape(this.groupNorm.forward(x), [batch, channels, height * width]), [0, 2, 1]);
      const heads = (layer: Linear): Tensor => reshape(layer.forward(tokens), [batch, height * width, 1, this.channels]);
      const attended = attention(heads(this.toQ), heads(this.toK), heads(this.toV));
      const out = this.toOut.forward(reshape(attended, [batch, height * width, channels]));
      return add(x, reshape(permute(out, [0, 2, 1]), [batch, channels, height, width]));
    });
  }
}

/** Residual, attention, residual at the lowest resolution. */
export class MidBlock {
  private readonly resnets: ResnetBlock[];
  private readonly attention: AttentionBlock;

  constructor(weights: Weights, channels: number, groups: number) {
    this.resnets = [0, 1].map((i) => new ResnetBlock(weights.at(`resnets.${i}`), channels, channels, groups));
    this.attention = new AttentionBlock(weights.at('attentions.0'), channels, groups);
  }

  forward(x: Tensor): Tensor {
    return scope(() => this.resnets[1].forward(this.attention.forward(this.resnets[0].forward(x))));
  }
}

/** Halves the size: zeros to the right and below, then a stride-2 convolution. */
export class Downsample {
  private readonly conv: Conv2d;

  constructor(weights: Weights, channels: number) {
    this.conv = new Conv2d(weights.at('conv'), channels, channels, 3, { stride: 2, padding: [0, 0, 1, 1] });
  }

  forward(x: Tensor): Tensor {
    return this.conv.forward(x);
  }
}

/** Doubles the size: nearest neighbour, then a convolution. */
export class Upsample {
  private readonly conv: Conv2d;

  constructor(weights: Weights, channels: number) {
    this.conv = new Conv2d(weights.at('conv'), channels, channels, 3, { padding: [1, 1, 1, 1] });
  }

  forward(x: Tensor): Tensor {
    return scope(() => this.conv.forward(upsampleNearest2x(x)));
  }
}
