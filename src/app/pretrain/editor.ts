/**
 * The tiny editor: FLUX's architecture with two double and four single blocks, and its two small text encoders, trained together
 * by flow matching on packs of views of one scene. A pack's views lie at cells of the 3×3 grid, as they do when editing.
 */
import type { FluxConfig } from '../../models/flux/config';
import { contextViewIds, packLatents } from '../../models/flux/packing';
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
import type { GroupWindow } from './group-window';
import { drawPack, drawPlan } from './packs';
import type { PackPlan } from './packs';
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
  groups: GroupWindow;
  validation: EditGroup[];
  /** Latent [channels, height, width] of one view. */
  latent: readonly [number, number, number];
  /** Views per step, over all packs. */
  viewsPerStep: number;
}

interface EditorBatch {
  /** Latents of all views of all packs, of the views to be edited, and of the finished ones. */
  before: Tensor;
  after: Tensor;
  context?: Tensor;
  noise: Tensor;
  /** [packs, tokens, 1] */
  weight: Tensor;
  sigmas: number[];
  cells: number[];
  contexts: number;
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
  const size = latent[0] * latent[1] * latent[2];
  const grid = { rows: latent[1] / 2, columns: latent[2] / 2 };
  const draw = async (rng: Rng, pick: () => EditGroup | Promise<EditGroup>, plan: PackPlan, step: number, salt: number): Promise<EditorBatch> => {
    const { views, contexts, packs } = plan;
    const targets = views - contexts;
    const before = new Float32Array(packs * views * size);
    const after = new Float32Array(packs * targets * size);
    const context = new Float32Array(packs * contexts * size);
    const cells = rng.some(VIEWS, views);
    cells.splice(0, targets, ...cells.slice(0, targets).sort((a, b) => a - b));
    const clipIds: Int32Array[] = [];
    const t5Ids: Int32Array[] = [];
    const sigmas: number[] = [];
    for (let p = 0; p < packs; p++) {
      const pack = drawPack(rng, await pick(), plan);
      const text = vary(rng, pack.family, pack.instruction);
      clipIds.push(tokenizers.clip.encode(text, TEXT_LENGTH));
      t5Ids.push(tokenizers.t5.encode(text, TEXT_LENGTH));
      sigmas.push(drawSigma(rng));
      pack.before.forEach((view, i) => before.set(view, (p * views + i) * size));
      pack.after.slice(0, targets).forEach((view, i) => after.set(view, (p * targets + i) * size));
      pack.after.slice(targets).forEach((view, i) => context.set(view, (p * contexts + i) * size));
    }
    const weight = changeWeights(before, after, packs, views, targets, latent);
    const noise = device.empty([packs * targets, ...latent]);
    randn(noise, { seed: seed + salt, stream: 7, offset: step * viewsPerStep * size });
    return {
      before: device.tensor(before, [packs * views, ...latent]),
      after: device.tensor(after, [packs * targets, ...latent]),
      context: contexts > 0 ? device.tensor(context, [packs * contexts, ...latent]) : undefined,
      weight: device.tensor(weight, [packs, weight.length / packs, 1]),
      noise, sigmas, cells, contexts, clipIds, t5Ids,
    };
  };
  const lossOf = ({ before, after, context, weight, noise, sigmas, cells, contexts, clipIds, t5Ids }: EditorBatch): Tensor => {
    const packs = sigmas.length;
    const clean = tokensOf(after, packs);
    const eps = tokensOf(noise, packs);
    const [, length, channels] = clean.shape;
    const level = device.tensor(Float32Array.from(sigmas), [packs, 1, 1]);
    const rest = device.tensor(Float32Array.from(sigmas, (sigma) => 1 - sigma), [packs, 1, 1]);
    const noisy = add(mul(clean, rest), mul(eps, level));
    const velocity = model.transformer.forward({
      hiddenStates: concat([noisy, tokensOf(before, packs), ...(context ? [tokensOf(context, packs)] : [])], 1),
      encoderHiddenStates: model.t5.forward(t5Ids),
      pooledProjections: model.clip.forward(clipIds).pooled,
      timestep: sigmas,
      guidance: sigmas.map(() => TINY_GUIDANCE),
      imageIds: contextViewIds(cells.slice(0, cells.length - contexts), cells.slice(cells.length - contexts), grid),
      outputTokens: length,
    });
    if (channels !== tinyEditor.in_channels) throw new RangeError('latent channels do not fit the editor');
    return mean(mul(weight, unary(sub(velocity, sub(eps, clean)), 'square')));
  };
  const free = (batch: EditorBatch): void => {
    for (const tensor of [batch.before, batch.after, batch.noise, batch.weight, batch.context]) tensor?.dispose();
  };
  return {
    name: 'editor',
    model,
    parameters,
    recipe,
    usesMuon: (name, tensor) => tensor.rank === 2 && /transformer_blocks/.test(name) && !/norm/.test(name),
    prepare: async (step) => {
      const rng = new Rng(seed, 3, step);
      return draw(rng, () => groups.pick(rng, step), drawPlan(rng, viewsPerStep), step, 0);
    },
    loss: (batch) => {
      const loss = lossOf(batch);
      free(batch);
      return { loss };
    },
    evaluate: async () => {
      const rng = new Rng(seed, 4);
      const figures: Record<string, number> = {};
      for (const [name, plan] of Object.entries(evaluated)) {
        let total = 0;
        const rounds = 6;
        for (let i = 0; i < rounds; i++) {
          const batch = await draw(rng, () => rng.pick(validation), { ...plan, packs: Math.max(1, Math.floor(viewsPerStep / plan.views)) }, i, 1);
          const loss = scope(() => lossOf(batch));
          free(batch);
          total += (await loss.toFloat32())[0] / rounds;
          loss.dispose();
        }
        figures[name] = total;
      }
      return figures;
    },
  };
}

