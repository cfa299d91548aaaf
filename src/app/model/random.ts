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

/** The model `random:<preset>`: the dimensions of the published or of the shipped networks. */
export function randomModel(preset: RandomPreset): ModelFiles {
  const network = (part: string, config: unknown): NetworkFiles => ({ config, where: `random:${preset} ${part}` });
  if (preset === 'flux-kontext-dev') {
    return {
      name: `random:${preset}`,
      transformer: network('transformer', fluxPresets[preset]),
      vae: network('vae', fluxVae),
      clip: network('text_encoder', clipL),
      t5: network('text_encoder_2', t5Xxl),
      verifier: network('verifier', vggtPresets['vggt-1b']),
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
