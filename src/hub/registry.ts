/**
 * Public weights this project can use. Their licences are theirs: the command shows the line before it downloads
 * anything.
 */
export interface PublicWeights {
  name: string;
  repo: string;
  revision: string;
  what: string;
  licence: string;
  licenceUrl: string;
  gated: boolean;
  /** A file of the repository is fetched when one of these matches its path. */
  include: RegExp[];
}

export const publicWeights: readonly PublicWeights[] = [
  {
    name: 'flux-kontext-dev',
    repo: 'black-forest-labs/FLUX.1-Kontext-dev',
    revision: 'main',
    what: 'editor: FLUX.1 Kontext [dev] transformer, autoencoder, CLIP-L, T5-XXL, tokenizers (about 34 GB)',
    licence: 'FLUX.1 [dev] Non-Commercial License (gated: accept it on the model page)',
    licenceUrl: 'https://huggingface.co/black-forest-labs/FLUX.1-Kontext-dev',
    gated: true,
    include: [
      /^(transformer|vae|text_encoder|text_encoder_2|tokenizer|tokenizer_2|scheduler)\//,
      /^model_index\.json$/,
      /^LICENSE/,
    ],
  },
  {
    name: 'vggt-1b',
    repo: 'facebook/VGGT-1B',
    revision: 'main',
    what: 'verifier: VGGT-1B (about 5 GB)',
    licence: 'CC-BY-NC-4.0 (non-commercial)',
    licenceUrl: 'https://huggingface.co/facebook/VGGT-1B',
    gated: false,
    include: [/^model\.safetensors$/, /^config\.json$/],
  },
  {
    name: 'vggt-1b-commercial',
    repo: 'facebook/VGGT-1B-Commercial',
    revision: 'main',
    what: 'verifier: VGGT-1B with the commercial licence (about 5 GB)',
    licence: 'VGGT licence (gated; commercial use allowed, military use not: read it on the model page)',
    licenceUrl: 'https://huggingface.co/facebook/VGGT-1B-Commercial',
    gated: true,
    include: [/^model\.safetensors$/, /^config\.json$/, /\.safetensors$/],
  },
];
