import { z } from 'zod';
import { ConfigError } from '../../binding/errors';

const count = z.number().int().positive();

const vggtConfigSchema = z
  .object({
    /** Side of the square image the stored position embedding belongs to. */
    img_size: count,
    patch_size: count,
    /** Width C of the aggregator; heads see 2 C. */
    embed_dim: count,
    /** Pairs of a frame block and a global block. */
    depth: count,
    num_heads: count,
    num_register_tokens: z.number().int().nonnegative().default(4),
    rope_freq: z.number().positive().default(100),
    /** The image encoder (DINOv2 with registers); its width is embed_dim. */
    patch_embed: z.object({
      depth: count,
      num_heads: count,
      num_register_tokens: z.number().int().nonnegative().default(4),
    }),
    camera_head: z.object({
      trunk_depth: z.number().int().nonnegative(),
      num_heads: count,
      iterations: count.default(4),
    }),
    dpt: z.object({
      features: count,
      out_channels: z.tuple([count, count, count, count]),
      /** Pairs whose tokens the four levels read, 0-based; one may be read twice. */
      intermediate_layer_idx: z.tuple([count.or(z.literal(0)), count.or(z.literal(0)), count.or(z.literal(0)), count.or(z.literal(0))]),
    }),
  })
  .superRefine((config, context) => {
    const fail = (path: (string | number)[], message: string): void => context.addIssue({ code: 'custom', path, message });
    const { embed_dim: dim, num_heads: heads, dpt } = config;
    if (dim % heads !== 0 || (dim / heads) % 4 !== 0) {
      fail(['num_heads'], `embed_dim ${dim} over ${heads} heads must give a multiple of 4 (two rotated halves)`);
    }
    if (dim % config.patch_embed.num_heads !== 0) fail(['patch_embed', 'num_heads'], `must divide embed_dim ${dim}`);
    if ((2 * dim) % config.camera_head.num_heads !== 0) fail(['camera_head', 'num_heads'], `must divide 2 embed_dim = ${2 * dim}`);
    if (config.img_size % config.patch_size !== 0) fail(['img_size'], `must be a multiple of patch_size ${config.patch_size}`);
    if (dpt.features % 8 !== 0) fail(['dpt', 'features'], `must be a multiple of 8, got ${dpt.features}`);
    dpt.out_channels.forEach((channels, i) => {
      if (channels % 4 !== 0) fail(['dpt', 'out_channels', i], `must be a multiple of 4, got ${channels}`);
    });
    dpt.intermediate_layer_idx.forEach((layer, i) => {
      if (layer >= config.depth) fail(['dpt', 'intermediate_layer_idx', i], `must be below depth ${config.depth}, got ${layer}`);
    });
  });

/** Dimensions of a VGGT network, under the field names of the reference modules. */
export type VggtConfig = z.infer<typeof vggtConfigSchema>;

/** Checks settings of a VGGT network. @throws ConfigError naming the field and `where` it was read */
export function parseVggtConfig(json: unknown, where = 'VGGT config'): VggtConfig {
  const parsed = vggtConfigSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new ConfigError(`${where}: ${issue.path.join('.') || 'the file'}: ${issue.message}`);
}

/** Tokens in front of a view's patch tokens: the camera token and the registers. */
export function specialTokens(config: VggtConfig): number {
  return 1 + config.num_register_tokens;
}

/** Pairs whose tokens the heads read when nothing else is said: evenly spread, the last among them. */
export function defaultDptLayers(depth: number): [number, number, number, number] {
  // The published network does not follow the rule of the others.
  if (depth === 24) return [4, 11, 17, 23];
  const layer = (level: number): number => Math.max(0, Math.round(((level + 1) * depth) / 4) - 1);
  return [layer(0), layer(1), layer(2), layer(3)];
}

export const vggtPresets = {
  /** facebook/VGGT-1B: 1.19 G parameters without the tracker. */
  'vggt-1b': {
    img_size: 518,
    patch_size: 14,
    embed_dim: 1024,
    depth: 24,
    num_heads: 16,
    num_register_tokens: 4,
    rope_freq: 100,
    patch_embed: { depth: 24, num_heads: 16, num_register_tokens: 4 },
    camera_head: { trunk_depth: 4, num_heads: 16, iterations: 4 },
    dpt: { features: 256, out_channels: [256, 512, 1024, 1024], intermediate_layer_idx: [4, 11, 17, 23] },
  },
  /**
   * The shipped verifier, 2.3 M parameters. Without camera trunk blocks: they would be a third of the parameters, and the
   * global blocks already let the camera tokens of all views see each other.
   */
  tinyVerifier: {
    img_size: 64,
    patch_size: 8,
    embed_dim: 128,
    depth: 3,
    num_heads: 4,
    num_register_tokens: 4,
    rope_freq: 100,
    patch_embed: { depth: 2, num_heads: 4, num_register_tokens: 4 },
    camera_head: { trunk_depth: 0, num_heads: 4, iterations: 4 },
    dpt: { features: 24, out_channels: [24, 32, 48, 48], intermediate_layer_idx: [0, 1, 1, 2] },
  },
} as const satisfies Record<string, VggtConfig>;

export type VggtPreset = keyof typeof vggtPresets;
