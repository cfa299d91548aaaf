import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { WeightsError } from '../../src/binding/errors';
import { loadClipTokenizer, loadT5Tokenizer } from '../../src/hub/load-tokenizer';
import { byteCharacters, clipFiles, unigramTokenizerJson } from '../../src/models/text/tiny-vocabulary';
import { ClipTokenizer, T5Tokenizer } from '../../src/models/text/tokenizers';

/**
 * A hand-made CLIP vocabulary: two merges that build `cat`, one that must lose against them, and one across bytes of
 * `é`.
 */
function handMade(): ClipTokenizer {
  const bytes = byteCharacters();
  const tokens = [
    ...bytes,
    ...bytes.map((character) => `${character}</w>`),
    'at</w>',
    'cat</w>',
    'ca',
    'Ã©</w>',
    '<|startoftext|>',
    '<|endoftext|>',
  ];
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  return new ClipTokenizer({ vocab, merges: '#version: 0.2\na t</w>\nc at</w>\nc a\nÃ ©</w>\n' });
}

/** Id of a byte in the middle of a word, and at its end, in vocabularies that begin with the bytes. */
const inner = (character: string): number => byteCharacters().indexOf(character);
const last = (character: string): number => 256 + inner(character);

describe('byteCharacters', () => {
  it("is GPT-2's published map", () => {
    const bytes = byteCharacters();
    expect(new Set(bytes).size).toBe(256);
    // Space, newline, tab and the first byte of two-byte letters, as they appear in published vocabularies.
    expect([bytes[32], bytes[10], bytes[9], bytes[0xc3], bytes[0]]).toEqual(['Ġ', 'Ċ', 'ĉ', 'Ã', 'Ā']);
  });
});

describe('ClipTokenizer', () => {
  const clip = handMade();
  const [at, cat, ca, eacute, bos, eos] = [512, 513, 514, 515, 516, 517];

  it('applies merges in order of importance', () => {
    expect(clip.textIds('cat')).toEqual([cat]);
    expect(clip.textIds('at')).toEqual([at]);
    expect(clip.textIds('cab')).toEqual([ca, last('b')]);
  });

  it('lowers case, collapses white space, and works on bytes after NFC', () => {
    expect(clip.textIds('  CAT \n\tcat')).toEqual([cat, cat]);
    expect(clip.textIds('é')).toEqual([eacute]);
    expect(clip.textIds('e\u0301')).toEqual([eacute]);
    expect(clip.textIds('É')).toEqual([eacute]);
  });

  it('splits words, contractions, single digits and runs of marks', () => {
    expect(clip.textIds("cat's 12!?")).toEqual([
      cat,
      inner("'"),
      last('s'),
      last('1'),
      last('2'),
      inner('!'),
      last('?'),
    ]);
  });

  it('keeps the end token when truncating and pads with it', () => {
    expect([...clip.encode('cat at', 7)]).toEqual([bos, cat, at, eos, eos, eos, eos]);
    expect([...clip.encode('cat at cat', 4)]).toEqual([bos, cat, at, eos]);
    expect([...clip.encode('', 3)]).toEqual([bos, eos, eos]);
    const long = clip.encode('cat '.repeat(200));
    expect([long.length, long[0], long[75], long[76]]).toEqual([77, bos, cat, eos]);
    // CLIP pools at the first largest id: it must be the end of the text.
    expect(clip.encode('cat at', 7).indexOf(Math.max(...clip.encode('cat at', 7)))).toBe(3);
  });

  it('takes another padding token from the configuration', () => {
    const files = clipFiles(['cat']);
    const padded = new ClipTokenizer({ ...files, config: { pad_token: { content: '!' } } });
    expect(padded.padId).toBe(0 + byteCharacters().indexOf('!'));
    expect(padded.encode('cat', 4)[3]).toBe(padded.padId);
  });

  it('refuses broken files', () => {
    expect(() => new ClipTokenizer({ vocab: { a: 0 }, merges: '' })).toThrow(/lacks <\|startoftext\|>/);
    expect(() => new ClipTokenizer({ ...clipFiles(['a']), merges: '#version\na b c\n' })).toThrow(/merges.txt:2/);
  });
});

