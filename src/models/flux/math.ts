/** Position tables, sinusoids and views: everything in the transformer that has no parameters. */
import { ShapeError } from '../../binding/errors';
import type { Device } from '../../tensor/device';
import { reshape, rows, slice } from '../../tensor/ops';
import { unscoped } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';

/** Position of every token on the axes (image index, row, column): [L, 3] row-major. Text tokens are all zero. */
export interface PositionIds {
  readonly length: number;
  readonly ids: Float32Array;
}

export function positionIds(ids: ArrayLike<number>): PositionIds {
  if (ids.length % 3 !== 0) throw new ShapeError(`position ids: expected [L, 3], got ${ids.length} numbers`);
  return { length: ids.length / 3, ids: Float32Array.from(ids) };
}

/** Ids of `length` text tokens: zero, so that text is not rotated. */
export function textIds(length: number): PositionIds {
  return { length, ids: new Float32Array(3 * length) };
}

/** cos and sin of every token's rotation angles: f32 [L, D/2]. */
export interface RopeTables {
  cos: Tensor;
  sin: Tensor;
}

const theta = 10000;

/**
 * Rotary tables (Su et al., arXiv 2104.09864, on three axes): axis a with d_a head dimensions rotates d_a/2 pairs by
 * pos_a · theta^(-2j/d_a); the axes lie one after the other along the head. Angles are computed in float64, since bf16 ids
 * or f32 angles shift far tokens visibly.
 */
export function ropeTables(device: Device, parts: readonly PositionIds[], axesDims: readonly number[]): RopeTables {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const half = axesDims.reduce((sum, dim) => sum + dim, 0) / 2;
  const cos = new Float32Array(length * half);
  const sin = new Float32Array(length * half);
  // Tokens share positions (a row, a column, the zero of text): angles are computed where a position is first met.
  const met = axesDims.map(() => new Map<number, number>());
  let at = 0;
  for (let part = 0; part < parts.length; part++) {
    const { length: tokens, ids } = parts[part];
    for (let token = 0; token < tokens; token++) {
      for (let axis = 0; axis < axesDims.length; axis++) {
        const position = ids[3 * token + axis];
        const pairs = axesDims[axis] / 2;
        const first = met[axis].get(position);
        if (first === undefined) {
          met[axis].set(position, at);
          for (let j = 0; j < pairs; j++) {
            const angle = position * theta ** ((-2 * j) / axesDims[axis]);
            cos[at + j] = Math.cos(angle);
            sin[at + j] = Math.sin(angle);
          }
        } else {
          cos.copyWithin(at, first, first + pairs);
          sin.copyWithin(at, first, first + pairs);
        }
        at += pairs;
      }
    }
  }
  return unscoped(() => ({ cos: device.tensor(cos, [length, half]), sin: device.tensor(sin, [length, half]) }));
}

/** Keeps the tables of the id tables used last: every step of an edit uses the same one. */
export class RopeCache {
  private readonly entries: { text: PositionIds | number; image: PositionIds; tables: RopeTables }[] = [];

  constructor(
    private readonly axesDims: readonly number[],
    private readonly capacity = 4,
  ) {}

  /** Tables of [text tokens, image tokens]; a number of text tokens means zero ids. An id table is recognised by identity. */
  get(device: Device, text: PositionIds | number, image: PositionIds): RopeTables {
    const found = this.entries.findIndex((entry) => entry.text === text && entry.image === image);
    if (found >= 0) {
      const [entry] = this.entries.splice(found, 1);
      this.entries.push(entry);
      return entry.tables;
    }
    while (this.entries.length >= this.capacity) this.drop();
    const tables = ropeTables(device, [typeof text === 'number' ? textIds(text) : text, image], this.axesDims);
    this.entries.push({ text, image, tables });
    return tables;
  }

  dispose(): void {
    while (this.entries.length > 0) this.drop();
  }

  private drop(): void {
    const entry = this.entries.shift();
    entry?.tables.cos.dispose();
    entry?.tables.sin.dispose();
  }
}

/**
 * How 1000·t and 1000·guidance are rounded before the sinusoid. The published pipelines run in bf16 and round both there
 * (guidance 2.5 becomes 2496): `diffusers` rounds 1000·t, divides, multiplies and rounds again; `bfl` rounds t, then
 * 1000·t. `none` is plain f32.
 */
export type TimestepRounding = 'none' | 'diffusers' | 'bfl';

/** 1000 · value in f32, rounded as asked. */
export function scaledTimestep(value: number, rounding: TimestepRounding): number {
  if (rounding === 'diffusers') return bf16(bf16(bf16(1000 * value) / 1000) * 1000);
  if (rounding === 'bfl') return bf16(bf16(value) * 1000);
  return Math.fround(1000 * Math.fround(value));
}

/** Nearest bf16 number, ties to even. */
function bf16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer);
  bits[0] = (bits[0] + 0x7fff + ((bits[0] >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(bits.buffer)[0];
}

/** Tokens start … start + length of [B, L, C]: a view where one batch item makes them contiguous. */
export function tokens(x: Tensor, start: number, length: number): Tensor {
  const [batch, all, channels] = x.shape;
  if (start === 0 && length === all) return x;
  if (batch !== 1) return slice(x, 1, start, length);
  return reshape(rows(reshape(x, [all, channels]), start, length), [1, length, channels]);
}

/** Splits [B, n·C] into n tensors [B, C]: views where there is one batch item. */
export function chunk(x: Tensor, n: number): Tensor[] {
  const [batch, width] = x.shape;
  const size = width / n;
  if (batch !== 1) return Array.from({ length: n }, (_, i) => slice(x, 1, i * size, size));
  const table = reshape(x, [n, size]);
  return Array.from({ length: n }, (_, i) => rows(table, i, 1));
}
