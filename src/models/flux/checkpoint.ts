/** Reads FLUX checkpoints of either layout under the diffusers names that the modules carry. */
import { ConfigError, WeightsError } from '../../binding/errors';
import { concat, rows } from '../../tensor/ops';
import { scope, unscoped } from '../../tensor/scope';
import type { Shape, Tensor } from '../../tensor/tensor';
import { Weights } from '../../tensor/weights';
import type { WeightSource } from '../../tensor/weights';
import { parseFluxConfig } from './config';
import type { FluxConfig } from './config';
import { FluxTransformer } from './transformer';
import type { FluxOptions } from './transformer';

/** `diffusers`: a folder's transformer; `bfl`: the single file with fused projections (`double_blocks.0.img_attn.qkv`). */
export type FluxLayout = 'diffusers' | 'bfl';

/** Rows of a fused parameter: `length` units from unit `start`, of `of` units in all. `swap`: the two halves change places. */
export interface FusedRows {
  start: number;
  length: number;
  of: number;
  swap?: boolean;
}

export interface BflModule {
  name: string;
  /** Absent: the module is the whole of its counterpart. */
  part?: FusedRows;
}

const fused = (name: string, start: number, length: number, of: number): BflModule => ({ name, part: { start, length, of } });

const topModules: Record<string, BflModule> = {
  x_embedder: { name: 'img_in' },
  context_embedder: { name: 'txt_in' },
  'time_text_embed.timestep_embedder.linear_1': { name: 'time_in.in_layer' },
  'time_text_embed.timestep_embedder.linear_2': { name: 'time_in.out_layer' },
  'time_text_embed.guidance_embedder.linear_1': { name: 'guidance_in.in_layer' },
  'time_text_embed.guidance_embedder.linear_2': { name: 'guidance_in.out_layer' },
  'time_text_embed.text_embedder.linear_1': { name: 'vector_in.in_layer' },
  'time_text_embed.text_embedder.linear_2': { name: 'vector_in.out_layer' },
  // The single file stores [shift | scale], diffusers [scale | shift].
  'norm_out.linear': { name: 'final_layer.adaLN_modulation.1', part: { start: 0, length: 2, of: 2, swap: true } },
  proj_out: { name: 'final_layer.linear' },
};

const doubleModules: Record<string, BflModule> = {
  'norm1.linear': { name: 'img_mod.lin' },
  'norm1_context.linear': { name: 'txt_mod.lin' },
  'attn.to_q': fused('img_attn.qkv', 0, 1, 3),
  'attn.to_k': fused('img_attn.qkv', 1, 1, 3),
  'attn.to_v': fused('img_attn.qkv', 2, 1, 3),
  'attn.add_q_proj': fused('txt_attn.qkv', 0, 1, 3),
  'attn.add_k_proj': fused('txt_attn.qkv', 1, 1, 3),
  'attn.add_v_proj': fused('txt_attn.qkv', 2, 1, 3),
  'attn.norm_q': { name: 'img_attn.norm.query_norm' },
  'attn.norm_k': { name: 'img_attn.norm.key_norm' },
  'attn.norm_added_q': { name: 'txt_attn.norm.query_norm' },
  'attn.norm_added_k': { name: 'txt_attn.norm.key_norm' },
  'attn.to_out.0': { name: 'img_attn.proj' },
  'attn.to_add_out': { name: 'txt_attn.proj' },
  'ff.net.0.proj': { name: 'img_mlp.0' },
  'ff.net.2': { name: 'img_mlp.2' },
  'ff_context.net.0.proj': { name: 'txt_mlp.0' },
  'ff_context.net.2': { name: 'txt_mlp.2' },
};

/** linear1 holds q, k, v of D rows each and the feed-forward's 4 D. */
const singleModules: Record<string, BflModule> = {
  'norm.linear': { name: 'modulation.lin' },
  'attn.to_q': fused('linear1', 0, 1, 7),
  'attn.to_k': fused('linear1', 1, 1, 7),
  'attn.to_v': fused('linear1', 2, 1, 7),
  proj_mlp: fused('linear1', 3, 4, 7),
  'attn.norm_q': { name: 'norm.query_norm' },
  'attn.norm_k': { name: 'norm.key_norm' },
  proj_out: { name: 'linear2' },
};

/** Counterpart of a diffusers module in the single-file layout; undefined when there is none. */
export function bflModule(module: string): BflModule | undefined {
  const block = /^(single_)?transformer_blocks\.(\d+)\.(.+)$/.exec(module);
  if (!block) return topModules[module];
  const [, single, index, inner] = block;
  const found = (single ? singleModules : doubleModules)[inner];
  return found && { ...found, name: `${single ? 'single' : 'double'}_blocks.${index}.${found.name}` };
}

/** The diffusers modules a single-file module is made of, in row order; empty for a name that is not one. */
export function diffusersModules(name: string): { module: string; part?: FusedRows }[] {
  const block = /^(single|double)_blocks\.(\d+)\.(.+)$/.exec(name);
  const table = !block ? topModules : block[1] === 'single' ? singleModules : doubleModules;
  const prefix = !block ? '' : `${block[1] === 'single' ? 'single_' : ''}transformer_blocks.${block[2]}.`;
  return Object.entries(table)
    .filter(([, bfl]) => bfl.name === (block ? block[3] : name))
    .map(([module, { part }]) => ({ module: prefix + module, part }));
}

const prefixes = ['', 'model.diffusion_model.'];

/** A checkpoint under the names and shapes the modules ask for. */
export interface FluxCheckpoint extends WeightSource {
  readonly layout: FluxLayout;
}

/**
 * Recognises the layout from the key names and gives the checkpoint under diffusers names. Projections fused in a single
 * file are row views of it: nothing is copied but the last modulation, whose halves change places.
 * @throws WeightsError when the keys are those of no FLUX transformer
 */
