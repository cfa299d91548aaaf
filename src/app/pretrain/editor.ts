/**
 * The tiny editor: FLUX's architecture with two double and four single blocks, and its two small text encoders, trained together
 * by flow matching on packs of views of one scene. A pack's views lie at cells of the 3×3 grid, as they do when editing.
 */
import type { FluxConfig } from '../../models/flux/config';
import { packLatents, gridIds } from '../../models/flux/packing';
import { FluxTransformer } from '../../models/flux/transformer';
import { ClipTextEncoder } from '../../models/text/clip';
import type { ClipTextConfig } from '../../models/text/clip';
import { T5Encoder } from '../../models/text/t5';
import type { T5Config } from '../../models/text/t5';
import { Rng } from '../../scene/procedural';
import type { Device } from '../../tensor/device';
import { add, concat, mean, mul, randn, reshape, sub, unary } from '../../tensor/ops';
import { RandomWeights } from '../../tensor/random-weights';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { Weights } from '../../tensor/weights';
import { VIEWS } from './edit-data';
import type { EditGroup } from './edit-data';
import { TEXT_LENGTH, vary } from './instructions';
import type { TinyTokenizers } from './instructions';
import type { Recipe, TrainingTask } from './trainer';

export const TINY_GUIDANCE = 2.5;

export const tinyEditor: FluxConfig = {
  patch_size: 1,
  in_channels: 64,
  out_channels: null,
  num_layers: 2,
  num_single_layers: 4,
  attention_head_dim: 32,
  num_attention_heads: 5,
  joint_attention_dim: 64,
  pooled_projection_dim: 64,
  guidance_embeds: true,
  axes_dims_rope: [8, 12, 12],
};

export function tinyClip(vocabSize: number, eosId: number): ClipTextConfig {
  return {
    vocab_size: vocabSize,
    hidden_size: tinyEditor.pooled_projection_dim,
    intermediate_size: 128,
    num_hidden_layers: 1,
    num_attention_heads: 4,
    max_position_embeddings: TEXT_LENGTH,
    layer_norm_eps: 1e-5,
    eos_token_id: eosId,
  };
}

export function tinyT5(vocabSize: number): T5Config {
  return {
    vocab_size: vocabSize,
    d_model: tinyEditor.joint_attention_dim,
    d_kv: 16,
    d_ff: 128,
    num_layers: 2,
    num_heads: 4,
    relative_attention_num_buckets: 32,
    relative_attention_max_distance: 128,
    layer_norm_epsilon: 1e-6,
  };
}

export const editorRecipe: Recipe = {
  steps: 12000,
  learningRate: 1.5e-3,
  muonLearningRate: 0.01,
  weightDecay: 0,
  warmup: 100,
  decayFrom: 0.3,
  emaDecay: 0.998,
  clipNorm: 1,
};

export interface EditorTaskOptions {
  device: Device;
  seed: number;
  recipe: Recipe;
  tokenizers: TinyTokenizers;
  groups: EditGroup[];
  validation: EditGroup[];
  /** Latent [channels, height, width] of one view. */
  latent: readonly [number, number, number];
  /** Views per step, over all packs. */
  viewsPerStep: number;
}

interface EditorBatch {
  before: Tensor;
  after: Tensor;
  noise: Tensor;
  sigmas: number[];
  cells: number[];
  clipIds: Int32Array[];
  t5Ids: Int32Array[];
}

export interface TinyEditor {
  transformer: FluxTransformer;
  clip: ClipTextEncoder;
  t5: T5Encoder;
  weights: { transformer: Weights; clip: Weights; t5: Weights };
}

export function buildTinyEditor(device: Device, seed: number, tokenizers: TinyTokenizers): TinyEditor {
  const rule = (name: string): { kind: 'constant'; value: number } | undefined =>
    // Gates start open and the output at zero: the first steps then learn the copy, not the scale.
    name === 'proj_out.weight' ? { kind: 'constant', value: 0 } : undefined;
  const weights = {
    transformer: new Weights(new RandomWeights(device, { seed, rule })),
    clip: new Weights(new RandomWeights(device, { seed: seed + 1, rule: (name) => (/embedding/.test(name) ? { kind: 'normal', std: 0.5 } : undefined) })),
    t5: new Weights(new RandomWeights(device, { seed: seed + 2, rule: (name) => (name === 'shared.weight' ? { kind: 'normal', std: 1 } : undefined) })),
  };
  return {
    weights,
    transformer: new FluxTransformer(weights.transformer, tinyEditor),
    clip: new ClipTextEncoder(weights.clip, tinyClip(tokenizers.clip.vocabSize, tokenizers.clip.eosId)),
    t5: new T5Encoder(weights.t5, tinyT5(tokenizers.t5.vocabSize)),
  };
}

