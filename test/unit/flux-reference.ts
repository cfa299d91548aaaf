/**
 * The FLUX transformer once more, in float64 and plain loops, from its formulas: what the tests compare the network with.
 * Works on one batch item; parameters by their checkpoint names.
 */
import type { FluxConfig } from '../../src/models/flux';

export type Matrix = number[][];

export interface ReferenceInputs {
  hidden: Matrix;
  text: Matrix;
  pooled: number[];
  timestep: number;
  guidance: number;
  imageIds: readonly (readonly number[])[];
}

export class FluxReference {
  constructor(
    private readonly config: FluxConfig,
    private readonly parameters: ReadonlyMap<string, { shape: readonly number[]; data: ArrayLike<number> }>,
  ) {}

  /** Velocities of all image tokens. */
  forward({ hidden, text, pooled, timestep, guidance, imageIds }: ReferenceInputs): Matrix {
    const { config } = this;
    const ids = [...text.map(() => [0, 0, 0]), ...imageIds];
    const vec = this.embed('time_text_embed.timestep_embedder', sinusoid(1000 * Math.fround(timestep)));
    const parts = [this.embed('time_text_embed.text_embedder', pooled)];
    if (config.guidance_embeds) parts.push(this.embed('time_text_embed.guidance_embedder', sinusoid(1000 * Math.fround(guidance))));
    const silued = vec.map((value, i) => silu(parts.reduce((sum, part) => sum + part[i], value)));
    let x = this.linear('x_embedder', hidden);
    let c = this.linear('context_embedder', text);
    for (let i = 0; i < config.num_layers; i++) {
      const at = `transformer_blocks.${i}.`;
      const mx = this.modulation(`${at}norm1`, silued, 6);
      const mc = this.modulation(`${at}norm1_context`, silued, 6);
      const nx = modulate(x, mx[0], mx[1]);
      const nc = modulate(c, mc[0], mc[1]);
      const join = (image: string, txt: string): Matrix => [
        ...this.linear(`${at}attn.${txt}`, nc),
        ...this.linear(`${at}attn.${image}`, nx),
      ];
      const norm = (rows: Matrix, image: string, txt: string): Matrix =>
        rows.map((row, t) => this.headNorm(`${at}attn.${t < c.length ? txt : image}`, row));
      const out = this.attention(
        norm(join('to_q', 'add_q_proj'), 'norm_q', 'norm_added_q'),
        norm(join('to_k', 'add_k_proj'), 'norm_k', 'norm_added_k'),
        join('to_v', 'add_v_proj'),
        ids,
      );
      x = gated(x, mx[2], this.linear(`${at}attn.to_out.0`, out.slice(c.length)));
      x = gated(x, mx[5], this.feedForward(`${at}ff`, modulate(x, mx[3], mx[4])));
      const textOut = this.linear(`${at}attn.to_add_out`, out.slice(0, c.length));
      c = gated(c, mc[2], textOut);
      c = gated(c, mc[5], this.feedForward(`${at}ff_context`, modulate(c, mc[3], mc[4])));
    }
    let z = [...c, ...x];
    for (let i = 0; i < config.num_single_layers; i++) {
      const at = `single_transformer_blocks.${i}.`;
      const [shift, scale, gate] = this.modulation(`${at}norm`, silued, 3);
      const nz = modulate(z, shift, scale);
      const q = this.linear(`${at}attn.to_q`, nz).map((row) => this.headNorm(`${at}attn.norm_q`, row));
      const k = this.linear(`${at}attn.to_k`, nz).map((row) => this.headNorm(`${at}attn.norm_k`, row));
      const attended = this.attention(q, k, this.linear(`${at}attn.to_v`, nz), ids);
      const mlp = this.linear(`${at}proj_mlp`, nz).map((row) => row.map(gelu));
      z = gated(z, gate, this.linear(`${at}proj_out`, attended.map((row, t) => [...row, ...mlp[t]])));
    }
    const [scale, shift] = this.modulation('norm_out', silued, 2);
    return this.linear('proj_out', modulate(z.slice(c.length), shift, scale));
  }

