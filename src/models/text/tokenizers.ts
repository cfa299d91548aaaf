import { WeightsError } from '../../binding/errors';

/**
 * Text to token ids, as FLUX's two text encoders expect them. Both classes are built from parsed files (see
 * hub/load-tokenizer) and run through @huggingface/tokenizers; truncation and padding, which that library leaves to its
 * caller, are done here.
 */

type TokenizersModule = typeof import('@huggingface/tokenizers', { with: { 'resolution-mode': 'import' } });
type Tokenizer = InstanceType<TokenizersModule['Tokenizer']>;

// The package offers a CommonJS build, but its declarations only speak for the ES one: hence require with the type put
// on by hand.
function createTokenizer(json: object, config: object): Tokenizer {
  // eslint-disable-next-line @typescript-eslint/no-require-imports -- see above
  const { Tokenizer } = require('@huggingface/tokenizers') as TokenizersModule;
  return new Tokenizer(json, config);
}

/** A text encoder's tokenizer. `encode` gives exactly `maxLength` ids: the text, the end token, then padding. */
export interface TextTokenizer {
  encode(text: string, maxLength?: number): Int32Array;
  /** Ids of the text alone: no start or end token, no truncation, no padding. */
  textIds(text: string): number[];
  readonly eosId: number;
  readonly padId: number;
  /** Number of ids the tokenizer can give: one more than the largest. */
  readonly vocabSize: number;
}

const clipPattern =
  "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";

export interface ClipFiles {
  /** vocab.json: token → id. */
  vocab: Record<string, number>;
  /** merges.txt: a `#version` line, then one pair per line, most important first. */
  merges: string;
  /** tokenizer_config.json, for `pad_token`; FLUX's pads with the end token. */
  config?: { pad_token?: string | { content: string } | null };
}

/**
 * CLIP's byte-level BPE: NFC, white space collapsed, lower case, split into words, bytes, merges up to an end-of-word
 * mark `</w>`. `encode` gives BOS, the text, EOS (kept when truncating), padding. Exotic text may differ from the
 * original Python class, which runs ftfy first.
 */
export class ClipTokenizer implements TextTokenizer {
  readonly bosId: number;
  readonly eosId: number;
  readonly padId: number;
  readonly vocabSize: number;
  private readonly tokenizer: Tokenizer;

  /** @throws WeightsError when the vocabulary lacks the start, end or padding token */
  constructor(files: ClipFiles) {
    const { vocab, config } = files;
    this.bosId = idOf(vocab, '<|startoftext|>');
    this.eosId = idOf(vocab, '<|endoftext|>');
    const pad = config?.pad_token ?? '<|endoftext|>';
    this.padId = idOf(vocab, typeof pad === 'string' ? pad : pad.content);
    this.vocabSize = 1 + Object.values(vocab).reduce((largest, id) => Math.max(largest, id), 0);
    const special = (content: string, id: number): object => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: true,
      special: true,
    });
    this.tokenizer = createTokenizer(
      {
        version: '1.0',
        added_tokens: [special('<|startoftext|>', this.bosId), special('<|endoftext|>', this.eosId)],
        normalizer: {
          type: 'Sequence',
          normalizers: [
            { type: 'NFC' },
            { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' },
            { type: 'Lowercase' },
          ],
        },
        pre_tokenizer: {
          type: 'Sequence',
          pretokenizers: [
            { type: 'Split', pattern: { Regex: clipPattern }, behavior: 'Removed', invert: true },
            { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
          ],
        },
        post_processor: null,
        decoder: { type: 'ByteLevel' },
        model: {
          type: 'BPE',
          unk_token: '<|endoftext|>',
          continuing_subword_prefix: '',
          end_of_word_suffix: '</w>',
          fuse_unk: false,
          vocab,
          merges: parseMerges(files.merges),
          ignore_merges: false,
        },
      },
      {},
    );
  }

  textIds(text: string): number[] {
    return this.tokenizer.encode(text, { add_special_tokens: false }).ids;
  }

  encode(text: string, maxLength = 77): Int32Array {
    const ids = new Int32Array(maxLength).fill(this.padId);
    const kept = this.textIds(text).slice(0, Math.max(0, maxLength - 2));
    ids.set([this.bosId, ...kept, this.eosId].slice(0, maxLength));
    return ids;
  }
}

/** The parts of a tokenizer.json that are read here; the rest goes to the library as it is. */
export interface TokenizerJson {
  model?: { type?: string; vocab?: unknown };
  added_tokens?: { id: number; content: string }[];
}

/**
 * T5's Unigram tokenizer from a tokenizer.json. `encode` gives the text, `</s>` (kept when truncating), then `<pad>`
 * (id 0 in T5). The same class serves the shipped tiny networks, whose tokenizer.json has the same form.
 */
export class T5Tokenizer implements TextTokenizer {
  readonly eosId: number;
  readonly padId: number;
  readonly vocabSize: number;
  private readonly tokenizer: Tokenizer;

  /** @throws WeightsError when the file is no tokenizer or lacks `</s>` or `<pad>` */
  constructor(json: TokenizerJson, config: object = {}) {
    if (typeof json?.model?.type !== 'string')
      throw new WeightsError('tokenizer.json: expected a "model" with a "type"');
    try {
      this.tokenizer = createTokenizer(json, config);
    } catch (error) {
      throw new WeightsError(`tokenizer.json: ${(error as Error).message}`, { cause: error });
    }
    const vocab = this.tokenizer.get_vocab(true);
    const find = (token: string): number => {
      const id = vocab.get(token);
      if (id === undefined) throw new WeightsError(`tokenizer.json: the vocabulary lacks ${token}`);
      return id;
    };
    this.eosId = find('</s>');
    this.padId = find('<pad>');
    let largest = 0;
    for (const id of vocab.values()) largest = Math.max(largest, id);
    this.vocabSize = largest + 1;
  }

  textIds(text: string): number[] {
    return this.tokenizer.encode(text, { add_special_tokens: false }).ids;
  }

  encode(text: string, maxLength = 512): Int32Array {
    const ids = new Int32Array(maxLength).fill(this.padId);
    const kept = this.textIds(text).slice(0, Math.max(0, maxLength - 1));
    ids.set([...kept, this.eosId].slice(0, maxLength));
    return ids;
  }
}

function idOf(vocab: Record<string, number>, token: string): number {
  const id = Object.hasOwn(vocab, token) ? vocab[token] : undefined;
  if (!Number.isInteger(id)) throw new WeightsError(`vocab.json: the vocabulary lacks ${token}`);
  return id as number;
}

function parseMerges(text: string): [string, string][] {
  const pairs: [string, string][] = [];
  text.split('\n').forEach((line, index) => {
    const trimmed = line.trim();
    if (trimmed === '' || (index === 0 && trimmed.startsWith('#version'))) return;
    const parts = trimmed.split(' ');
    if (parts.length !== 2)
      throw new WeightsError(`merges.txt:${index + 1}: expected two tokens, got ${JSON.stringify(line)}`);
    pairs.push([parts[0], parts[1]]);
  });
  return pairs;
}