describe('T5Tokenizer', () => {
  /** Scores chosen so that Viterbi must prefer `▁ab` + `c` (−5) to `▁a` + `bc` (−5.5), and both to single letters. */
  const json = {
    version: '1.0',
    added_tokens: [
      { id: 0, content: '<pad>', special: true },
      { id: 1, content: '</s>', special: true },
      { id: 2, content: '<unk>', special: true },
    ],
    normalizer: { type: 'Precompiled', precompiled_charsmap: '' },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [{ type: 'WhitespaceSplit' }, { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' }],
    },
    post_processor: null,
    decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' },
    model: {
      type: 'Unigram',
      unk_id: 2,
      vocab: [
        ['<pad>', 0],
        ['</s>', 0],
        ['<unk>', 0],
        ['▁', -4],
        ['a', -6],
        ['b', -6],
        ['c', -2],
        ['▁ab', -3],
        ['▁a', -2.5],
        ['bc', -3],
      ],
    },
  };
  const t5 = new T5Tokenizer(json);

  it('finds the best path', () => {
    expect(t5.textIds('abc')).toEqual([7, 6]);
    expect(t5.textIds(' ab  a ')).toEqual([7, 8]);
  });

  it('gives unknown characters the unknown id', () => {
    expect(t5.textIds('az')).toEqual([8, 2]);
  });

  it('appends the end token, keeps it when truncating, and pads with 0', () => {
    expect([...t5.encode('abc', 6)]).toEqual([7, 6, 1, 0, 0, 0]);
    expect([...t5.encode('abc abc', 3)]).toEqual([7, 6, 1]);
    expect([...t5.encode('', 2)]).toEqual([1, 0]);
    expect(t5.encode('abc').length).toBe(512);
    expect([t5.eosId, t5.padId, t5.vocabSize]).toEqual([1, 0, 10]);
  });

  it('refuses what is no tokenizer', () => {
    expect(() => new T5Tokenizer({})).toThrow(WeightsError);
    expect(() => new T5Tokenizer({ ...json, added_tokens: [], model: { type: 'Unigram', vocab: [['x', 0]] } })).toThrow(
      WeightsError,
    );
  });
});

describe('tiny vocabularies', () => {
  const words = ['turn', 'the', 'photo', 'into', 'sepia', 'night', 'make', 'it', 'into', 'Photo'];

  it('make every word one token', () => {
    const clip = new ClipTokenizer(clipFiles(words));
    const t5 = new T5Tokenizer(unigramTokenizerJson(words));
    for (const tokenizer of [clip, t5]) {
      expect(tokenizer.textIds('Turn the photo into night').length).toBe(5);
      expect(new Set(tokenizer.textIds('turn the photo into sepia night make it')).size).toBe(8);
      expect(tokenizer.textIds('night')).toEqual(tokenizer.textIds('  NIGHT'));
    }
    expect(clip.eosId).toBe(clip.vocabSize - 1);
  });

  it('split other words and marks without losing them', () => {
    const t5 = new T5Tokenizer(unigramTokenizerJson(words));
    const [night] = t5.textIds('night');
    const ids = t5.textIds('nights, night!');
    expect(ids[0]).toBe(night);
    expect(ids.filter((id) => id === night).length).toBe(2);
    expect(ids).not.toContain(2);
    expect(t5.textIds('qzxv')).not.toContain(2);
    expect(new ClipTokenizer(clipFiles(words)).textIds('日本 qzxv ñ').length).toBe(6 + 4 + 2);
  });

  it('do not depend on the order of the list', () => {
    expect(clipFiles([...words].reverse())).toEqual(clipFiles(words));
    expect(unigramTokenizerJson([...words].reverse())).toEqual(unigramTokenizerJson(words));
  });

  it('load from the files of a model folder', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rl3dedit-tokenizer-'));
    try {
      const files = clipFiles(words);
      await expect(loadClipTokenizer(folder)).rejects.toThrow(/expected vocab.json/);
      await expect(loadT5Tokenizer(folder)).rejects.toThrow(/expected tokenizer.json/);
      fs.writeFileSync(path.join(folder, 'vocab.json'), JSON.stringify(files.vocab));
      fs.writeFileSync(path.join(folder, 'merges.txt'), files.merges);
      fs.writeFileSync(path.join(folder, 'tokenizer.json'), JSON.stringify(unigramTokenizerJson(words)));
      expect((await loadClipTokenizer(folder)).encode('make it night', 8)).toEqual(
        new ClipTokenizer(files).encode('make it night', 8),
      );
      expect((await loadT5Tokenizer(folder)).textIds('make it').length).toBe(2);
      fs.writeFileSync(path.join(folder, 'vocab.json'), '{');
      await expect(loadClipTokenizer(folder)).rejects.toThrow(/vocab\.json/);
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
  });
});
