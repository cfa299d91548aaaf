/**
 * FLUX.1-Kontext's velocity network (Black Forest Labs, arXiv 2506.15742): a rectified-flow transformer over packed latents.
 * Modules carry the names of diffusers' checkpoints; checkpoint.ts reads the single-file layout under the same names.
 */
import { ShapeError } from '../../binding/errors';
import { concat, unary } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import { checkpoint, recording } from '../../tensor/tape';
import type { Tensor } from '../../tensor/tensor';
import type { Weights } from '../../tensor/weights';
import { Linear } from '../layers';
import { TimeTextEmbedding } from './conditioning';
import { hiddenSize } from './config';
import type { FluxConfig } from './config';
import { DoubleBlock, OutputLayer, SingleBlock } from './layers';
import { RopeCache, tokens } from './math';
import type { PositionIds, TimestepRounding } from './math';

export interface FluxInputs {
  /** Packed latents [B, N, in_channels]: target tokens first, then reference tokens. */
  hiddenStates: Tensor;
  /** Text tokens [B, T, joint_attention_dim]. */
  encoderHiddenStates: Tensor;
  /** Pooled text [B, pooled_projection_dim]. */
  pooledProjections: Tensor;
  /** Sigma in [0, 1] per batch item; the network multiplies it by 1000. */
  timestep: readonly number[];
  /** Guidance strength per batch item, for networks distilled with it. */
  guidance?: readonly number[];
  /** Positions of the N image tokens. Reuse the object from step to step: its rotary tables are cached under it. */
  imageIds: PositionIds;
  /** Positions of the T text tokens; all zero when absent, as FLUX was trained. */
  textIds?: PositionIds;
  /** Tokens to predict velocities for, counted from the first; all image tokens when absent. */
  outputTokens?: number;
}

export interface FluxOptions {
  timestepRounding?: TimestepRounding;
}

/** Sees every block's output: `stage` is `double` or `single`, tensors live only during the call. */
export type FluxProbe = (stage: 'double' | 'single', index: number, image: Tensor, text: Tensor) => void;

export interface FluxRun {
  /** While recording: keep only block inputs and recompute the inside in backward. */
  checkpointBlocks?: boolean;
  probe?: FluxProbe;
}

export class FluxTransformer implements Disposable {
  private readonly xEmbedder: Linear;
  private readonly contextEmbedder: Linear;
  private readonly timeTextEmbed: TimeTextEmbedding;
  private readonly transformerBlocks: DoubleBlock[];
  private readonly singleTransformerBlocks: SingleBlock[];
  private readonly output: OutputLayer;
  private readonly rope: RopeCache;
  readonly timestepRounding: TimestepRounding;

  constructor(
    readonly weights: Weights,
    readonly config: FluxConfig,
    options: FluxOptions = {},
  ) {
    const dim = hiddenSize(config);
    this.xEmbedder = new Linear(weights.at('x_embedder'), config.in_channels, dim);
    this.contextEmbedder = new Linear(weights.at('context_embedder'), config.joint_attention_dim, dim);
    this.timeTextEmbed = new TimeTextEmbedding(weights.at('time_text_embed'), config);
    this.transformerBlocks = build(config.num_layers, (i) => new DoubleBlock(weights.at('transformer_blocks').at(i), config));
    this.singleTransformerBlocks = build(
      config.num_single_layers,
      (i) => new SingleBlock(weights.at('single_transformer_blocks').at(i), config),
    );
    this.output = new OutputLayer(weights, config);
    this.rope = new RopeCache(config.axes_dims_rope);
    this.timestepRounding = options.timestepRounding ?? 'none';
  }

  /** Velocities [B, outputTokens, out_channels], v ≈ noise - image. */
  forward(inputs: FluxInputs, { checkpointBlocks = false, probe }: FluxRun = {}): Tensor {
    return scope(() => {
      const { hiddenStates, encoderHiddenStates, pooledProjections, timestep, guidance, imageIds, textIds } = inputs;
      const imageLength = hiddenStates.dim(1);
      const textLength = encoderHiddenStates.dim(1);
      if (imageIds.length !== imageLength || (textIds && textIds.length !== textLength)) {
        throw new ShapeError(
          `flux: expected ids of ${imageLength} image and ${textLength} text tokens, one per token of [${hiddenStates.shape}] and ` +
            `[${encoderHiddenStates.shape}], got ${imageIds.length} and ${textIds?.length ?? textLength}`,
        );
      }
      const run = checkpointBlocks && recording() ? checkpoint : runBlock;
      const rope = this.rope.get(hiddenStates.device, textIds ?? textLength, imageIds);
      const vec = this.timeTextEmbed.forward(timestep, guidance, pooledProjections, this.timestepRounding);
      const siluVec = unary(vec, 'silu');

      let image = this.xEmbedder.forward(hiddenStates);
      let text = this.contextEmbedder.forward(encoderHiddenStates);
      for (const [i, block] of this.transformerBlocks.entries()) {
        const [nextImage, nextText] = run([image, text, siluVec], ([x, c, s]) => {
          const streams = block.forward({ image: x, text: c }, s, rope);
          return [streams.image, streams.text];
        });
        release(image, text);
        [image, text] = [nextImage, nextText];
        probe?.('double', i, image, text);
      }

      let joint = concat([text, image], 1);
      release(image, text);
      for (const [i, block] of this.singleTransformerBlocks.entries()) {
        const [next] = run([joint, siluVec], ([x, s]) => [block.forward(x, s, rope)]);
        release(joint);
        joint = next;
        if (probe) scope(() => probe('single', i, tokens(joint, textLength, imageLength), tokens(joint, 0, textLength)));
      }
      return this.output.forward(tokens(joint, textLength, inputs.outputTokens ?? imageLength), siluVec);
    });
  }

  /** Frees the parameters and the cached tables. */
  dispose(): void {
    this.rope.dispose();
    for (const parameter of this.weights.parameters.values()) parameter.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function build<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => make(i));
}

/** Everything inside a block is freed as soon as its ops are enqueued; a tape keeps what it needs. */
function runBlock(inputs: Tensor[], block: (inputs: Tensor[]) => Tensor[]): Tensor[] {
  return scope(() => block(inputs));
}

/** A block's input is no longer needed once its output is enqueued. */
function release(...tensors: Tensor[]): void {
  for (const tensor of tensors) tensor.dispose();
}
