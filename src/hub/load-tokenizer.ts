import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { WeightsError } from '../binding/errors';
import { ClipTokenizer, T5Tokenizer } from '../models/text/tokenizers';
import type { ClipFiles, TokenizerJson } from '../models/text/tokenizers';

/** A tokenizer file larger than this is something else (T5's is 2.4 MB). */
const maxBytes = 64 * 1024 * 1024;

/**
 * CLIP tokenizer from a folder with vocab.json and merges.txt, or with a tokenizer.json that holds both.
 * @throws WeightsError naming the missing or broken file
 */
export async function loadClipTokenizer(folder: string): Promise<ClipTokenizer> {
  const config = (await readOptionalJson(path.join(folder, 'tokenizer_config.json'))) as ClipFiles['config'];
  const vocab = (await readOptionalJson(path.join(folder, 'vocab.json'))) as Record<string, number> | undefined;
  if (vocab !== undefined) {
    const merges = await readText(path.join(folder, 'merges.txt'));
    return named(folder, () => new ClipTokenizer({ vocab, merges, config }));
  }
  const file = path.join(folder, 'tokenizer.json');
  const json = (await readOptionalJson(file)) as
    { model?: { type?: string; vocab?: Record<string, number>; merges?: unknown } } | undefined;
  if (json === undefined)
    throw new WeightsError(`${folder}: expected vocab.json and merges.txt (or tokenizer.json) of the CLIP tokenizer`);
  const { type, vocab: inner, merges } = json.model ?? {};
  if (type !== 'BPE' || typeof inner !== 'object' || !Array.isArray(merges))
    throw new WeightsError(`${file}: expected a BPE model with vocab and merges`);
  const lines = merges.map((pair) => (Array.isArray(pair) ? pair.join(' ') : String(pair)));
  return named(folder, () => new ClipTokenizer({ vocab: inner, merges: `#version: 0.2\n${lines.join('\n')}`, config }));
}

/**
 * T5 tokenizer from a folder with tokenizer.json.
 * @throws WeightsError naming the missing or broken file
 */
export async function loadT5Tokenizer(folder: string): Promise<T5Tokenizer> {
  const file = path.join(folder, 'tokenizer.json');
  const json = (await readOptionalJson(file)) as TokenizerJson | undefined;
  if (json === undefined) {
    const bare = await fs.stat(path.join(folder, 'spiece.model')).then(
      () => true,
      () => false,
    );
    throw new WeightsError(
      `${folder}: expected tokenizer.json of the T5 tokenizer` +
        (bare ? ', found only spiece.model; take tokenizer.json from the original repository' : ''),
    );
  }
  const config = (await readOptionalJson(path.join(folder, 'tokenizer_config.json'))) as object | undefined;
  return named(folder, () => new T5Tokenizer(json, config));
}

function named<T>(folder: string, build: () => T): T {
  try {
    return build();
  } catch (error) {
    throw new WeightsError(`${folder}: ${(error as Error).message}`, { cause: error });
  }
}

async function readText(file: string): Promise<string> {
  try {
    const { size } = await fs.stat(file);
    if (size > maxBytes) throw new WeightsError(`${file}: ${size} bytes are too many for a tokenizer file`);
    return await fs.readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof WeightsError) throw error;
    throw new WeightsError(`${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`, { cause: error });
  }
}

async function readOptionalJson(file: string): Promise<unknown> {
  if (
    !(await fs.stat(file).then(
      () => true,
      () => false,
    ))
  )
    return undefined;
  const text = await readText(file);
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null) throw new Error('expected an object');
    return value;
  } catch (error) {
    throw new WeightsError(`${file}: ${(error as Error).message}`, { cause: error });
  }
}
