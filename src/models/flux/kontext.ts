/** FLUX.1-Kontext as an editor: one velocity field over target tokens, conditioned on reference tokens and text. */
import { ShapeError } from '../../binding/errors';
import { cast, concat } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import type { PositionIds } from './math';
import { kontextIds, packLatents, tokenLatentSize } from './packing';
import type { TokenGrid } from './packing';
import type { FluxRun, FluxTransformer } from './transformer';

/** The tokens of an edit before its first step. */
export interface KontextTokens {
  /** Packed reference latents [B, R, 4 C]. */
  reference: Tensor;
  /** Positions of target tokens followed by reference tokens. */
  imageIds: PositionIds;
  /** Token grid of the target. */
  target: TokenGrid;
  /** Sizes of the noise to start from, and of the result before unpackLatents: [B, N, 4 C]. N alone sets the schedule's shift. */
  targetShape: [number, number, number];
}

/**
 * Packs reference latents [B, C, h, w] (scaled as the autoencoder's `encode` gives them) and lays out the target beside them,
 * a grid of the reference's size unless given. @throws ShapeError for odd latent sizes
 */
export function prepareKontext(referenceLatents: Tensor, target?: TokenGrid): KontextTokens {
  const [batch, channels, height, width] = referenceLatents.shape;
  const reference = packLatents(referenceLatents);
  const grid = { rows: height / tokenLatentSize, columns: width / tokenLatentSize };
  const { rows, columns } = target ?? grid;
  return {
    reference,
    imageIds: kontextIds({ rows, columns }, grid),
    target: { rows, columns },
    targetShape: [batch, rows * columns, channels * tokenLatentSize ** 2],
  };
}

/** What stays the same through an edit. */
export interface KontextCondition {
  /** Clean packed latents of the reference image [B, R, in_channels]. */
  reference: Tensor;
  /** Positions of target tokens followed by reference tokens. */
  imageIds: PositionIds;
  /** Text tokens [B, T, joint_attention_dim] and pooled text [B, pooled_projection_dim]. */
  text: Tensor;
  pooled: Tensor;
  guidance: number;
}

/**
 * Velocities f32 [B, N, in_channels] of target tokens [B, N, in_channels] at `sigma`. The network sees the targets in its own
 * type; what enters a step or a log-probability is f32 again.
 */
export function kontextVelocity(model: FluxTransformer, target: Tensor, sigma: number, condition: KontextCondition, run?: FluxRun): Tensor {
  const { reference, imageIds, text, pooled, guidance } = condition;
  const [batch, length] = target.shape;
  if (imageIds.length !== length + reference.dim(1)) {
    throw new ShapeError(
      `kontext: expected ${length} + ${reference.dim(1)} image ids for targets [${target.shape}] and reference [${reference.shape}], ` +
        `got ${imageIds.length}`,
    );
  }
  const inputs = {
    encoderHiddenStates: text,
    pooledProjections: pooled,
    timestep: new Array<number>(batch).fill(sigma),
    guidance: new Array<number>(batch).fill(guidance),
    imageIds,
    outputTokens: length,
  };
  return scope(() => {
    const hiddenStates = concat([cast(target, reference.dtype), reference], 1);
    return cast(model.forward({ ...inputs, hiddenStates }, run), 'f32');
  });
}
