/** Writes the tiny networks in the Hugging Face layout, as every other model is read: bf16 safetensors beside a config.json. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { WeightsError } from '../../binding/errors';
import type { Vggt } from '../../models/vggt';
import type { VaeConfig } from '../../models/vae/config';
import { axpyInPlace, scaleInPlace } from '../../tensor/ops';
import { SafetensorsFile, writeSafetensors } from '../../tensor/safetensors';
import { scope } from '../../tensor/scope';
import type { Device } from '../../tensor/device';
import type { Tensor } from '../../tensor/tensor';
import type { OutputFolder } from '../output-folder';
import { TEXT_LENGTH } from './instructions';
import type { TinyTokenizers } from './instructions';
import { tinyClip, tinyEditor, tinyT5 } from './editor';
import type { TinyEditor } from './editor';

const DIFFUSION_FILE = 'diffusion_pytorch_model.safetensors';
const MODEL_FILE = 'model.safetensors';

async function weights(folder: OutputFolder, part: string, file: string, parameters: ReadonlyMap<string, Tensor>): Promise<void> {
  await mkdir(folder.path(part), { recursive: true });
  await writeSafetensors(folder.path(join(part, file)), parameters, { dtype: 'bf16', metadata: { format: 'pt' } });
}

export async function exportVae(folder: OutputFolder, config: VaeConfig, parameters: ReadonlyMap<string, Tensor>): Promise<void> {
  const levels = config.block_out_channels.length;
  await folder.writeJson('vae/config.json', {
    _class_name: 'AutoencoderKL',
    ...config,
    down_block_types: new Array(levels).fill('DownEncoderBlock2D'),
    up_block_types: new Array(levels).fill('UpDecoderBlock2D'),
    act_fn: 'silu',
    mid_block_add_attention: true,
    use_quant_conv: false,
    use_post_quant_conv: false,
  });
  await weights(folder, 'vae', DIFFUSION_FILE, parameters);
}

export async function exportTokenizers(folder: OutputFolder, tokenizers: TinyTokenizers): Promise<void> {
  await folder.writeJson('tokenizer/vocab.json', tokenizers.clipFiles.vocab);
  await folder.write('tokenizer/merges.txt', tokenizers.clipFiles.merges);
  await folder.writeJson('tokenizer/tokenizer_config.json', { tokenizer_class: 'CLIPTokenizer', model_max_length: TEXT_LENGTH, pad_token: '<|endoftext|>' });
  await folder.writeJson('tokenizer_2/tokenizer.json', tokenizers.t5Json);
  await folder.writeJson('tokenizer_2/tokenizer_config.json', { tokenizer_class: 'T5TokenizerFast', model_max_length: TEXT_LENGTH });
}

export async function exportEditor(folder: OutputFolder, model: TinyEditor, tokenizers: TinyTokenizers, viewSize: number): Promise<void> {
  await folder.writeJson('transformer/config.json', {
    _class_name: 'FluxTransformer2DModel',
    ...tinyEditor,
    timestep_shift: 1.7,
    prediction: 'velocity',
    prompt_template: 'plain',
    vae_input: 'view',
    view_layout: 'grid',
    default_steps: 12,
    default_guidance: 2.5,
    view_size: viewSize,
    group_views: 3,
    view_aspect: 1,
  });
  await folder.writeJson('text_encoder/config.json', {
    architectures: ['CLIPTextModel'],
    hidden_act: 'quick_gelu',
    ...tinyClip(tokenizers.clip.vocabSize, tokenizers.clip.eosId),
  });
  await folder.writeJson('text_encoder_2/config.json', {
    architectures: ['T5EncoderModel'],
    feed_forward_proj: 'gated-gelu',
    ...tinyT5(tokenizers.t5.vocabSize),
  });
  await folder.writeJson('scheduler/scheduler_config.json', {
    _class_name: 'FlowMatchEulerDiscreteScheduler',
    num_train_timesteps: 1000,
    use_dynamic_shifting: true,
    base_shift: 0.5,
    max_shift: 1.15,
    base_image_seq_len: 256,
    max_image_seq_len: 4096,
  });
  await weights(folder, 'transformer', DIFFUSION_FILE, model.weights.transformer.parameters);
  await weights(folder, 'text_encoder', MODEL_FILE, model.weights.clip.parameters);
  await weights(folder, 'text_encoder_2', MODEL_FILE, model.weights.t5.parameters);
}

/** Starts an editor from the weights of a model folder. @throws WeightsError where shapes differ */
export function startFrom(device: Device, folder: string, model: TinyEditor): void {
  blendWith(device, folder, model, 1);
}

/**
 * Moves an editor towards the weights of a model folder: share · stored + (1 − share) · trained. Between a model and its fine-tuned self
 * the average often beats both (Wortsman et al. 2022, "model soups"). @throws WeightsError where shapes differ
 */
export function blendWith(device: Device, folder: string, model: TinyEditor, share: number): void {
  const files = [
    ['transformer', DIFFUSION_FILE, model.weights.transformer],
    ['text_encoder', MODEL_FILE, model.weights.clip],
    ['text_encoder_2', MODEL_FILE, model.weights.t5],
  ] as const;
  for (const [part, name, { parameters }] of files) {
    const path = join(folder, part, name);
    using file = new SafetensorsFile(device, path);
    for (const [key, target] of parameters) {
      scope(() => {
        const stored = file.load(key, 'f32');
        if (stored.size !== target.size) throw new WeightsError(`${path}: '${key}' is [${stored.shape}], this editor has [${target.shape}]`);
        scaleInPlace(target, 1 - share);
        axpyInPlace(target, stored, share);
      });
    }
  }
}

export async function exportVerifier(folder: OutputFolder, model: Vggt): Promise<void> {
  await folder.writeJson('verifier/config.json', { architectures: ['VGGT'], ...model.config });
  await weights(folder, 'verifier', MODEL_FILE, model.weights.parameters);
}