export function editorTask(options: EditorTaskOptions): TrainingTask<EditorBatch> & { model: TinyEditor } {
  const { device, seed, recipe, tokenizers, groups, validation, latent, viewsPerStep } = options;
  const model = buildTinyEditor(device, seed, tokenizers);
  const parameters = new Map<string, Tensor>();
  for (const [part, weights] of Object.entries(model.weights)) {
    for (const [name, tensor] of weights.parameters) parameters.set(`${part}.${name}`, tensor);
  }
  const draw = (rng: Rng, from: EditGroup[], views: number, step: number, salt: number): EditorBatch => {
    const packs = Math.max(1, Math.floor(viewsPerStep / views));
    const size = latent[0] * latent[1] * latent[2];
    const before = new Float32Array(packs * views * size);
    const after = new Float32Array(packs * views * size);
    const cells = shuffled(rng, VIEWS).slice(0, views).sort((a, b) => a - b);
    const clipIds: Int32Array[] = [];
    const t5Ids: Int32Array[] = [];
    const sigmas: number[] = [];
    for (let pack = 0; pack < packs; pack++) {
      const group = rng.pick(from);
      const edit = rng.pick(group.edits);
      const text = vary(rng, edit.family, edit.instruction);
      clipIds.push(tokenizers.clip.encode(text, TEXT_LENGTH));
      t5Ids.push(tokenizers.t5.encode(text, TEXT_LENGTH));
      sigmas.push(drawSigma(rng));
      const chosen = shuffled(rng, VIEWS).slice(0, views);
      if (rng.chance(0.7)) chosen.sort((a, b) => a - b);
      for (const [i, v] of chosen.entries()) {
        const at = (pack * views + i) * size;
        before.set(group.before.subarray(v * size, (v + 1) * size), at);
        after.set(edit.after.subarray(v * size, (v + 1) * size), at);
      }
    }
    const shape = [packs * views, ...latent];
    const noise = device.empty(shape);
    randn(noise, { seed: seed + salt, stream: 7, offset: step * viewsPerStep * size });
    return { before: device.tensor(before, shape), after: device.tensor(after, shape), noise, sigmas, cells, clipIds, t5Ids };
  };
  const lossOf = ({ before, after, noise, sigmas, cells, clipIds, t5Ids }: EditorBatch): Tensor => {
    const packs = sigmas.length;
    const clean = tokensOf(after, packs);
    const eps = tokensOf(noise, packs);
    const [, length, channels] = clean.shape;
    const level = device.tensor(Float32Array.from(sigmas), [packs, 1, 1]);
    const rest = device.tensor(Float32Array.from(sigmas, (sigma) => 1 - sigma), [packs, 1, 1]);
    const noisy = add(mul(clean, rest), mul(eps, level));
    const velocity = model.transformer.forward({
      hiddenStates: concat([noisy, tokensOf(before, packs)], 1),
      encoderHiddenStates: model.t5.forward(t5Ids),
      pooledProjections: model.clip.forward(clipIds).pooled,
      timestep: sigmas,
      guidance: sigmas.map(() => TINY_GUIDANCE),
      imageIds: cellIds(cells, latent[1] / 2, latent[2] / 2),
      outputTokens: length,
    });
    if (channels !== tinyEditor.in_channels) throw new RangeError('latent channels do not fit the editor');
    return mean(unary(sub(velocity, sub(eps, clean)), 'square'));
  };
  const free = (batch: EditorBatch): void => {
    for (const tensor of [batch.before, batch.after, batch.noise]) tensor.dispose();
  };
  return {
    name: 'editor',
    model,
    parameters,
    recipe,
    usesMuon: (name, tensor) => tensor.rank === 2 && /transformer_blocks/.test(name) && !/norm/.test(name),
    prepare: async (step) => {
      const rng = new Rng(seed, 3, step);
      // One view teaches the edit, nine the joint sequence: both kinds of step from the start.
      return draw(rng, groups, rng.pick([1, 1, 3, 9]), step, 0);
    },
    loss: (batch) => {
      const loss = lossOf(batch);
      free(batch);
      return { loss };
    },
    evaluate: async () => {
      const rng = new Rng(seed, 4);
      let total = 0;
      const rounds = 6;
      for (let i = 0; i < rounds; i++) {
        const batch = draw(rng, validation, VIEWS, i, 1);
        const loss = scope(() => lossOf(batch));
        free(batch);
        total += (await loss.toFloat32())[0];
        loss.dispose();
      }
      return { validationLoss: total / rounds };
    },
  };
}

/** Latents [packs · views, C, h, w] -> tokens [packs, views · (h/2)(w/2), 4C]: the views of a pack one after the other. */
function tokensOf(latents: Tensor, packs: number): Tensor {
  const packed = packLatents(latents);
  return reshape(packed, [packs, (packed.dim(0) / packs) * packed.dim(1), packed.dim(2)]);
}

/** Positions of target cells, then of the same reference cells, in the 3×3 mosaic. */
function cellIds(cells: number[], rows: number, columns: number): ReturnType<typeof gridIds> {
  return gridIds(
    [0, 1].flatMap((image) =>
      cells.map((cell) => ({ rows, columns, image, rowOffset: Math.floor(cell / 3) * rows, columnOffset: (cell % 3) * columns })),
    ),
  );
}

/** Noise levels lean to the noisy end, where colour is decided: the shift FLUX uses at this length, s = 1.7. */
function drawSigma(rng: Rng): number {
  const u = rng.range(0.002, 0.998);
  return (1.7 * u) / (1 + 0.7 * u);
}

function shuffled(rng: Rng, count: number): number[] {
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = rng.int(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
