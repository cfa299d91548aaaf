/**
 * A dense prediction head (DPT, Ranftl et al., arXiv 2103.13413): four levels of patch tokens become maps of growing size, merged
 * from coarse to fine and read out at full resolution. Views are independent.
 */
import { add, cast, concat, linear, permute, reshape, resizeBilinear, rows, unary } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import { recording } from '../../tensor/tape';
import type { Tensor } from '../../tensor/tensor';
import type { Weights } from '../../tensor/weights';
import { Conv2d, ConvTranspose2d, LayerNorm } from '../layers';
import type { VggtConfig } from './config';
import { planeEmbedding, TensorCache } from './positions';

const eps = 1e-5;
const around = { padding: [1, 1, 1, 1] } as const;
/** Weight of the position embedding in the maps. */
const positionFactor = 0.1;
/** Channels before the last convolution. */
const readoutChannels = 32;
/** Pixels of views worked on at once without a tape: bounds the memory of the full-resolution maps. */
const pixelsAtOnce = 2_000_000;

/** conv2(relu(conv1(relu x))) + relu x: the reference rectifies in place, so its skip is rectified too. */
class ResidualConvUnit {
  private readonly conv1: Conv2d;
  private readonly conv2: Conv2d;

  constructor(weights: Weights, features: number) {
    this.conv1 = new Conv2d(weights.at('conv1'), features, features, 3, around);
    this.conv2 = new Conv2d(weights.at('conv2'), features, features, 3, around);
  }

  forward(x: Tensor): Tensor {
    const rectified = unary(x, 'relu');
    return add(this.conv2.forward(unary(this.conv1.forward(rectified), 'relu')), rectified);
  }
}

/** Merges a level into the map of the coarser ones and enlarges the result. */
class Refinement {
  private readonly unit1: ResidualConvUnit | null;
  private readonly unit2: ResidualConvUnit;
  private readonly outConv: Conv2d;

  constructor(weights: Weights, features: number, coarsest: boolean) {
    this.unit1 = coarsest ? null : new ResidualConvUnit(weights.at('resConfUnit1'), features);
    this.unit2 = new ResidualConvUnit(weights.at('resConfUnit2'), features);
    this.outConv = new Conv2d(weights.at('out_conv'), features, features, 1);
  }

  /** coarse and level [N, F, h, w] -> [N, F, height, width]; `coarse` is null at the coarsest level */
  forward(coarse: Tensor | null, level: Tensor, height: number, width: number): Tensor {
    return scope(() => {
      const merged = coarse && this.unit1 ? add(coarse, this.unit1.forward(level)) : level;
      // A 1×1 convolution commutes with interpolation, whose weights sum to 1: four times cheaper before it.
      return resized(this.outConv.forward(this.unit2.forward(merged)), height, width);
    });
  }
}

export class DptHead {
  private readonly norm: LayerNorm;
  private readonly projects: { weight: Tensor; bias: Tensor }[];
  private readonly enlarge4: ConvTranspose2d;
  private readonly enlarge2: ConvTranspose2d;
  private readonly shrink2: Conv2d;
  private readonly layerRn: Conv2d[];
  private readonly refinenets: Refinement[];
  private readonly outputConv1: Conv2d;
  private readonly outputConv2: [Conv2d, Conv2d];
  private readonly constants = new TensorCache(16);

