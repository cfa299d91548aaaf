/**
 * The image encoder: a DINOv2 vision transformer with registers, one view at a time (Oquab et al., arXiv 2304.07193; Darcet et
 * al., arXiv 2309.16588).
 */
import { add, cast, concat, expand, linear, mul, patchify, permute, reshape, resizeBicubic, slice, sub } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import type { Weights } from '../../tensor/weights';
import { LayerNorm } from '../layers';
import type { VggtConfig } from './config';
import { Block } from './layers';
import { TensorCache } from './positions';

const eps = 1e-6;
const imageMean = [0.485, 0.456, 0.406];
const imageStd = [0.229, 0.224, 0.225];

export class ImageEncoder {
  private readonly proj: { weight: Tensor; bias: Tensor };
  private readonly clsToken: Tensor;
  private readonly registerTokens: Tensor | null;
  private readonly posEmbed: Tensor;
  private readonly blocks: Block[];
  private readonly norm: LayerNorm;
  private readonly constants = new TensorCache(4);

  constructor(weights: Weights, private readonly config: VggtConfig) {
    const { embed_dim: dim, patch_size: patch, patch_embed: encoder } = config;
    const grid = config.img_size / patch;
    const proj = weights.at('patch_embed.proj');
    this.proj = { weight: proj.get('weight', [dim, 3, patch, patch]), bias: proj.get('bias', [dim]) };
    this.clsToken = weights.get('cls_token', [1, 1, dim]);
    const registers = encoder.num_register_tokens;
    this.registerTokens = registers > 0 ? weights.get('register_tokens', [1, registers, dim]) : null;
    this.posEmbed = weights.get('pos_embed', [1, 1 + grid * grid, dim]);
    const options = { dim, heads: encoder.num_heads, eps };
    this.blocks = Array.from({ length: encoder.depth }, (_, i) => new Block(weights.at(`blocks.${i}`), options));
    this.norm = new LayerNorm(weights.at('norm'), dim, eps);
  }

  /** images [N, 3, H, W] in [0, 1] -> patch tokens [N, (H/p)(W/p), C] */
  forward(images: Tensor): Tensor {
    return scope(() => {
      const [count, , height, width] = images.shape;
      const { embed_dim: dim, patch_size: patch } = this.config;
      const pixels = patchify(this.normalised(images), patch);
      const patches = linear(pixels, reshape(this.proj.weight, [dim, 3 * patch * patch]), this.proj.bias);
      const places = this.positions(height / patch, width / patch);
      const cls = expand(add(this.clsToken, slice(this.posEmbed, 1, 0, 1)), [count, 1, dim]);
      const registers = this.registerTokens ? [expand(this.registerTokens, [count, this.registerTokens.dim(1), dim])] : [];
      // Registers have no position; they and the class token only take part in the attention.
      let x = concat([cls, ...registers, add(patches, places)], 1);
      const leading = x.dim(1) - patches.dim(1);
      for (const block of this.blocks) {
        const next = block.forward(x);
        x.dispose();
        x = next;
      }
      return this.norm.forward(slice(x, 1, leading, patches.dim(1)));
    });
  }

  dispose(): void {
    this.constants.dispose();
  }

  private normalised(images: Tensor): Tensor {
    const { device } = images;
    const dtype = this.proj.weight.dtype;
    const [mean, inverseStd] = this.constants.get(device, 'colour', () => [
      device.tensor(imageMean, [3, 1, 1]),
      device.tensor(imageStd.map((std) => 1 / std), [3, 1, 1]),
    ]);
    return cast(mul(sub(cast(images, 'f32'), mean), inverseStd), dtype);
  }

  /** The position embedding of an h × w grid, [1, h w, C]: as stored, or resampled (bicubic, antialiased). */
  private positions(h: number, w: number): Tensor {
    const { embed_dim: dim } = this.config;
    const grid = this.config.img_size / this.config.patch_size;
    const stored = slice(this.posEmbed, 1, 1, grid * grid);
    if (h === grid && w === grid) return stored;
    const image = permute(reshape(cast(stored, 'f32'), [1, grid, grid, dim]), [0, 3, 1, 2]);
    const resized = resizeBicubic(image, h, w, { antialias: true });
    return cast(reshape(permute(resized, [0, 2, 3, 1]), [1, h * w, dim]), stored.dtype);
  }
}
