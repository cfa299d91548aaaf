import { z } from 'zod';
import { ConfigError } from '../../binding/errors';

const count = z.number().int().positive();

const fluxConfigSchema = z
  .object({
    /** Patching is done outside the transformer (packing.ts). */
    patch_size: z.literal(1).default(1),
    /** Channels of an image token: latent channels × 2 × 2. */
    in_channels: count,
    /** Channels of the predicted velocity; in_channels when null. */
    out_channels: count.nullable().default(null),
    num_layers: z.number().int().nonnegative(),
    num_single_layers: z.number().int().nonnegative(),
    attention_head_dim: count,
    num_attention_heads: count,
    /** Width of the text tokens (T5 d_model). */
    joint_attention_dim: count,
    /** Width of the pooled text vector (CLIP hidden size). */
    pooled_projection_dim: count,
    guidance_embeds: z.boolean().default(false),
    /** Head dimensions given to each of the three position axes; they fill the head. */
    axes_dims_rope: z.tuple([count, count, count]),
  })
  .superRefine(({ attention_head_dim: headDim, axes_dims_rope: axes }, context) => {
    const sum = axes[0] + axes[1] + axes[2];
    if (sum !== headDim || axes.some((dim) => dim % 2 !== 0)) {
      context.addIssue({
        code: 'custom',
        path: ['axes_dims_rope'],
        message: `expected even numbers that add up to attention_head_dim ${headDim}, got [${axes}]`,
      });
    }
  });

/** The transformer's dimensions, under the field names of diffusers' `transformer/config.json`. */
export type FluxConfig = z.infer<typeof fluxConfigSchema>;

/** Checks a config.json of a FLUX transformer. @throws ConfigError naming the field and `where` it was read */
export function parseFluxConfig(json: unknown, where = 'FLUX config'): FluxConfig {
  const parsed = fluxConfigSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new ConfigError(`${where}: ${issue.path.join('.') || 'the file'}: ${issue.message}`);
}

/** Width D of the token stream. */
export function hiddenSize(config: FluxConfig): number {
  return config.num_attention_heads * config.attention_head_dim;
}

/** Width of the feed-forward layers: 4 D. */
export function mlpSize(config: FluxConfig): number {
  return 4 * hiddenSize(config);
}

export const fluxPresets = {
  /** FLUX.1-Kontext-dev: 11.9 B parameters. */
  'flux-kontext-dev': {
    patch_size: 1,
    in_channels: 64,
    out_channels: null,
    num_layers: 19,
    num_single_layers: 38,
    attention_head_dim: 128,
    num_attention_heads: 24,
    joint_attention_dim: 4096,
    pooled_projection_dim: 768,
    guidance_embeds: true,
    axes_dims_rope: [16, 56, 56],
  },
  /** Small enough to train on a CPU: 2.3 M parameters. */
  tiny: {
    patch_size: 1,
    in_channels: 64,
    out_channels: null,
    num_layers: 2,
    num_single_layers: 4,
    attention_head_dim: 32,
    num_attention_heads: 4,
    joint_attention_dim: 64,
    pooled_projection_dim: 64,
    guidance_embeds: true,
    axes_dims_rope: [8, 12, 12],
  },
} as const satisfies Record<string, FluxConfig>;

export type FluxPreset = keyof typeof fluxPresets;
