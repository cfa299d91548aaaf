/**
 * Splits are seed ranges, so no list of scenes is ever stored. Seeds of `unseen` may show what the others never do:
 * rings (tori) with stripes, the colour teal, wide camera arcs and held-out wordings.
 */
import { ConfigError } from '../../binding/errors';

export type SplitName = 'train' | 'val' | 'test' | 'unseen';

/** First seed and number of scenes. */
export const splits: Readonly<Record<SplitName, { readonly first: number; readonly count: number }>> = {
  train: { first: 0, count: 1_000_000 },
  val: { first: 1_000_000, count: 1000 },
  test: { first: 2_000_000, count: 1000 },
  unseen: { first: 3_000_000, count: 1000 },
};

export const heldOut = {
  /** Never together outside `unseen`. */
  shape: 'torus',
  texture: 'stripes',
  colour: 'teal',
  /** Widest azimuth span outside `unseen`, degrees. */
  maxSpanDeg: 140,
  /** The last wordings of each edit family are for `unseen` only. */
  wordings: 2,
} as const;

export function splitOf(seed: number): SplitName {
  for (const name of Object.keys(splits) as SplitName[]) {
    const { first, count } = splits[name];
    if (Number.isInteger(seed) && seed >= first && seed < first + count) return name;
  }
  const ranges = Object.entries(splits).map(([name, s]) => `${name} ${s.first}..${s.first + s.count - 1}`);
  throw new ConfigError(`procedural scene: seed ${seed} is in no split; use one of ${ranges.join(', ')}`);
}

/** Seed of the i-th scene of a split. */
export function seedOf(split: SplitName, i: number): number {
  const { first, count } = splits[split];
  if (!Number.isInteger(i) || i < 0 || i >= count) {
    throw new ConfigError(`procedural scene: split ${split} has scenes 0..${count - 1}, asked for ${i}`);
  }
  return first + i;
}
