/**
 * Counter-based random numbers: a value depends on (seed, scene, stream, index) alone, so adding a draw to one stream
 * never moves another, and a scene is its seed on every machine. 32-bit integer arithmetic only.
 */

/** Streams in use. A stream's number is part of what a seed means: append, never renumber. */
export const stream = {
  layout: 1,
  looks: 2,
  floor: 3,
  sky: 4,
  light: 5,
  cameras: 6,
  target: 7,
  edit: 8,
  worldEdit: 9,
  worldLatent: 10,
} as const;

function mix(h: number, v: number): number {
  h = Math.imul(h ^ v, 0xcc9e2d51);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return h ^ (h >>> 15);
}

/** Uniform 32-bit integer of (seed, scene, stream, i). `seed` and `scene` may be any safe integers. */
export function hash(seed: number, scene: number, streamId: number, i: number): number {
  let h = 0x9e3779b9;
  for (const v of [seed, scene]) {
    h = mix(h, v | 0);
    h = mix(h, Math.floor(v / 4294967296) | 0);
  }
  return mix(mix(mix(h, streamId | 0), i | 0), 0x85ebca6b) >>> 0;
}

/** Sequential reader of one stream. */
export class Rng {
  private index = 0;
  constructor(
    private readonly seed: number,
    private readonly streamId: number,
    private readonly scene = 0,
  ) {}

  /** Uniform integer in [0, 2^32). */
  next(): number {
    return hash(this.seed, this.scene, this.streamId, this.index++);
  }

  /** Uniform in [low, high). */
  range(low = 0, high = 1): number {
    return low + (high - low) * (this.next() / 4294967296);
  }

  /** Standard normal (Box and Muller 1958). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.range())) * Math.cos(2 * Math.PI * this.range());
  }

  /** Uniform integer in [0, count). */
  int(count: number): number {
    return Math.floor(this.range(0, count));
  }

  chance(probability: number): boolean {
    return this.range() < probability;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.int(items.length)];
  }

  /** Index drawn with the given non-negative weights. */
  weighted(weights: readonly number[]): number {
    let left = this.range(0, weights.reduce((a, b) => a + b, 0));
    for (let i = 0; i < weights.length - 1; i++) {
      left -= weights[i];
      if (left < 0) return i;
    }
    return weights.length - 1;
  }

  /** `count` of 0 … total - 1, drawn without repetition, in the order drawn. */
  some(total: number, count = total): number[] {
    const left = Array.from({ length: total }, (_, i) => i);
    return Array.from({ length: count }, () => left.splice(this.int(left.length), 1)[0]);
  }
}
