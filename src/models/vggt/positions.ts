/** Position tables of the aggregator (rotary) and of the dense heads (sinusoidal). Constants: kept by size. */
import type { Device } from '../../tensor/device';
import { unscoped } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';

/** cos and sin of every token's rotation angles: f32 [L, D/2]. */
export interface RopeTables {
  cos: Tensor;
  sin: Tensor;
}

/**
 * Rotary tables of `views` views of `special` tokens and h × w patches each: [views · (special + h w), headDim/2]. The first
 * half of the head turns by the row, the second by the column, frequency base^(−2j/(headDim/2)); special tokens lie at 0,
 * patches start at 1. Every view has the same positions: nothing tells one view's place from another's.
 */
export function ropeTable(
  views: number,
  special: number,
  h: number,
  w: number,
  headDim: number,
  base: number,
): { cos: Float32Array; sin: Float32Array; length: number } {
  const quarter = headDim / 4;
  const length = views * (special + h * w);
  const cos = new Float32Array((length * headDim) / 2).fill(1);
  const sin = new Float32Array((length * headDim) / 2);
  const frequencies = Array.from({ length: quarter }, (_, j) => base ** ((-2 * j) / (headDim / 2)));
  for (let view = 0; view < views; view++) {
    for (let patch = 0; patch < h * w; patch++) {
      const at = ((view * (special + h * w) + special + patch) * headDim) / 2;
      const position = [1 + Math.floor(patch / w), 1 + (patch % w)];
      for (let j = 0; j < 2 * quarter; j++) {
        const angle = position[j < quarter ? 0 : 1] * frequencies[j % quarter];
        cos[at + j] = Math.cos(angle);
        sin[at + j] = Math.sin(angle);
      }
    }
  }
  return { cos, sin, length };
}

/**
 * Sinusoidal embedding of the position on the image plane, as the dense heads add it: [C, h, w]. With the aspect a of the
 * image and d = sqrt(a² + 1), x runs over ±a/d · (w − 1)/w and y over ±1/d · (h − 1)/h; the channels are sin xω, cos xω,
 * sin yω, cos yω with ω_i = 100^(−i/(C/4)).
 */
export function planeEmbedding(channels: number, h: number, w: number, aspect: number, factor: number): Float32Array {
  const k = channels / 4;
  const diagonal = Math.hypot(aspect, 1);
  const line = (count: number, span: number): number[] =>
    Array.from({ length: count }, (_, i) => (count === 1 ? 0 : ((2 * i) / (count - 1) - 1) * ((span * (count - 1)) / count)));
  const xs = line(w, aspect / diagonal);
  const ys = line(h, 1 / diagonal);
  const out = new Float32Array(channels * h * w);
  for (let i = 0; i < k; i++) {
    const omega = 100 ** (-i / k);
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        const at = y * w + x;
        out[i * h * w + at] = factor * Math.sin(xs[x] * omega);
        out[(k + i) * h * w + at] = factor * Math.cos(xs[x] * omega);
        out[(2 * k + i) * h * w + at] = factor * Math.sin(ys[y] * omega);
        out[(3 * k + i) * h * w + at] = factor * Math.cos(ys[y] * omega);
      }
    }
  }
  return out;
}

/** Tensors that depend on sizes only: made once, the least recently used dropped beyond `limit` (at least 2: a forward uses two). */
export class TensorCache {
  private readonly entries = new Map<string, Tensor[]>();

  constructor(private readonly limit: number) {}

  get(device: Device, key: string, make: () => Tensor[]): Tensor[] {
    const full = `${device.name} ${device.handle} ${key}`;
    const known = this.entries.get(full);
    if (known) {
      // Moved to the end: what a forward has just taken must not be the next to go.
      this.entries.delete(full);
      this.entries.set(full, known);
      return known;
    }
    const made = unscoped(make);
    this.entries.set(full, made);
    if (this.entries.size > this.limit) {
      const [oldest] = this.entries.keys();
      for (const tensor of this.entries.get(oldest) ?? []) tensor.dispose();
      this.entries.delete(oldest);
    }
    return made;
  }

  dispose(): void {
    for (const tensors of this.entries.values()) for (const tensor of tensors) tensor.dispose();
    this.entries.clear();
  }
}
