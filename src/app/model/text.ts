/** The two text encoders of FLUX with their tokenizers: T5 gives the text tokens, CLIP the pooled vector. */
import { existsSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { z } from 'zod';
import { loadClipTokenizer, loadT5Tokenizer } from '../../hub/load-tokenizer';
import { WeightsError } from '../../binding/errors';
import { ClipTextEncoder } from '../../models/text/clip';
import type { ClipTextConfig } from '../../models/text/clip';
import { T5Encoder } from '../../models/text/t5';
import type { T5Config } from '../../models/text/t5';
import type { TextTokenizer } from '../../models/text/tokenizers';
import type { Device } from '../../tensor/device';
import type { Tensor } from '../../tensor/tensor';
import { Weights } from '../../tensor/weights';
import type { ModelFiles } from './files';
import { parseClipConfig, parseT5Config } from './network-configs';
import { characterTokenizers } from './random';
import { networkSource, parameterBytes } from './source';
import type { NetworkSource } from './source';

/** Text tokens that FLUX was trained with. */
const fluxTextTokens = 512;

interface Parts {
  clip: ClipTextConfig;
  t5: T5Config;
  clipTokenizer: TextTokenizer;
  t5Tokenizer: TextTokenizer;
  /** Length that the text is padded to for T5. */
  textTokens: number;
  clipSource: NetworkSource;
  t5Source: NetworkSource;
  dtype: 'f32' | 'bf16';
}

export class TextEncoders implements Disposable {
  private constructor(private readonly parts: Parts) {}

  /** Reads tokenizers and settings, and the headers of the weights. @throws WeightsError, ConfigError */
  static async open(
    device: Device,
    files: ModelFiles,
    options: { dtype: 'f32' | 'bf16'; seed: number },
  ): Promise<TextEncoders> {
    const clip = parseClipConfig(files.clip.config, files.clip.where);
    const t5 = parseT5Config(files.t5.config, files.t5.where);
    const { clipTokenizer: clipFolder, t5Tokenizer: t5Folder } = files;
    const clipTokenizer = clipFolder === undefined ? characterTokenizers().clip : await loadClipTokenizer(clipFolder);
    const t5Tokenizer = t5Folder === undefined ? characterTokenizers().t5 : await loadT5Tokenizer(t5Folder);
    fits(clipTokenizer, clip.vocab_size, files.clip.where);
    fits(t5Tokenizer, t5.vocab_size, files.t5.where);
    const textTokens = t5Folder === undefined ? (files.textTokens ?? fluxTextTokens) : await maxLength(t5Folder);
    const clipSource = networkSource(device, files.clip, options);
    try {
      const t5Source = networkSource(device, files.t5, options);
      return new TextEncoders({
        clip,
        t5,
        clipTokenizer,
        t5Tokenizer,
        textTokens,
        clipSource,
        t5Source,
        dtype: options.dtype,
      });
    } catch (error) {
      clipSource.dispose();
      throw error;
    }
  }

  get clip(): ClipTextConfig {
    return this.parts.clip;
  }

  get t5(): T5Config {
    return this.parts.t5;
  }

  /** Bytes of the parameters; undefined for random weights. */
  get bytes(): number | undefined {
    const { clipSource, t5Source, dtype } = this.parts;
    const [clip, t5] = [parameterBytes(clipSource, dtype), parameterBytes(t5Source, dtype)];
    return clip === undefined || t5 === undefined ? undefined : clip + t5;
  }

  /**
   * Loads both encoders one after the other, runs and frees them. hiddenStates [1, T, d_model], pooled [1,
   * hidden_size]
   */
  encode(text: string): { hiddenStates: Tensor; pooled: Tensor } {
    const { clip, t5, clipTokenizer, t5Tokenizer, textTokens, clipSource, t5Source } = this.parts;
    const pooled = loaded(clipSource, (weights) => {
      const { lastHiddenState, pooled: vector } = new ClipTextEncoder(weights, clip).forward([
        clipTokenizer.encode(text, clip.max_position_embeddings),
      ]);
      lastHiddenState.dispose();
      return vector;
    });
    try {
      const hiddenStates = loaded(t5Source, (weights) => {
        const encoder = new T5Encoder(weights, t5);
        try {
          return encoder.forward([t5Tokenizer.encode(text, textTokens)]);
        } finally {
          encoder.dispose();
        }
      });
      return { hiddenStates, pooled };
    } catch (error) {
      pooled.dispose();
      throw error;
    }
  }

  dispose(): void {
    this.parts.clipSource.dispose();
    this.parts.t5Source.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function loaded(source: NetworkSource, run: (weights: Weights) => Tensor): Tensor {
  const weights = new Weights(source);
  try {
    return run(weights);
  } finally {
    for (const parameter of weights.parameters.values()) parameter.dispose();
  }
}

function fits({ vocabSize }: TextTokenizer, rows: number, where: string): void {
  if (vocabSize <= rows) return;
  throw new WeightsError(
    `${where}: vocab_size is ${rows}, but its tokenizer gives ids up to ${vocabSize - 1}; they do not belong together`,
  );
}

const tokenizerConfigSchema = z.object({ model_max_length: z.number().positive().optional() });

/** `model_max_length` of a tokenizer's folder; FLUX's 512 where there is none. */
async function maxLength(folder: string): Promise<number> {
  const file = path.join(folder, 'tokenizer_config.json');
  if (!existsSync(file)) return fluxTextTokens;
  const parsed = tokenizerConfigSchema.safeParse(JSON.parse(await fs.readFile(file, 'utf8')));
  // transformers writes 1e30 where there is no limit.
  const length = parsed.success ? (parsed.data.model_max_length ?? fluxTextTokens) : fluxTextTokens;
  return Math.min(fluxTextTokens, Math.floor(length));
}