  /** `outputs`: channels of the result. */
  constructor(weights: Weights, private readonly config: VggtConfig, outputs: number) {
    const { features, out_channels: channels } = config.dpt;
    const width = 2 * config.embed_dim;
    const scratch = weights.at('scratch');
    this.norm = new LayerNorm(weights.at('norm'), width, eps);
    this.projects = channels.map((out, i) => {
      const at = weights.at(`projects.${i}`);
      return { weight: at.get('weight', [out, width, 1, 1]), bias: at.get('bias', [out]) };
    });
    this.enlarge4 = new ConvTranspose2d(weights.at('resize_layers.0'), channels[0], channels[0], 4);
    this.enlarge2 = new ConvTranspose2d(weights.at('resize_layers.1'), channels[1], channels[1], 2);
    this.shrink2 = new Conv2d(weights.at('resize_layers.3'), channels[3], channels[3], 3, { stride: 2, ...around });
    this.layerRn = channels.map((from, i) => new Conv2d(scratch.at(`layer${i + 1}_rn`), from, features, 3, { ...around, bias: false }));
    this.refinenets = channels.map((_, i) => new Refinement(scratch.at(`refinenet${i + 1}`), features, i === 3));
    this.outputConv1 = new Conv2d(scratch.at('output_conv1'), features, features / 2, 3, around);
    this.outputConv2 = [
      new Conv2d(scratch.at('output_conv2.0'), features / 2, readoutChannels, 3, around),
      new Conv2d(scratch.at('output_conv2.2'), readoutChannels, outputs, 1),
    ];
  }

  /** patch tokens of the four levels [N, (H/p)(W/p), 2C] -> [N, outputs, H, W] in f32, before any activation */
  forward(levels: readonly Tensor[], height: number, width: number): Tensor {
    const count = levels[0].dim(0);
    const most = Math.max(1, Math.floor(pixelsAtOnce / (height * width)));
    if (recording() || count <= most) return scope(() => this.predict(levels, height, width));
    return scope(() => {
      const parts: Tensor[] = [];
      for (let start = 0; start < count; start += most) {
        const length = Math.min(most, count - start);
        parts.push(scope(() => this.predict(levels.map((level) => rows(level, start, length)), height, width)));
      }
      return concat(parts, 0);
    });
  }

  dispose(): void {
    this.constants.dispose();
  }

  private predict(levels: readonly Tensor[], height: number, width: number): Tensor {
    const maps = levels.map((level, i) => this.layerRn[i].forward(this.pyramid(level, i, height, width)));
    let merged: Tensor | null = null;
    for (let i = 3; i >= 0; i--) {
      const target = i > 0 ? maps[i - 1].shape.slice(2) : maps[0].shape.slice(2).map((side) => 2 * side);
      merged = this.refinenets[i].forward(merged, maps[i], target[0], target[1]);
    }
    const coarse = this.outputConv1.forward(merged as Tensor);
    const fine = this.placed(resized(coarse, height, width), width / height);
    const [first, second] = this.outputConv2;
    return cast(second.forward(unary(first.forward(fine), 'relu')), 'f32');
  }

  /** Tokens as a map with positions, at 4, 2, 1 and 1/2 times the patch grid. */
  private pyramid(tokens: Tensor, i: number, height: number, width: number): Tensor {
    const { patch_size: patch } = this.config;
    const { weight, bias } = this.projects[i];
    const [out, inner] = weight.shape;
    const projected = linear(this.norm.forward(tokens), reshape(weight, [out, inner]), bias);
    const map = reshape(permute(projected, [0, 2, 1]), [tokens.dim(0), out, height / patch, width / patch]);
    const placed = this.placed(map, width / height);
    if (i === 2) return placed;
    return [this.enlarge4, this.enlarge2, null, this.shrink2][i]!.forward(placed);
  }

  private placed(map: Tensor, aspect: number): Tensor {
    const { device, dtype } = map;
    const [, channels, h, w] = map.shape;
    const [table] = this.constants.get(device, `plane ${channels} ${h} ${w} ${aspect} ${dtype}`, () =>
      scope(() => [cast(device.tensor(planeEmbedding(channels, h, w, aspect, positionFactor), [1, channels, h, w]), dtype)]),
    );
    return add(map, table);
  }
}

function resized(x: Tensor, height: number, width: number): Tensor {
  if (x.dim(2) === height && x.dim(3) === width) return x;
  return resizeBilinear(x, height, width, { alignCorners: true });
}
