/**
 * The FLUX autoencoder (diffusers `AutoencoderKL`, BFL `ae.safetensors`).
 *
 *   image [B, 3, H, W] in [-1, 1]
 *   encoder: conv_in → levels of residual blocks, each but the last halving the size → mid block → norm, SiLU, conv_out
 *            → mean and log-variance [B, 16, H/8, W/8] each
 *   decoder: conv_in → mid block → levels of residual blocks, each but the last doubling the size → norm, SiLU, conv_out
 *            → image [B, 3, H, W] (not clamped)
 *   The transformer sees (mean − shift_factor) · scaling_factor.
 */
import { addScalar, scale, slice } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import type { Weights } from '../../tensor/weights';
import { Conv2d } from '../layers';
import type { VaeConfig } from './config';
import { Downsample, MidBlock, NormSilu, ResnetBlock, Upsample } from './layers';

export class Encoder {
  private readonly convIn: Conv2d;
  private readonly downBlocks: { resnets: ResnetBlock[]; downsampler: Downsample | null }[];
  private readonly midBlock: MidBlock;
  private readonly convNormOut: NormSilu;
  private readonly convOut: Conv2d;

  constructor(weights: Weights, config: VaeConfig) {
    const { block_out_channels: channels, norm_num_groups: groups } = config;
    const last = channels.length - 1;
    this.convIn = new Conv2d(weights.at('conv_in'), config.in_channels, channels[0], 3, { padding: [1, 1, 1, 1] });
    this.downBlocks = channels.map((width, level) => {
      const at = weights.at(`down_blocks.${level}`);
      const before = channels[Math.max(0, level - 1)];
      return {
        resnets: indices(config.layers_per_block).map(
          (i) => new ResnetBlock(at.at(`resnets.${i}`), i === 0 ? before : width, width, groups),
        ),
        downsampler: level < last ? new Downsample(at.at('downsamplers.0'), width) : null,
      };
    });
    this.midBlock = new MidBlock(weights.at('mid_block'), channels[last], groups);
    this.convNormOut = new NormSilu(weights.at('conv_norm_out'), channels[last], groups);
    this.convOut = new Conv2d(weights.at('conv_out'), channels[last], 2 * config.latent_channels, 3, { padding: [1, 1, 1, 1] });
  }

  /** [B, 3, H, W] -> [B, 2·latent, H/8, W/8]: mean, then log-variance */
  forward(image: Tensor): Tensor {
    return scope(() => {
      let h = this.convIn.forward(image);
      for (const { resnets, downsampler } of this.downBlocks) {
        for (const block of resnets) h = replace(h, block.forward(h));
        if (downsampler) h = replace(h, downsampler.forward(h));
      }
      h = replace(h, this.midBlock.forward(h));
      return this.convOut.forward(this.convNormOut.forward(h));
    });
  }
}

export class Decoder {
  private readonly convIn: Conv2d;
  private readonly midBlock: MidBlock;
  private readonly upBlocks: { resnets: ResnetBlock[]; upsampler: Upsample | null }[];
  private readonly convNormOut: NormSilu;
  private readonly convOut: Conv2d;

  constructor(weights: Weights, config: VaeConfig) {
    const { norm_num_groups: groups } = config;
    const channels = [...config.block_out_channels].reverse();
    const last = channels.length - 1;
    this.convIn = new Conv2d(weights.at('conv_in'), config.latent_channels, channels[0], 3, { padding: [1, 1, 1, 1] });
    this.midBlock = new MidBlock(weights.at('mid_block'), channels[0], groups);
    this.upBlocks = channels.map((width, level) => {
      const at = weights.at(`up_blocks.${level}`);
      const before = channels[Math.max(0, level - 1)];
      return {
        resnets: indices(config.layers_per_block + 1).map(
          (i) => new ResnetBlock(at.at(`resnets.${i}`), i === 0 ? before : width, width, groups),
        ),
        upsampler: level < last ? new Upsample(at.at('upsamplers.0'), width) : null,
      };
    });
    this.convNormOut = new NormSilu(weights.at('conv_norm_out'), channels[last], groups);
    this.convOut = new Conv2d(weights.at('conv_out'), channels[last], config.out_channels, 3, { padding: [1, 1, 1, 1] });
  }

  /** [B, latent, h, w] -> [B, 3, 8h, 8w] */
  forward(latents: Tensor): Tensor {
    return scope(() => {
      let h = this.convIn.forward(latents);
      h = replace(h, this.midBlock.forward(h));
      for (const { resnets, upsampler } of this.upBlocks) {
        for (const block of resnets) h = replace(h, block.forward(h));
        if (upsampler) h = replace(h, upsampler.forward(h));
      }
      return this.convOut.forward(this.convNormOut.forward(h));
    });
  }
}

export class AutoencoderKL {
  readonly encoder: Encoder;
  readonly decoder: Decoder;

  constructor(
    readonly weights: Weights,
    readonly config: VaeConfig,
  ) {
    this.encoder = new Encoder(weights.at('encoder'), config);
    this.decoder = new Decoder(weights.at('decoder'), config);
  }

  /** image [B, 3, H, W] in [-1, 1] -> mean and log-variance of the latent, [B, latent, H/8, W/8] each */
  encode(image: Tensor): { mean: Tensor; logVariance: Tensor } {
    return scope(() => {
      const moments = this.encoder.forward(image);
      const channels = this.config.latent_channels;
      return { mean: slice(moments, 1, 0, channels), logVariance: slice(moments, 1, channels, channels) };
    });
  }

  /** image -> the latents the transformer works on: the mean (never a sample), shifted and scaled */
  encodeLatents(image: Tensor): Tensor {
    return scope(() => scale(addScalar(this.encode(image).mean, -this.config.shift_factor), this.config.scaling_factor));
  }

  /** latents straight from `encode` -> image */
  decode(latents: Tensor): Tensor {
    return this.decoder.forward(latents);
  }

  /** the transformer's latents -> image */
  decodeLatents(latents: Tensor): Tensor {
    return scope(() => this.decode(addScalar(scale(latents, 1 / this.config.scaling_factor), this.config.shift_factor)));
  }
}

function indices(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

/** Frees the old activation at once: at full size each is hundreds of megabytes. A tape keeps what it needs. */
function replace(old: Tensor, next: Tensor): Tensor {
  if (next !== old) old.dispose();
  return next;
}
