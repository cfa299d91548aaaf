/** The trunk: attention inside each view and over all views, in turns (Wang et al., arXiv 2503.11651). */
import { concat, indexRows, reshape } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import type { Weights } from '../../tensor/weights';
import { specialTokens } from './config';
import type { VggtConfig } from './config';
import { ImageEncoder } from './image-encoder';
import { Block } from './layers';
import { ropeTable, TensorCache } from './positions';
import type { RopeTables } from './positions';

const eps = 1e-5;

export class Aggregator {
  private readonly patchEmbed: ImageEncoder;
  private readonly cameraToken: Tensor;
  private readonly registerToken: Tensor | null;
  private readonly frameBlocks: Block[];
  private readonly globalBlocks: Block[];
  private readonly constants = new TensorCache(8);

  constructor(weights: Weights, private readonly config: VggtConfig) {
    const { embed_dim: dim, num_heads: heads, num_register_tokens: registers } = config;
    const blocks = (name: string): Block[] =>
      Array.from({ length: config.depth }, (_, i) => new Block(weights.at(`${name}.${i}`), { dim, heads, eps, qkNorm: true }));
    this.patchEmbed = new ImageEncoder(weights.at('patch_embed'), config);
    this.cameraToken = weights.get('camera_token', [1, 2, 1, dim]);
    this.registerToken = registers > 0 ? weights.get('register_token', [1, 2, registers, dim]) : null;
    this.frameBlocks = blocks('frame_blocks');
    this.globalBlocks = blocks('global_blocks');
  }

  /**
   * images [B, S, 3, H, W] in [0, 1] -> tokens of the pairs in `layers`, by pair: [B·S, T, 2C], the frame block's output
   * first, with T = 1 camera token + registers + (H/p)(W/p) patches. Other pairs' tokens are dropped at once.
   */
  forward(images: Tensor, layers: Iterable<number>): Map<number, Tensor> {
    return scope(() => {
      const [batch, views, channels, height, width] = images.shape;
      const { embed_dim: dim, patch_size: patch } = this.config;
      const patches = this.patchEmbed.forward(reshape(images, [batch * views, channels, height, width]));
      let x = concat([this.specials(batch, views), patches], 1);
      patches.dispose();
      const tokens = x.dim(1);
      const inView = this.positions(x, 1, height / patch, width / patch);
      const overViews = this.positions(x, views, height / patch, width / patch);
      const wanted = new Set(layers);
      const last = Math.max(...wanted);
      const kept = new Map<number, Tensor>();
      for (let i = 0; i <= last; i++) {
        const frame = this.frameBlocks[i].forward(x, inView);
        x.dispose();
        const global = this.globalBlocks[i].forward(reshape(frame, [batch, views * tokens, dim]), overViews);
        x = reshape(global, [batch * views, tokens, dim]);
        if (wanted.has(i)) kept.set(i, concat([frame, x], 2));
        frame.dispose();
        global.dispose();
      }
      return kept;
    });
  }

  dispose(): void {
    this.constants.dispose();
    this.patchEmbed.dispose();
  }

  /** Camera token and registers of every view, [B·S, 1 + registers, C]: the first view has its own, the others share theirs. */
  private specials(batch: number, views: number): Tensor {
    const { embed_dim: dim, num_register_tokens: registers } = this.config;
    const camera = reshape(this.cameraToken, [2, 1, dim]);
    const both = this.registerToken ? concat([camera, reshape(this.registerToken, [2, registers, dim])], 1) : camera;
    const [slots] = this.constants.get(camera.device, `slots ${batch} ${views}`, () => [
      camera.device.tensor(Int32Array.from({ length: batch * views }, (_, i) => Math.min(i % views, 1))),
    ]);
    return indexRows(both, slots);
  }

  private positions({ device }: Tensor, views: number, h: number, w: number): RopeTables {
    const { embed_dim: dim, num_heads: heads, rope_freq: base } = this.config;
    const [cos, sin] = this.constants.get(device, `rope ${views} ${h} ${w}`, () => {
      const table = ropeTable(views, specialTokens(this.config), h, w, dim / heads, base);
      const shape = [table.length, dim / heads / 2];
      return [device.tensor(table.cos, shape), device.tensor(table.sin, shape)];
    });
    return { cos, sin };
  }
}