export function openFluxCheckpoint(source: WeightSource): FluxCheckpoint {
  for (const prefix of prefixes) {
    if (source.has(`${prefix}x_embedder.weight`)) return new DiffusersCheckpoint(source, prefix);
    if (source.has(`${prefix}img_in.weight`)) return new BflCheckpoint(source, prefix);
  }
  throw new WeightsError(
    "this is no FLUX transformer: expected 'x_embedder.weight' (diffusers) or 'img_in.weight' (single file) among its tensors",
  );
}

/** Builds the transformer from a checkpoint of either layout. `config` comes from the shapes when absent. @throws WeightsError */
export function loadFluxTransformer(source: WeightSource, config?: FluxConfig, options?: FluxOptions): FluxTransformer {
  const checkpoint = openFluxCheckpoint(source);
  return new FluxTransformer(new Weights(checkpoint), config ?? inferFluxConfig(checkpoint), options);
}

class DiffusersCheckpoint implements FluxCheckpoint {
  readonly layout = 'diffusers';

  constructor(private readonly source: WeightSource, private readonly prefix: string) {}

  get(name: string, shape: Shape): Tensor {
    return this.source.get(this.prefix + name, shape);
  }

  has(name: string): boolean {
    return this.source.has(this.prefix + name);
  }

  shapeOf(name: string): Shape | undefined {
    return this.source.shapeOf(this.prefix + name);
  }
}

class BflCheckpoint implements FluxCheckpoint {
  readonly layout = 'bfl';
  /** Fused parameters, kept until all their parts were handed out. */
  private readonly open = new Map<string, { tensor: Tensor; unitsLeft: number }>();

  constructor(private readonly source: WeightSource, private readonly prefix: string) {}

  get(name: string, shape: Shape): Tensor {
    const { key, part } = this.locate(name);
    if (!part) return this.source.get(key, shape);
    const unit = shape[0] / part.length;
    const whole = [unit * part.of, ...shape.slice(1)];
    if (!Number.isInteger(unit)) throw new WeightsError(`'${name}' needs [${shape}], not a multiple of ${part.length} rows of '${key}'`);
    return unscoped(() => {
      const held = this.open.get(key) ?? { tensor: this.source.get(key, whole), unitsLeft: part.of };
      const view = part.swap
        ? scope(() => concat([rows(held.tensor, unit, unit), rows(held.tensor, 0, unit)], 0))
        : rows(held.tensor, part.start * unit, part.length * unit);
      held.unitsLeft -= part.length;
      if (held.unitsLeft > 0) this.open.set(key, held);
      else {
        this.open.delete(key);
        held.tensor.dispose();
      }
      return view;
    });
  }

  has(name: string): boolean {
    const located = this.find(name);
    return located !== undefined && this.source.has(located.key);
  }

  shapeOf(name: string): Shape | undefined {
    const located = this.find(name);
    const shape = located && this.source.shapeOf(located.key);
    if (!shape || !located.part) return shape;
    return [(shape[0] / located.part.of) * located.part.length, ...shape.slice(1)];
  }

  private locate(name: string): { key: string; part?: FusedRows } {
    const located = this.find(name);
    if (!located) throw new WeightsError(`'${name}' has no counterpart in the single-file layout`);
    return located;
  }

  private find(name: string): { key: string; part?: FusedRows } | undefined {
    const dot = name.lastIndexOf('.');
    const module = bflModule(name.slice(0, dot));
    if (!module) return undefined;
    const leaf = module.name.endsWith('_norm') ? 'scale' : name.slice(dot + 1);
    return { key: `${this.prefix}${module.name}.${leaf}`, part: module.part };
  }
}

/** Axes of the published head sizes; other sizes need a config.json. */
const axesByHeadDim: Record<number, readonly [number, number, number]> = { 128: [16, 56, 56] };

/** Dimensions of a checkpoint without a config.json, from its shapes. @throws WeightsError, ConfigError */
export function inferFluxConfig(checkpoint: FluxCheckpoint): FluxConfig {
  const shape = (name: string): Shape => {
    const found = checkpoint.shapeOf(name);
    if (!found) throw new WeightsError(`cannot tell the dimensions of this FLUX transformer: it has no '${name}'`);
    return found;
  };
  const [dim, inChannels] = shape('x_embedder.weight');
  const double = count(checkpoint, 'transformer_blocks', 'attn.to_out.0.weight');
  const single = count(checkpoint, 'single_transformer_blocks', 'proj_out.weight');
  const [headDim] = shape(`${double > 0 ? '' : 'single_'}transformer_blocks.0.attn.norm_q.weight`);
  const axes = axesByHeadDim[headDim];
  if (!axes) {
    throw new ConfigError(
      `attention_head_dim ${headDim}: the shapes do not tell axes_dims_rope for it (only for ${Object.keys(axesByHeadDim)}); ` +
        'put a config.json with axes_dims_rope beside the weights',
    );
  }
  return parseFluxConfig({
    in_channels: inChannels,
    out_channels: shape('proj_out.weight')[0],
    num_layers: double,
    num_single_layers: single,
    attention_head_dim: headDim,
    num_attention_heads: dim / headDim,
    joint_attention_dim: shape('context_embedder.weight')[1],
    pooled_projection_dim: shape('time_text_embed.text_embedder.linear_1.weight')[1],
    guidance_embeds: checkpoint.has('time_text_embed.guidance_embedder.linear_1.weight'),
    axes_dims_rope: axes,
  });
}

function count(checkpoint: FluxCheckpoint, blocks: string, parameter: string): number {
  let i = 0;
  while (checkpoint.has(`${blocks}.${i}.${parameter}`)) i++;
  return i;
}
