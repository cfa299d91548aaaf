import type { ClipFiles } from './tokenizers';

/**
 * Vocabularies for the shipped tiny networks, made from a word list in the file formats of the large ones. Every known
 * word is one token; any other text falls apart into characters or bytes, so nothing a user types is lost.
 */

/** Printable ASCII without the space and without capitals, which the normaliser removes. */
function plainCharacters(): string[] {
  return Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i)).filter(
    (character) => !/[A-Z]/.test(character),
  );
}

function distinctWords(words: readonly string[]): string[] {
  return [...new Set(words.map((word) => word.toLowerCase()))].filter((word) => word !== '').sort();
}

/**
 * A Unigram tokenizer.json like T5's: `<pad>` 0, `</s>` 1, `<unk>` 2, then the words as `▁word`, then single
 * characters. A word costs 1 + its rank/1000, a character 20, so Viterbi takes the whole word wherever there is one.
 */
export function unigramTokenizerJson(words: readonly string[]): object {
  const pieces: [string, number][] = [
    ['<pad>', 0],
    ['</s>', 0],
    ['<unk>', -100],
  ];
  distinctWords(words).forEach((word, rank) => pieces.push([`▁${word}`, -1 - rank / 1000]));
  const known = new Set(pieces.map(([piece]) => piece));
  for (const piece of ['▁', ...plainCharacters()]) if (!known.has(piece)) pieces.push([piece, -20]);
  const special = (id: number): object => ({
    id,
    content: pieces[id][0],
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [special(0), special(1), special(2)],
    normalizer: { type: 'Sequence', normalizers: [{ type: 'NFKC' }, { type: 'Lowercase' }] },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Punctuation', behavior: 'Isolated' },
        { type: 'WhitespaceSplit' },
        { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
      ],
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: '</s>', type_id: 0 } }],
      pair: [
        { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: '</s>', type_id: 0 } },
        { Sequence: { id: 'B', type_id: 0 } },
        { SpecialToken: { id: '</s>', type_id: 0 } },
      ],
      special_tokens: { '</s>': { id: '</s>', ids: [1], tokens: ['</s>'] } },
    },
    decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    model: { type: 'Unigram', unk_id: 2, vocab: pieces },
  };
}

/** GPT-2's map of the 256 bytes to printable characters: printable Latin-1 stays, the others move up from U+0100. */
export function byteCharacters(): string[] {
  const stays = (byte: number): boolean => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(stays(byte) ? byte : next++));
}

/**
 * CLIP's vocab.json and merges.txt for a word list: byte-pair merges are learnt (most frequent pair first, ties by
 * text) until every word is a single token. Ids: 256 bytes, 256 bytes at a word's end, merges, BOS, EOS; EOS is the
 * largest id, which CLIP's pooling needs.
 */
export function clipFiles(words: readonly string[]): ClipFiles {
  const bytes = byteCharacters();
  const toSymbols = (word: string): string[] => {
    const symbols = [...new TextEncoder().encode(word)].map((byte) => bytes[byte]);
    symbols[symbols.length - 1] += '</w>';
    return symbols;
  };
  // CLIP's splitter never gives mixed words such as "3d" as one piece, so merges across such a border would never be
  // used.
  const pieces = distinctWords(words).flatMap((word) => word.match(/\p{L}+|\p{N}|[^\s\p{L}\p{N}]+/gu) ?? []);
  const sequences = distinctWords(pieces).map(toSymbols);
  const merges: string[] = [];
  for (;;) {
    const counts = new Map<string, number>();
    for (const symbols of sequences) {
      for (let i = 0; i + 1 < symbols.length; i++) {
        const pair = `${symbols[i]} ${symbols[i + 1]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    if (counts.size === 0) break;
    const [best] = [...counts].reduce((a, b) => (b[1] > a[1] || (b[1] === a[1] && b[0] < a[0]) ? b : a));
    merges.push(best);
    for (const symbols of sequences) {
      for (let i = 0; i + 1 < symbols.length; i++) {
        if (`${symbols[i]} ${symbols[i + 1]}` === best) symbols.splice(i, 2, best.replace(' ', ''));
      }
    }
  }
  const tokens = new Set([
    ...bytes,
    ...bytes.map((character) => `${character}</w>`),
    ...merges.map((pair) => pair.replace(' ', '')),
  ]);
  tokens.add('<|startoftext|>').add('<|endoftext|>');
  return {
    vocab: Object.fromEntries([...tokens].map((token, id) => [token, id])),
    merges: `#version: 0.2\n${merges.join('\n')}\n`,
  };
}