/** Latents [packs · views, C, h, w] -> tokens [packs, views · (h/2)(w/2), 4C]: the views of a pack one after the other. */
function tokensOf(latents: Tensor, packs: number): Tensor {
  const packed = packLatents(latents);
  return reshape(packed, [packs, (packed.dim(0) / packs) * packed.dim(1), packed.dim(2)]);
}

/** Validation losses by kind of pack. */
const evaluated = {
  validationLoss: { views: 9, contexts: 0 },
  anchoredLoss: { views: 3, contexts: 1 },
} as const;

/** Mean absolute change of a latent token from which it counts as edited, and its weight in the loss. */
const CHANGED = 0.25;
const CHANGED_WEIGHT = 3;

/** Weight of every target token, [packs · targets · tokens]: what an edit changes is often small, and what the edit is about. */
function changeWeights(
  before: Float32Array, after: Float32Array, packs: number, views: number, targets: number, [channels, height, width]: readonly [number, number, number],
): Float32Array {
  const [rows, columns] = [height / 2, width / 2];
  const size = channels * height * width;
  const weight = new Float32Array(packs * targets * rows * columns);
  for (let p = 0; p < packs; p++) {
    for (let t = 0; t < targets; t++) {
      const from = (p * views + t) * size;
      const to = (p * targets + t) * size;
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) {
          let change = 0;
          for (let c = 0; c < channels; c++) {
            for (const k of [0, 1, width, width + 1]) {
              const at = (c * height + 2 * row) * width + 2 * column + k;
              change += Math.abs(after[to + at] - before[from + at]);
            }
          }
          weight[((p * targets + t) * rows + row) * columns + column] = change > 4 * channels * CHANGED ? CHANGED_WEIGHT : 1;
        }
      }
    }
  }
  return weight;
}

/** Noise levels lean to the noisy end, where colour is decided: the shift FLUX uses at this length, s = 1.7. */
function drawSigma(rng: Rng): number {
  const u = rng.range(0.002, 0.998);
  return (1.7 * u) / (1 + 0.7 * u);
}
