/**
 * Finds the files of an editor's networks: a folder in the Hugging Face layout, a single file, or none for random
 * weights.
 */
import { existsSync, statSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { ConfigError, WeightsError } from '../../binding/errors';

/** Where one network comes from. */
export interface NetworkFiles {
  /** Checkpoint: a file or a folder of shards; undefined for random weights. */
  weights?: string;
  /** Contents of its config.json; undefined where the shapes must tell. */
  config?: unknown;
  /** For error messages. */
  where: string;
}

export interface ModelFiles {
  name: string;
  transformer: NetworkFiles;
  vae: NetworkFiles;
  clip: NetworkFiles;
  t5: NetworkFiles;
  /** Folders of the tokenizers; undefined with random weights. */
  clipTokenizer?: string;
  t5Tokenizer?: string;
  /** Length that T5's text is padded to, where no tokenizer's folder tells. */
  textTokens?: number;
  /** scheduler_config.json, where there is one. */
  scheduler?: { json: unknown; where: string };
  verifier?: NetworkFiles;
}

export interface ExtraFiles {
  /** Autoencoder for a single-file transformer: a file or a folder. */
  vae?: string;
  /** Folder with text_encoder, text_encoder_2, tokenizer and tokenizer_2. */
  text?: string;
  /** Verifier: a safetensors file, a folder, or an ONNX file. */
  verifier?: string;
}

/** The networks that ship with this package. */
export const tinyFolder = path.resolve(__dirname, '../../../assets/tiny');

/**
 * Looks up everything the editor needs before anything is loaded.
 * @throws WeightsError that lists every missing part and how to give it; ConfigError for a broken config.json
 */
export async function findModel(model: string, extra: ExtraFiles): Promise<ModelFiles> {
  const folder = model === 'tiny' ? tinyFolder : path.resolve(model);
  if (!existsSync(folder)) {
    throw new WeightsError(
      model === 'tiny'
        ? `${folder}: the tiny networks are missing from this installation`
        : `model ${model}: no such file or folder; expected tiny, ` +
            'a folder in the Hugging Face layout, a .safetensors file or random:flux-kontext-dev',
    );
  }
  return statSync(folder).isDirectory() ? fromFolder(model, folder, extra) : fromSingleFile(model, folder, extra);
}

async function fromFolder(name: string, root: string, extra: ExtraFiles): Promise<ModelFiles> {
  const missing: string[] = [];
  const text = extra.text ?? root;
  const need = (base: string, part: string): string => {
    const folder = path.join(base, part);
    if (!existsSync(folder)) missing.push(folder);
    return folder;
  };
  const folders = {
    transformer: need(root, 'transformer'),
    vae: extra.vae ?? need(root, 'vae'),
    clip: need(text, 'text_encoder'),
    t5: need(text, 'text_encoder_2'),
    clipTokenizer: need(text, 'tokenizer'),
    t5Tokenizer: need(text, 'tokenizer_2'),
  };
  if (missing.length > 0) {
    throw new WeightsError(
      `model ${name}: missing ${missing.join(', ')}; expected the Hugging Face layout of FLUX.1-Kontext-dev`,
    );
  }
  const verifier =
    extra.verifier ?? (existsSync(path.join(root, 'verifier')) ? path.join(root, 'verifier') : undefined);
  const scheduler = path.join(root, 'scheduler', 'scheduler_config.json');
  return {
    name,
    transformer: await network(folders.transformer, true),
    vae: await network(folders.vae, statSync(folders.vae).isDirectory()),
    clip: await network(folders.clip, true),
    t5: await network(folders.t5, true),
    clipTokenizer: folders.clipTokenizer,
    t5Tokenizer: folders.t5Tokenizer,
    scheduler: existsSync(scheduler) ? { json: await readJson(scheduler), where: scheduler } : undefined,
    verifier: verifier === undefined ? undefined : await network(verifier, false),
  };
}

async function fromSingleFile(name: string, file: string, extra: ExtraFiles): Promise<ModelFiles> {
  const beside = path.dirname(file);
  const vae = extra.vae ?? [path.join(beside, 'ae.safetensors'), path.join(beside, 'vae')].find(existsSync);
  const text = extra.text ?? (existsSync(path.join(beside, 'text_encoder')) ? beside : undefined);
  const missing: string[] = [];
  if (vae === undefined) missing.push('the autoencoder (give --vae ae.safetensors or a vae folder)');
  if (text === undefined) {
    missing.push(
      'the text encoders (give --text a folder with text_encoder, text_encoder_2, tokenizer and tokenizer_2)',
    );
  }
  if (vae === undefined || text === undefined) {
    throw new WeightsError(`model ${name}: a single file holds the transformer alone; missing: ${missing.join('; ')}`);
  }
  const need = (part: string): string => {
    const folder = path.join(text, part);
    if (!existsSync(folder)) throw new WeightsError(`text encoders ${text}: missing ${folder}`);
    return folder;
  };
  return {
    name,
    transformer: { weights: file, where: file },
    vae: await network(existing(vae, '--vae'), false),
    clip: await network(need('text_encoder'), true),
    t5: await network(need('text_encoder_2'), true),
    clipTokenizer: need('tokenizer'),
    t5Tokenizer: need('tokenizer_2'),
    verifier: extra.verifier === undefined ? undefined : await network(extra.verifier, false),
  };
}

/** A checkpoint and its config.json, in the folder or beside the file. */
async function network(weights: string, needsConfig: boolean): Promise<NetworkFiles> {
  const folder = statSync(existing(weights, 'weights')).isDirectory() ? weights : path.dirname(weights);
  const config = path.join(folder, 'config.json');
  if (existsSync(config) && (folder === weights || !needsConfig))
    return { weights, config: await readJson(config), where: config };
  if (needsConfig) throw new WeightsError(`${config}: no such file; it tells the network's dimensions`);
  return { weights, where: weights };
}

function existing(file: string, what: string): string {
  if (!existsSync(file)) throw new WeightsError(`${what} ${file}: no such file or folder`);
  return file;
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await fs.readFile(file, 'utf8'));
  } catch (error) {
    throw new ConfigError(`${file}: cannot be read as JSON (${(error as Error).message})`, { cause: error });
  }
}
