/** The camera head: poses and fields of view, refined in a few rounds from the camera tokens of all views. */
import { add, concat, expand, gatedResidual, modulate, reshape, slice, unary } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import { noGrad } from '../../tensor/tape';
import type { Tensor } from '../../tensor/tensor';
import type { Weights } from '../../tensor/weights';
import { LayerNorm, Linear } from '../layers';
import type { VggtConfig } from './config';
import { Block, Mlp } from './layers';

const eps = 1e-5;
const modulationEps = 1e-6;

/** Numbers of a pose encoding: translation 3, quaternion 4 (x, y, z, w), vertical and horizontal field of view. */
export const poseEncodingSize = 9;
const fovStart = 7;

export class CameraHead {
  private readonly emptyPoseTokens: Tensor;
  private readonly tokenNorm: LayerNorm;
  private readonly embedPose: Linear;
  private readonly poseLnModulation: Linear;
  private readonly trunk: Block[];
  private readonly trunkNorm: LayerNorm;
  private readonly poseBranch: Mlp;
  private readonly dim: number;
  private readonly iterations: number;

  constructor(weights: Weights, config: VggtConfig) {
    const { trunk_depth: depth, num_heads: heads, iterations } = config.camera_head;
    const dim = 2 * config.embed_dim;
    this.dim = dim;
    this.iterations = iterations;
    this.emptyPoseTokens = weights.get('empty_pose_tokens', [1, 1, poseEncodingSize]);
    this.tokenNorm = new LayerNorm(weights.at('token_norm'), dim, eps);
    this.embedPose = new Linear(weights.at('embed_pose'), poseEncodingSize, dim);
    this.poseLnModulation = new Linear(weights.at('poseLN_modulation.1'), dim, 3 * dim);
    this.trunk = Array.from({ length: depth }, (_, i) => new Block(weights.at(`trunk.${i}`), { dim, heads, eps }));
    this.trunkNorm = new LayerNorm(weights.at('trunk_norm'), dim, eps);
    this.poseBranch = new Mlp(weights.at('pose_branch'), dim, dim / 2, poseEncodingSize);
  }

  /** camera tokens [B, S, 2C] -> the pose encodings after every round, [B, S, 9] each; the last is the result */
  forward(tokens: Tensor): Tensor[] {
    return scope(() => {
      const [batch, views, dim] = tokens.shape;
      const count = batch * views;
      // One row per view, so that every view is modulated by its own pose.
      const z = reshape(this.tokenNorm.forward(tokens), [count, 1, dim]);
      const rounds: Tensor[] = [];
      let pose: Tensor | null = null;
      for (let round = 0; round < this.iterations; round++) {
        // The pose fed back is a constant: each round learns from its own result.
        const seen: Tensor = pose ? detached(pose) : this.emptyPoses(count);
        const change = this.refine(z, seen, batch, views);
        pose = pose ? add(seen, change) : change;
        rounds.push(reshape(activated(pose), [batch, views, poseEncodingSize]));
      }
      return rounds;
    });
  }

  private emptyPoses(count: number): Tensor {
    return expand(reshape(this.emptyPoseTokens, [1, poseEncodingSize]), [count, poseEncodingSize]);
  }

  /** Change of the pose [B·S, 9], always from the tokens themselves and not from the last round's. */
  private refine(z: Tensor, pose: Tensor, batch: number, views: number): Tensor {
    const { dim } = this;
    const modulation = this.poseLnModulation.forward(unary(this.embedPose.forward(pose), 'silu'));
    const [shift, scale, gate] = [0, 1, 2].map((i) => slice(modulation, 1, i * dim, dim));
    let y = reshape(gatedResidual(z, gate, modulate(z, shift, scale, modulationEps)), [batch, views, dim]);
    for (const block of this.trunk) y = block.forward(y);
    return reshape(this.poseBranch.forward(this.trunkNorm.forward(y)), [batch * views, poseEncodingSize]);
  }
}

/** Fields of view are not negative; what is fed back is not cut. */
function activated(pose: Tensor): Tensor {
  return concat([slice(pose, 1, 0, fovStart), unary(slice(pose, 1, fovStart, poseEncodingSize - fovStart), 'relu')], 1);
}

function detached(x: Tensor): Tensor {
  return noGrad(() => reshape(x, x.shape));
}
