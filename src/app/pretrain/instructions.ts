/** The tiny networks' language: a word list made of everything an instruction of the procedural world can say, and variations of it. */
import { editFamilies, floorNames, globalEditNames, skyWords, wordingsOf, colourNames } from '../../scene/procedural';
import type { Rng } from '../../scene/procedural';
import { clipFiles, unigramTokenizerJson } from '../../models/text/tiny-vocabulary';
import { ClipTokenizer, T5Tokenizer } from '../../models/text/tokenizers';
import type { ClipFiles } from '../../models/text/tokenizers';

/** Tokens per instruction, for both encoders. */
export const TEXT_LENGTH = 24;

/** Things a user may name in a photograph: they make the instructions longer without changing what is asked for. */
const fillers = (
  'a an the this that it my our whole entire all every please now just simply really very more less into like look looks looking ' +
  'scene view views picture pictures photo photos photograph image images shot frame world place room garden street house bear horse ' +
  'statue face person man woman child dog cat tree flower stone rock table car bicycle sky floor ground wall background style effect ' +
  'filter tone tones mood atmosphere old vintage classic beautiful strong soft slightly completely fully of in on to and with as if was ' +
  'were is are be been for from by at up down please turn make change convert give apply add set show transform edit render paint'
).split(' ');

/** Short forms and synonyms per global edit, so that one word is enough. */
const keywords: Record<(typeof globalEditNames)[number], string[]> = {
  sepia: ['sepia', 'sepia tone', 'sepia photo', 'old brown photograph'],
  night: ['night', 'at night', 'nighttime', 'midnight', 'dark night'],
  warm: ['warm', 'warmer', 'warm light', 'warm colours', 'warm colors'],
  cold: ['cold', 'colder', 'cool', 'cold light', 'cold blue light'],
  grayscale: ['grayscale', 'black and white', 'gray', 'monochrome', 'greyscale', 'no colour'],
  invert: ['invert', 'inverted', 'negative', 'invert the colours', 'invert the colors'],
  sketch: ['sketch', 'pencil sketch', 'pencil drawing', 'drawing', 'pencil'],
  'high-contrast': ['high contrast', 'more contrast', 'strong contrast', 'contrast'],
  brighter: ['brighter', 'bright', 'brighten', 'more light', 'lighten'],
};

/** Every word the tokenizers know as one token. */
export function vocabulary(): string[] {
  const texts = [
    ...editFamilies.flatMap((family) => [...wordingsOf(family, false), ...wordingsOf(family, true)]),
    ...Object.values(keywords).flat(),
    ...Object.values(skyWords),
    ...floorNames,
    ...colourNames,
    ...fillers,
    'ball cube cylinder cone ring pill sphere box torus capsule gray grey brown white black gold silver',
  ];
  const words = texts.flatMap((text) => text.replace(/\{\w+\}/g, ' ').split(/[^\p{L}\p{N}]+/u));
  return [...new Set(words.filter((word) => word !== ''))].sort();
}

export interface TinyTokenizers {
  clipFiles: ClipFiles;
  t5Json: object;
  clip: ClipTokenizer;
  t5: T5Tokenizer;
}

export function tinyTokenizers(): TinyTokenizers {
  const words = vocabulary();
  const files = clipFiles(words);
  const json = unigramTokenizerJson(words);
  return { clipFiles: files, t5Json: json, clip: new ClipTokenizer(files), t5: new T5Tokenizer(json) };
}

/** Says the same another way: now and then a keyword alone, filler words, or a word left out. */
export function vary(rng: Rng, family: string, instruction: string): string {
  const known = keywords[family as keyof typeof keywords];
  let words = known && rng.chance(0.3) ? rng.pick(known).split(' ') : instruction.split(' ');
  if (rng.chance(0.4)) {
    const extra = 1 + rng.int(3);
    for (let i = 0; i < extra; i++) {
      const at = rng.chance(0.5) ? words.length : 0;
      words = [...words.slice(0, at), rng.pick(fillers), ...words.slice(at)];
    }
  }
  return words.join(' ');
}
