/**
 * Networks of full or tiny size with random weights: for benchmarks and for trying out the program without any
 * download.
 */
import { fluxPresets } from '../../models/flux';
import { clipL } from '../../models/text/clip';
import { t5Xxl } from '../../models/text/t5';
import { clipFiles, unigramTokenizerJson } from '../../models/text/tiny-vocabulary';
import { ClipTokenizer, T5Tokenizer } from '../../models/text/tokenizers';
import { fluxVae } from '../../models/vae/config';
import { vggtPresets } from '../../models/vggt/config';
import { tinyClip, tinyEditor, tinyT5 } from '../pretrain/editor';
import { TEXT_LENGTH } from '../pretrain/instructions';
import { tinyVae } from '../pretrain/vae';
import type { ModelFiles, NetworkFiles } from './files';
import type { EditorSettings } from './settings';

export const randomPresets = ['flux-kontext-dev', 'tiny'] as const;
export type RandomPreset = (typeof randomPresets)[number];

/** How a tiny editor is driven. */
const tinySettings: Partial<EditorSettings> = {
  timestep_shift: 1.7,
  prompt_template: 'plain',
  vae_input: 'view',
  default_steps: 12,
  view_size: 96,
};

/** Tokenizers that know characters alone: what `random:` models have. */
export function characterTokenizers(): { clip: ClipTokenizer; t5: T5Tokenizer } {
  return { clip: new ClipTokenizer(clipFiles([])), t5: new T5Tokenizer(unigramTokenizerJson([])) };
}

/**
 * `flux-kontext-dev`, `tiny`, or `flux-kontext-dev:N`: full width, but only N blocks of each kind, so that every path of the full
 * size runs where the whole does not fit. Undefined for any other name.
 */
export function parseRandomPreset(name: string): { preset: RandomPreset; blocks?: number } | undefined {
  const [base, count] = name.split(':', 2);
  const preset = randomPresets.find((known) => known === base);
  if (!preset || (count !== undefined && (preset === 'tiny' || !/^[1-9]\d?$/.test(count)))) return undefined;
  return { preset, blocks: count === undefined ? undefined : Number(count) };
}

/** The model `random:<preset>`: the dimensions of the published or of the shipped networks. */
export function randomModel(preset: RandomPreset, blocks = Infinity): ModelFiles {
  const name = `random:${preset}${Number.isFinite(blocks) ? `:${blocks}` : ''}`;
  const network = (part: string, config: unknown): NetworkFiles => ({ config, where: `${name} ${part}` });
  const least = (count: number): number => Math.min(count, blocks);
  if (preset === 'flux-kontext-dev') {
    const flux = fluxPresets[preset];
    const vggt = vggtPresets['vggt-1b'];
    const depth = least(vggt.depth);
    return {
      name,
      transformer: network('transformer', { ...flux, num_layers: least(flux.num_layers), num_single_layers: least(flux.num_single_layers) }),
      vae: network('vae', fluxVae),
      clip: network('text_encoder', { ...clipL, num_hidden_layers: least(clipL.num_hidden_layers) }),
      t5: network('text_encoder_2', { ...t5Xxl, num_layers: least(t5Xxl.num_layers) }),
      verifier: network('verifier', {
        ...vggt,
        depth,
        patch_embed: { ...vggt.patch_embed, depth: least(vggt.patch_embed.depth) },
        camera_head: { ...vggt.camera_head, trunk_depth: least(vggt.camera_head.trunk_depth) },
        dpt: { ...vggt.dpt, intermediate_layer_idx: vggt.dpt.intermediate_layer_idx.map((index) => Math.min(index, depth - 1)) },
      }),
    };
  }
  const { clip, t5 } = characterTokenizers();
  return {
    name: `random:${preset}`,
    transformer: network('transformer', { ...tinyEditor, ...tinySettings }),
    vae: network('vae', tinyVae),
    clip: network('text_encoder', tinyClip(clip.vocabSize, clip.eosId)),
    t5: network('text_encoder_2', tinyT5(t5.vocabSize)),
    textTokens: TEXT_LENGTH,
    verifier: network('verifier', vggtPresets.tinyVerifier),
  };
}
