/**
 * VGGT (Wang et al. 2025, arXiv 2503.11651): cameras, depth and 3-D points of a set of views in one pass, with confidences.
 *
 *   images [S, 3, H, W] or [B, S, 3, H, W] in [0, 1], sides multiples of the patch
 *   aggregator: image encoder per view → + camera token and registers → pairs of (attention in each view, attention over all views)
 *   camera head: camera tokens of the last pair → pose encodings, refined in rounds
 *   depth and point heads: patch tokens of four pairs → maps at full resolution
 *
 * The world is the first view's camera frame, up to scale. Permuting the other views permutes the outputs.
 */
import { ShapeError } from '../../binding/errors';
import { addScalar, cast, mul, permute, reshape, slice, unary } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import type { Weights } from '../../tensor/weights';
import { Aggregator } from './aggregator';
import { CameraHead } from './camera-head';
import { specialTokens } from './config';
import type { VggtConfig } from './config';
import { DptHead } from './dpt-head';

/** All in f32; `...` is [S] or [B, S] as in the images. */
export interface VggtOutput {
  /** [..., 9]; `decodePoses` makes cameras of it. */
  poseEnc: Tensor;
  /** The pose encodings after every round, the last being `poseEnc`. */
  poseRounds: Tensor[];
  /** [..., H, W] z-depth, > 0 */
  depth: Tensor;
  /** [..., H, W], >= 1 */
  depthConf: Tensor;
  /** [..., H, W, 3] in the first view's camera frame */
  worldPoints: Tensor;
  /** [..., H, W], >= 1 */
  worldPointsConf: Tensor;
  /** Aggregator tokens of the pairs asked for: [..., T, 2C]. */
  tokens: Map<number, Tensor>;
}

export class Vggt {
  readonly aggregator: Aggregator;
  readonly cameraHead: CameraHead;
  readonly depthHead: DptHead;
  readonly pointHead: DptHead;

  constructor(
    readonly weights: Weights,
    readonly config: VggtConfig,
  ) {
    this.aggregator = new Aggregator(weights.at('aggregator'), config);
    this.cameraHead = new CameraHead(weights.at('camera_head'), config);
    this.depthHead = new DptHead(weights.at('depth_head'), config, 2);
    this.pointHead = new DptHead(weights.at('point_head'), config, 4);
  }

  /** `returnTokens`: pairs whose tokens the result holds too. @throws ShapeError */
  forward(images: Tensor, { returnTokens = [] }: { returnTokens?: readonly number[] } = {}): VggtOutput {
    return scope(() => {
      const { leading, batch, views, height, width } = this.check(images, returnTokens);
      const layers = this.config.dpt.intermediate_layer_idx;
      const last = this.config.depth - 1;
      const set = reshape(images, [batch, views, 3, height, width]);
      const tokens = this.aggregator.forward(set, [...layers, last, ...returnTokens]);

      const patches = this.patchTokens(tokens, layers);
      const poseRounds = this.cameraHead.forward(cameraTokens(tokens.get(last)!, batch, views));
      const depth = readDepth(this.depthHead.forward(patches, height, width));
      const points = readPoints(this.pointHead.forward(patches, height, width));

      const rounds = poseRounds.map((pose) => reshape(cast(pose, 'f32'), [...leading, 9]));
      return {
        poseEnc: rounds[rounds.length - 1],
        poseRounds: rounds,
        depth: reshape(depth.value, [...leading, height, width]),
        depthConf: reshape(depth.confidence, [...leading, height, width]),
        worldPoints: reshape(points.value, [...leading, height, width, 3]),
        worldPointsConf: reshape(points.confidence, [...leading, height, width]),
        tokens: new Map(
          returnTokens.map((layer) => {
            const all = tokens.get(layer)!;
            return [layer, reshape(all, [...leading, ...all.shape.slice(1)])];
          }),
        ),
      };
    });
  }

  /** Frees the parameters and the constants kept for the sizes seen. */
  dispose(): void {
    for (const tensor of this.weights.parameters.values()) tensor.dispose();
    for (const part of [this.aggregator, this.depthHead, this.pointHead]) part.dispose();
  }

  /** Patch tokens of each level [B·S, (H/p)(W/p), 2C]; a pair read by two levels is cut out once. */
  private patchTokens(tokens: Map<number, Tensor>, layers: readonly number[]): Tensor[] {
    const start = specialTokens(this.config);
    const cut = new Map<number, Tensor>();
    for (const layer of new Set(layers)) {
      const all = tokens.get(layer)!;
      cut.set(layer, slice(all, 1, start, all.dim(1) - start));
    }
    return layers.map((layer) => cut.get(layer)!);
  }

  private check(
    images: Tensor,
    returnTokens: readonly number[],
  ): { leading: number[]; batch: number; views: number; height: number; width: number } {
    const { shape } = images;
    const { patch_size: patch, depth } = this.config;
    const [channels, height, width] = shape.slice(-3);
    const leading = shape.slice(0, -3);
    if ((shape.length !== 4 && shape.length !== 5) || channels !== 3 || leading.includes(0)) {
      throw new ShapeError(`vggt: expected images [S, 3, H, W] or [B, S, 3, H, W] with at least one view, got [${shape}]`);
    }
    if (height === 0 || width === 0 || height % patch !== 0 || width % patch !== 0) {
      throw new ShapeError(`vggt: sides must be multiples of ${patch}, got ${height} x ${width} (h x w); see preprocess`);
    }
    const absent = returnTokens.find((layer) => !Number.isInteger(layer) || layer < 0 || layer >= depth);
    if (absent !== undefined) throw new ShapeError(`vggt: there are pairs 0..${depth - 1}, asked for the tokens of ${absent}`);
    const views = leading[leading.length - 1];
    return { leading, batch: leading.length === 2 ? leading[0] : 1, views, height, width };
  }
}

/** The camera tokens [B, S, 2C] among tokens [B·S, T, 2C]. */
function cameraTokens(tokens: Tensor, batch: number, views: number): Tensor {
  return reshape(slice(tokens, 1, 0, 1), [batch, views, tokens.dim(2)]);
}

interface Prediction {
  value: Tensor;
  confidence: Tensor;
}

/** [N, 2, H, W] -> depth = exp, [N, 1, H, W], and its confidence */
function readDepth(raw: Tensor): Prediction {
  return { value: unary(slice(raw, 1, 0, 1), 'exp'), confidence: confidence(raw, 1) };
}

/** [N, 4, H, W] -> points = sign(y) (exp|y| − 1), [N, H, W, 3], and their confidence */
function readPoints(raw: Tensor): Prediction {
  const y = permute(slice(raw, 1, 0, 3), [0, 2, 3, 1]);
  return { value: mul(unary(y, 'sign'), unary(unary(y, 'abs'), 'expm1')), confidence: confidence(raw, 3) };
}

/** 1 + exp of a channel. */
function confidence(raw: Tensor, channel: number): Tensor {
  return addScalar(unary(slice(raw, 1, channel, 1), 'exp'), 1);
}
