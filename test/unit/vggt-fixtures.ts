import { parseVggtConfig } from '../../src/models/vggt';
import type { VggtConfig } from '../../src/models/vggt';

/** Every part there is, no two sizes alike where they may differ, and a pair read twice. */
export const smallVggt: VggtConfig = parseVggtConfig({
  img_size: 24,
  patch_size: 8,
  embed_dim: 16,
  depth: 2,
  num_heads: 2,
  num_register_tokens: 2,
  patch_embed: { depth: 1, num_heads: 2, num_register_tokens: 3 },
  camera_head: { trunk_depth: 1, num_heads: 2, iterations: 2 },
  dpt: { features: 8, out_channels: [4, 4, 8, 8], intermediate_layer_idx: [0, 0, 1, 1] },
});
