import { WeightsError } from '../../binding/errors';
import { reshape } from '../../tensor/ops';
import { unscoped } from '../../tensor/scope';
import type { Shape, Tensor } from '../../tensor/tensor';
import type { WeightSource } from '../../tensor/weights';
import type { VaeConfig } from './config';

/**
 * Reads the single-file layout (`ae.safetensors`) under diffusers names. Differences: other names; decoder levels counted
 * from the high-resolution end; attention projections stored as 1×1 convolutions.
 */
export class BflVaeWeights implements WeightSource {
  constructor(
    private readonly file: WeightSource & { load(name: string): Tensor },
    private readonly levels: number,
  ) {}

  has(name: string): boolean {
    return this.file.has(this.rename(name));
  }

  shapeOf(name: string): Shape | undefined {
    const shape = this.file.shapeOf(this.rename(name));
    return shape && isProjection(name) ? shape.slice(0, 2) : shape;
  }

  get(name: string, shape: Shape): Tensor {
    const original = this.rename(name);
    if (!isProjection(name) || this.file.shapeOf(original)?.length !== 4) return this.file.get(original, shape);
    return unscoped(() => {
      const stored = this.file.load(original);
      const view = reshape(stored, shape);
      stored.dispose();
      return view;
    });
  }

  private rename(name: string): string {
    return name
      .replace(/\.conv_norm_out\./, '.norm_out.')
      .replace(/^encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\./, 'encoder.down.$1.block.$2.')
      .replace(/^encoder\.down_blocks\.(\d+)\.downsamplers\.0\./, 'encoder.down.$1.downsample.')
      .replace(/^decoder\.up_blocks\.(\d+)\.resnets\.(\d+)\./, (_, i: string, j: string) => `decoder.up.${this.levels - 1 - Number(i)}.block.${j}.`)
      .replace(/^decoder\.up_blocks\.(\d+)\.upsamplers\.0\./, (_, i: string) => `decoder.up.${this.levels - 1 - Number(i)}.upsample.`)
      .replace(/\.mid_block\.resnets\.(\d)\./, (_, i: string) => `.mid.block_${Number(i) + 1}.`)
      .replace(/\.mid_block\.attentions\.0\.group_norm\./, '.mid.attn_1.norm.')
      .replace(/\.mid_block\.attentions\.0\.to_([qkv])\./, '.mid.attn_1.$1.')
      .replace(/\.mid_block\.attentions\.0\.to_out\.0\./, '.mid.attn_1.proj_out.')
      .replace(/\.conv_shortcut\./, '.nin_shortcut.');
  }
}

function isProjection(name: string): boolean {
  return /\.attentions\.0\.to_(q|k|v|out\.0)\.weight$/.test(name);
}

/** Reads the settings off the parameter shapes of a checkpoint in diffusers names; scaling and shift cannot be seen there. */
export function inferVaeConfig(weights: WeightSource, known: Pick<VaeConfig, 'scaling_factor' | 'shift_factor' | 'norm_num_groups'>): VaeConfig {
  const shape = (name: string): Shape => {
    const found = weights.shapeOf(name);
    if (!found) throw new WeightsError(`this is not a FLUX autoencoder: it has no '${name}'`);
    return found;
  };
  const channels: number[] = [];
  while (weights.has(`encoder.down_blocks.${channels.length}.resnets.0.conv1.weight`)) {
    channels.push(shape(`encoder.down_blocks.${channels.length}.resnets.0.conv1.weight`)[0]);
  }
  let layers = 0;
  while (weights.has(`encoder.down_blocks.0.resnets.${layers}.conv1.weight`)) layers += 1;
  return {
    in_channels: shape('encoder.conv_in.weight')[1],
    out_channels: shape('decoder.conv_out.weight')[0],
    block_out_channels: channels,
    layers_per_block: layers,
    latent_channels: shape('decoder.conv_in.weight')[1],
    ...known,
  };
}