  private linear(name: string, rows: Matrix): Matrix {
    const weight = this.get(`${name}.weight`);
    const bias = this.get(`${name}.bias`);
    const [outs, ins] = weight.shape;
    return rows.map((row) =>
      Array.from({ length: outs }, (_, o) => {
        let sum = bias.data[o];
        for (let i = 0; i < ins; i++) sum += weight.data[o * ins + i] * row[i];
        return sum;
      }),
    );
  }

  private embed(name: string, x: number[]): number[] {
    const [inner] = this.linear(`${name}.linear_1`, [x]);
    return this.linear(`${name}.linear_2`, [inner.map(silu)])[0];
  }

  private modulation(name: string, silued: number[], count: number): number[][] {
    const [all] = this.linear(`${name}.linear`, [silued]);
    const size = all.length / count;
    return Array.from({ length: count }, (_, i) => all.slice(i * size, (i + 1) * size));
  }

  private feedForward(name: string, rows: Matrix): Matrix {
    return this.linear(`${name}.net.2`, this.linear(`${name}.net.0.proj`, rows).map((row) => row.map(gelu)));
  }

  private headNorm(name: string, row: number[]): number[] {
    const weight = this.get(`${name}.weight`).data;
    const dim = this.config.attention_head_dim;
    const out: number[] = [];
    for (let head = 0; head < row.length; head += dim) {
      const part = row.slice(head, head + dim);
      const rms = Math.sqrt(part.reduce((sum, value) => sum + value * value, 0) / dim + 1e-6);
      for (let i = 0; i < dim; i++) out.push((part[i] / rms) * weight[i]);
    }
    return out;
  }

  private attention(q: Matrix, k: Matrix, v: Matrix, ids: readonly (readonly number[])[]): Matrix {
    const dim = this.config.attention_head_dim;
    const turned = (rows: Matrix): Matrix => rows.map((row, t) => this.rotate(row, ids[t]));
    const [rq, rk] = [turned(q), turned(k)];
    return rq.map((query) => {
      const out: number[] = [];
      for (let head = 0; head < query.length; head += dim) {
        const scores = rk.map((key) => {
          let dot = 0;
          for (let i = head; i < head + dim; i++) dot += query[i] * key[i];
          return dot / Math.sqrt(dim);
        });
        const top = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - top));
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        for (let i = head; i < head + dim; i++) {
          out.push(v.reduce((sum, value, t) => sum + (weights[t] / total) * value[i], 0));
        }
      }
      return out;
    });
  }

  private rotate(row: number[], id: readonly number[]): number[] {
    const out = [...row];
    const dim = this.config.attention_head_dim;
    for (let head = 0; head < row.length; head += dim) {
      let at = head;
      for (const [axis, size] of this.config.axes_dims_rope.entries()) {
        for (let j = 0; j < size / 2; j++, at += 2) {
          const angle = id[axis] * 10000 ** ((-2 * j) / size);
          out[at] = row[at] * Math.cos(angle) - row[at + 1] * Math.sin(angle);
          out[at + 1] = row[at] * Math.sin(angle) + row[at + 1] * Math.cos(angle);
        }
      }
    }
    return out;
  }

  private get(name: string): { shape: readonly number[]; data: ArrayLike<number> } {
    const parameter = this.parameters.get(name);
    if (!parameter) throw new Error(`reference: no parameter ${name}`);
    return parameter;
  }
}

/** The published networks compute frequencies and angles in f32; at angles in the thousands that is part of the function. */
function sinusoid(s: number): number[] {
  const angles = Array.from({ length: 128 }, (_, k) => {
    const exponent = Math.fround(Math.fround(Math.fround(-Math.log(10000)) * k) / 128);
    return Math.fround(Math.fround(s) * Math.fround(Math.exp(exponent)));
  });
  return [...angles.map(Math.cos), ...angles.map(Math.sin)];
}

function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

function gelu(x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

function modulate(rows: Matrix, shift: number[], scale: number[]): Matrix {
  return rows.map((row) => {
    const mean = row.reduce((sum, value) => sum + value, 0) / row.length;
    const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / row.length;
    return row.map((value, i) => ((value - mean) / Math.sqrt(variance + 1e-6)) * (1 + scale[i]) + shift[i]);
  });
}

function gated(rows: Matrix, gate: number[], branch: Matrix): Matrix {
  return rows.map((row, t) => row.map((value, i) => value + gate[i] * branch[t][i]));
}
