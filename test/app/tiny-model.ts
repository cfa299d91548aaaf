/** A model folder in the Hugging Face layout with random weights, small enough for tests. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FluxTransformer } from '../../src/models/flux';
import { ClipTextEncoder } from '../../src/models/text/clip';
import { T5Encoder } from '../../src/models/text/t5';
import { clipFiles, unigramTokenizerJson } from '../../src/models/text/tiny-vocabulary';
import { ClipTokenizer, T5Tokenizer } from '../../src/models/text/tokenizers';
import { AutoencoderKL } from '../../src/models/vae/autoencoder';
import { Vggt } from '../../src/models/vggt';
import type { Device } from '../../src/tensor/device';
import { RandomWeights } from '../../src/tensor/random-weights';
import { writeSafetensors } from '../../src/tensor/safetensors';
import { Weights } from '../../src/tensor/weights';

const words = ['turn', 'the', 'photo', 'into', 'sepia', 'make', 'it', 'night'];

const transformer = {
  patch_size: 1 as const,
  in_channels: 64,
  out_channels: null,
  num_layers: 1,
  num_single_layers: 1,
  attention_head_dim: 16,
  num_attention_heads: 2,
  joint_attention_dim: 32,
  pooled_projection_dim: 16,
  guidance_embeds: true,
  axes_dims_rope: [4, 6, 6] as [number, number, number],
};

const vae = {
  in_channels: 3,
  out_channels: 3,
  block_out_channels: [8, 8, 8, 8],
  layers_per_block: 1,
  latent_channels: 16,
  norm_num_groups: 4,
  scaling_factor: 0.9,
  shift_factor: 0.1,
};

const verifier = {
  img_size: 32,
  patch_size: 8,
  embed_dim: 32,
  depth: 2,
  num_heads: 2,
  num_register_tokens: 2,
  rope_freq: 100,
  patch_embed: { depth: 1, num_heads: 2, num_register_tokens: 2 },
  camera_head: { trunk_depth: 1, num_heads: 2, iterations: 2 },
  dpt: {
    features: 8,
    out_channels: [8, 8, 8, 8] as [number, number, number, number],
    intermediate_layer_idx: [0, 0, 1, 1] as [number, number, number, number],
  },
};

export interface TinyModelOptions {
  /** Keys of transformer/config.json that speak of use. */
  settings?: Record<string, unknown>;
  withVerifier?: boolean;
}

/**
 * Writes the folder: transformer, vae, text_encoder, text_encoder_2, tokenizer, tokenizer_2, scheduler and verifier.
 */
export async function writeRandomTinyModel(
  dir: string,
  device: Device,
  options: TinyModelOptions = {},
): Promise<string> {
  const clipVocabulary = clipFiles(words);
  const unigram = unigramTokenizerJson(words);
  const clipTokenizer = new ClipTokenizer(clipVocabulary);
  const clip = {
    vocab_size: clipTokenizer.vocabSize,
    hidden_size: transformer.pooled_projection_dim,
    intermediate_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    max_position_embeddings: 16,
    layer_norm_eps: 1e-5,
    eos_token_id: clipTokenizer.eosId,
  };
  const t5 = {
    vocab_size: new T5Tokenizer(unigram).vocabSize,
    d_model: transformer.joint_attention_dim,
    d_kv: 8,
    d_ff: 48,
    num_layers: 1,
    num_heads: 4,
    relative_attention_num_buckets: 32,
    relative_attention_max_distance: 128,
    layer_norm_epsilon: 1e-6,
  };
  const settings = {
    timestep_shift: 2,
    prompt_template: 'plain',
    vae_input: 'view',
    default_steps: 4,
    view_size: 32,
    ...options.settings,
  };
  const network = async (
    part: string,
    seed: number,
    config: object,
    build: (weights: Weights) => unknown,
  ): Promise<void> => {
    const weights = new Weights(new RandomWeights(device, { seed, dtype: 'f32' }));
    build(weights);
    mkdirSync(join(dir, part), { recursive: true });
    writeFileSync(join(dir, part, 'config.json'), JSON.stringify(config));
    await writeSafetensors(join(dir, part, 'model.safetensors'), weights.parameters);
    for (const parameter of weights.parameters.values()) parameter.dispose();
  };
  await network(
    'transformer',
    1,
    { ...transformer, ...settings },
    (weights) => new FluxTransformer(weights, transformer),
  );
  await network('vae', 2, vae, (weights) => new AutoencoderKL(weights, vae));
  await network('text_encoder', 3, clip, (weights) => new ClipTextEncoder(weights, clip));
  await network('text_encoder_2', 4, t5, (weights) => new T5Encoder(weights, t5));
  if (options.withVerifier ?? true) await network('verifier', 5, verifier, (weights) => new Vggt(weights, verifier));
  const text = (file: string, content: string): void => {
    mkdirSync(join(dir, file, '..'), { recursive: true });
    writeFileSync(join(dir, file), content);
  };
  text('tokenizer/vocab.json', JSON.stringify(clipVocabulary.vocab));
  text('tokenizer/merges.txt', clipVocabulary.merges);
  text('tokenizer_2/tokenizer.json', JSON.stringify(unigram));
  text('tokenizer_2/tokenizer_config.json', JSON.stringify({ model_max_length: 12 }));
  text('scheduler/scheduler_config.json', JSON.stringify({ base_shift: 0.5, max_shift: 1.15 }));
  return dir;
}
