/** Checks the config.json files of the autoencoder and the two text encoders, under their reference field names. */
import { z } from 'zod';
import { ConfigError } from '../../binding/errors';
import type { ClipTextConfig } from '../../models/text/clip';
import type { T5Config } from '../../models/text/t5';
import type { VaeConfig } from '../../models/vae/config';

const count = z.number().int().positive();
const yes = z.literal(true, 'this form is not supported, expected true').default(true);
const no = z.literal(false, 'this form is not supported, expected false').default(false);

const vaeSchema = z.object({
  in_channels: count.default(3),
  out_channels: count.default(3),
  block_out_channels: z.array(count).min(1),
  layers_per_block: count,
  latent_channels: count,
  norm_num_groups: count.default(32),
  scaling_factor: z.number().positive(),
  shift_factor: z.number(),
  act_fn: z.literal('silu').default('silu'),
  use_quant_conv: no,
  use_post_quant_conv: no,
  mid_block_add_attention: yes,
});

const clipSchema = z.object({
  vocab_size: count,
  hidden_size: count,
  intermediate_size: count,
  num_hidden_layers: z.number().int().nonnegative(),
  num_attention_heads: count,
  max_position_embeddings: count,
  layer_norm_eps: z.number().positive().default(1e-5),
  eos_token_id: z.number().int().nonnegative().default(2),
  hidden_act: z.literal('quick_gelu').default('quick_gelu'),
});

const t5Schema = z.object({
  vocab_size: count,
  d_model: count,
  d_kv: count,
  d_ff: count,
  num_layers: z.number().int().positive(),
  num_heads: count,
  relative_attention_num_buckets: count.default(32),
  relative_attention_max_distance: count.default(128),
  layer_norm_epsilon: z.number().positive().default(1e-6),
  feed_forward_proj: z.literal('gated-gelu').default('gated-gelu'),
});

/** @throws ConfigError naming `where` and the field */
export function parseVaeConfig(json: unknown, where: string): VaeConfig {
  return checked(vaeSchema, json, where);
}

/** @throws ConfigError naming `where` and the field */
export function parseClipConfig(json: unknown, where: string): ClipTextConfig {
  return checked(clipSchema, json, where);
}

/** @throws ConfigError naming `where` and the field */
export function parseT5Config(json: unknown, where: string): T5Config {
  return checked(t5Schema, json, where);
}

function checked<T>(schema: z.ZodType<T>, json: unknown, where: string): T {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new ConfigError(`${where}: ${issue.path.join('.') || 'the file'}: ${issue.message}`);
}
