/**
 * VGGT once more, in float64 and plain loops, from its formulas: what the tests compare the network with. One set of views;
 * parameters by their checkpoint names.
 */
import type { VggtConfig } from '../../src/models/vggt';
import { at, cornered, placed, planes, plus, rectified } from './vggt-reference-planes';
import type { Planes } from './vggt-reference-planes';

type Matrix = number[][];

export interface ReferenceOutput {
  poseEnc: number[];
  depth: number[];
  depthConf: number[];
  worldPoints: number[];
  worldPointsConf: number[];
}

export class VggtReference {
  constructor(
    private readonly config: VggtConfig,
    private readonly parameters: ReadonlyMap<string, { shape: readonly number[]; data: ArrayLike<number> }>,
  ) {}

  /** images [S, 3, H, W] in [0, 1] */
  forward(images: ArrayLike<number>, views: number, height: number, width: number): ReferenceOutput {
    const { config } = this;
    const { patch_size: p, depth, num_register_tokens: registers } = config;
    const [h, w] = [height / p, width / p];
    const size = 3 * height * width;
    let frames = Array.from({ length: views }, (_, v) => {
      const slot = Math.min(v, 1);
      const special = [this.row('aggregator.camera_token', slot), ...range(registers).map((r) => this.row('aggregator.register_token', slot * registers + r))];
      const image = Array.from({ length: size }, (_, i) => images[v * size + i]);
      return [...special, ...this.encode(image, height, width)];
    });
    const tokens = frames[0].length;
    const position = (t: number): [number, number] =>
      t <= registers ? [0, 0] : [1 + Math.floor((t - registers - 1) / w), 1 + ((t - registers - 1) % w)];
    const kept: Matrix[][] = [];
    for (let i = 0; i < depth; i++) {
      const inside = frames.map((x) => this.block(`aggregator.frame_blocks.${i}.`, x, config.num_heads, 1e-5, position));
      const all = this.block(`aggregator.global_blocks.${i}.`, inside.flat(), config.num_heads, 1e-5, (t) => position(t % tokens));
      frames = range(views).map((v) => all.slice(v * tokens, (v + 1) * tokens));
      kept.push(frames.map((x, v) => x.map((token, t) => [...inside[v][t], ...token])));
    }
    const patches = (layer: number): Matrix[] => kept[layer].map((x) => x.slice(1 + registers));
    const levels = config.dpt.intermediate_layer_idx.map(patches);
    const out: ReferenceOutput = {
      poseEnc: this.camera(kept[depth - 1].map((x) => x[0])), depth: [], depthConf: [], worldPoints: [], worldPointsConf: [],
    };
    for (let v = 0; v < views; v++) {
      const own = levels.map((level) => level[v]);
      const d = this.dpt('depth_head.', own, h, w);
      const q = this.dpt('point_head.', own, h, w);
      const n = height * width;
      for (let i = 0; i < n; i++) {
        out.depth.push(Math.exp(d.data[i]));
        out.depthConf.push(1 + Math.exp(d.data[n + i]));
        for (const k of [0, 1, 2]) out.worldPoints.push(Math.sign(q.data[k * n + i]) * (Math.exp(Math.abs(q.data[k * n + i])) - 1));
        out.worldPointsConf.push(1 + Math.exp(q.data[3 * n + i]));
      }
    }
    return out;
  }

  /** Patch tokens of one view. */
  private encode(image: readonly number[], height: number, width: number): Matrix {
    const { patch_size: p, img_size: stored, patch_embed: encoder } = this.config;
    const at = 'aggregator.patch_embed.';
    const [h, w, grid] = [height / p, width / p, stored / p];
    const mean = [0.485, 0.456, 0.406];
    const std = [0.229, 0.224, 0.225];
    const pixel = (c: number, y: number, x: number): number => (image[(c * height + y) * width + x] - mean[c]) / std[c];
    const flat = range(h * w).map((t) =>
      range(3 * p * p).map((k) => pixel(Math.floor(k / p / p), Math.floor(t / w) * p + (Math.floor(k / p) % p), (t % w) * p + (k % p))),
    );
    const [down, across] = [cubicMatrix(grid, h), cubicMatrix(grid, w)];
    const places = range(h * w).map((t) => {
      const [y, x] = [Math.floor(t / w), t % w];
      return this.row(`${at}pos_embed`, 1).map((_, c) => {
        let sum = 0;
        for (let i = 0; i < grid; i++) for (let j = 0; j < grid; j++) sum += down[y][i] * across[x][j] * this.row(`${at}pos_embed`, 1 + i * grid + j)[c];
        return sum;
      });
    });
    const registers = encoder.num_register_tokens;
    let tokens = [
      addRows(this.row(`${at}cls_token`, 0), this.row(`${at}pos_embed`, 0)),
      ...range(registers).map((r) => this.row(`${at}register_tokens`, r)),
      ...this.linear(`${at}patch_embed.proj`, flat).map((token, t) => addRows(token, places[t])),
    ];
    for (let i = 0; i < encoder.depth; i++) tokens = this.block(`${at}blocks.${i}.`, tokens, encoder.num_heads, 1e-6, null);
    return this.norm(`${at}norm`, tokens, 1e-6).slice(1 + registers);
  }

  private camera(tokens: Matrix): number[] {
    const at = 'camera_head.';
    const { trunk_depth: depth, num_heads: heads, iterations } = this.config.camera_head;
    const z = this.norm(`${at}token_norm`, tokens, 1e-5);
    let pose: Matrix | null = null;
    for (let round = 0; round < iterations; round++) {
      const embedded = this.linear(`${at}embed_pose`, pose ?? z.map(() => this.row(`${at}empty_pose_tokens`, 0)));
      const m = this.linear(`${at}poseLN_modulation.1`, embedded.map((row) => row.map((x) => x / (1 + Math.exp(-x)))));
      let y = z.map((token, v) => {
        const d = token.length;
        const normal = standardised(token, 1e-6);
        return token.map((value, k) => value + m[v][2 * d + k] * (normal[k] * (1 + m[v][d + k]) + m[v][k]));
      });
      for (let i = 0; i < depth; i++) y = this.block(`${at}trunk.${i}.`, y, heads, 1e-5, null);
      const hidden = this.linear(`${at}pose_branch.fc1`, this.norm(`${at}trunk_norm`, y, 1e-5)).map((row) => row.map(gelu));
      const change = this.linear(`${at}pose_branch.fc2`, hidden);
      pose = pose ? pose.map((row, v) => addRows(row, change[v])) : change;
    }
    return pose!.flatMap((row) => row.map((value, k) => (k >= 7 ? Math.max(0, value) : value)));
  }

  private dpt(at: string, levels: Matrix[], h: number, w: number): Planes {
    const { patch_size: p } = this.config;
    const maps = levels.map((tokens, i) => {
      const projected = this.linear(`${at}projects.${i}`, this.norm(`${at}norm`, tokens, 1e-5));
      const c = projected[0].length;
      const map = placed({ c, h, w, data: Float64Array.from({ length: c * h * w }, (_, k) => projected[k % (h * w)][Math.floor(k / h / w)]) }, w / h);
      const sized =
        i === 0 ? this.enlarge(`${at}resize_layers.0`, map, 4)
        : i === 1 ? this.enlarge(`${at}resize_layers.1`, map, 2)
        : i === 2 ? map
        : this.conv(`${at}resize_layers.3`, map, 2, 1);
      return this.conv(`${at}scratch.layer${i + 1}_rn`, sized, 1, 1);
    });
    let merged: Planes | null = null;
    for (const i of [3, 2, 1, 0]) {
      const name = `${at}scratch.refinenet${i + 1}.`;
      const sum: Planes = merged ? plus(merged, this.unit(`${name}resConfUnit1.`, maps[i])) : maps[i];
      const refined = this.unit(`${name}resConfUnit2.`, sum);
      const [height, width] = i > 0 ? [maps[i - 1].h, maps[i - 1].w] : [2 * refined.h, 2 * refined.w];
      // In the reference's order: resized first, then the 1×1 convolution.
      merged = this.conv(`${name}out_conv`, cornered(refined, height, width), 1, 0);
    }
    const fine = placed(cornered(this.conv(`${at}scratch.output_conv1`, merged!, 1, 1), h * p, w * p), w / h);
    return this.conv(`${at}scratch.output_conv2.2`, rectified(this.conv(`${at}scratch.output_conv2.0`, fine, 1, 1)), 1, 0);
  }

  private unit(at: string, x: Planes): Planes {
    return plus(this.conv(`${at}conv2`, rectified(this.conv(`${at}conv1`, rectified(x), 1, 1)), 1, 1), rectified(x));
  }

  private block(at: string, x: Matrix, heads: number, eps: number, position: ((t: number) => [number, number]) | null): Matrix {
    const d = x[0].length;
    const e = d / heads;
    const qkv = this.linear(`${at}attn.qkv`, this.norm(`${at}norm1`, x, eps));
    const head = (row: readonly number[], part: number, n: number): number[] => row.slice(part * d + n * e, part * d + (n + 1) * e);
    const turned = (row: number[], name: string, t: number): number[] =>
      position ? rotated(this.norm(`${at}attn.${name}`, [row], eps)[0], position(t), this.config.rope_freq) : row;
    const mixed: Matrix = x.map(() => []);
    for (let n = 0; n < heads; n++) {
      const q = qkv.map((row, t) => turned(head(row, 0, n), 'q_norm', t));
      const k = qkv.map((row, t) => turned(head(row, 1, n), 'k_norm', t));
      q.forEach((query, t) => {
        const scores = k.map((key) => key.reduce((sum, value, i) => sum + value * query[i], 0) / Math.sqrt(e));
        const top = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - top));
        const total = weights.reduce((a, b) => a + b, 0);
        for (let i = 0; i < e; i++) mixed[t].push(weights.reduce((sum, weight, u) => sum + weight * qkv[u][2 * d + n * e + i], 0) / total);
      });
    }
    const gained = (y: Matrix, branch: Matrix, name: string): Matrix => {
      const gamma = this.row(`${at}${name}.gamma`, 0);
      return y.map((row, t) => row.map((value, i) => value + gamma[i] * branch[t][i]));
    };
    const seen = gained(x, this.linear(`${at}attn.proj`, mixed), 'ls1');
    const hidden = this.linear(`${at}mlp.fc1`, this.norm(`${at}norm2`, seen, eps)).map((row) => row.map(gelu));
    return gained(seen, this.linear(`${at}mlp.fc2`, hidden), 'ls2');
  }

  private parameter(name: string): { shape: readonly number[]; data: ArrayLike<number> } {
    const found = this.parameters.get(name);
    if (!found) throw new Error(`the reference needs '${name}'`);
    return found;
  }

  /** Row `i` of a parameter seen as [rows, last dimension]. */
  private row(name: string, i: number): number[] {
    const { shape, data } = this.parameter(name);
    const width = shape[shape.length - 1];
    return Array.from({ length: width }, (_, k) => data[i * width + k]);
  }

  private linear(name: string, x: Matrix): Matrix {
    const { shape, data } = this.parameter(`${name}.weight`);
    const bias = this.row(`${name}.bias`, 0);
    const inner = shape.slice(1).reduce((product, size) => product * size, 1);
    return x.map((row) => bias.map((b, o) => row.reduce((sum, value, k) => sum + value * data[o * inner + k], b)));
  }

  private norm(name: string, x: Matrix, eps: number): Matrix {
    const [weight, bias] = [this.row(`${name}.weight`, 0), this.row(`${name}.bias`, 0)];
    return x.map((row) => standardised(row, eps).map((value, k) => value * weight[k] + bias[k]));
  }

  private conv(name: string, x: Planes, stride: number, padding: number): Planes {
    const { shape: [out, , size], data } = this.parameter(`${name}.weight`);
    const bias = this.parameters.has(`${name}.bias`) ? this.row(`${name}.bias`, 0) : new Array<number>(out).fill(0);
    const [h, w] = [x.h, x.w].map((side) => Math.floor((side + 2 * padding - size) / stride) + 1);
    return planes(out, h, w, (o, y, u) => {
      let sum = bias[o];
      for (let c = 0; c < x.c; c++) {
        for (let i = 0; i < size; i++) {
          for (let j = 0; j < size; j++) sum += data[((o * x.c + c) * size + i) * size + j] * at(x, c, stride * y + i - padding, stride * u + j - padding);
        }
      }
      return sum;
    });
  }

  private enlarge(name: string, x: Planes, stride: number): Planes {
    const { shape: [, out], data } = this.parameter(`${name}.weight`);
    const bias = this.row(`${name}.bias`, 0);
    return planes(out, x.h * stride, x.w * stride, (o, y, u) => {
      let sum = bias[o];
      for (let c = 0; c < x.c; c++) {
        sum += data[((c * out + o) * stride + (y % stride)) * stride + (u % stride)] * at(x, c, Math.floor(y / stride), Math.floor(u / stride));
      }
      return sum;
    });
  }
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

function addRows(a: readonly number[], b: readonly number[]): number[] {
  return a.map((value, i) => value + b[i]);
}

function standardised(row: readonly number[], eps: number): number[] {
  const mean = row.reduce((a, b) => a + b, 0) / row.length;
  const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / row.length;
  return row.map((value) => (value - mean) / Math.sqrt(variance + eps));
}

/** x Φ(x), Φ by Simpson's rule on the normal density: its error is below 1e-9. */
function gelu(x: number): number {
  const steps = 120;
  const bound = Math.min(Math.abs(x), 6);
  let sum = 0;
  for (let i = 0; i <= steps; i++) sum += (i === 0 || i === steps ? 1 : i % 2 === 1 ? 4 : 2) * Math.exp(-0.5 * ((bound * i) / steps) ** 2);
  const half = (sum * bound) / steps / 3 / Math.sqrt(2 * Math.PI);
  return x * (0.5 + Math.sign(x) * half);
}

/** First half by the row, second half by the column; inside a half, elements j and j + quarter make a pair. */
function rotated(row: readonly number[], [y, x]: [number, number], base: number): number[] {
  const half = row.length / 2;
  const quarter = half / 2;
  const out = [...row];
  for (let part = 0; part < 2; part++) {
    for (let j = 0; j < quarter; j++) {
      const angle = (part === 0 ? y : x) * base ** ((-2 * j) / half);
      const [a, b] = [row[part * half + j], row[part * half + j + quarter]];
      out[part * half + j] = a * Math.cos(angle) - b * Math.sin(angle);
      out[part * half + j + quarter] = b * Math.cos(angle) + a * Math.sin(angle);
    }
  }
  return out;
}

/** Antialiased bicubic (a = −0.5) as a matrix [to][from]; the identity for equal sizes. */
function cubicMatrix(from: number, to: number): Matrix {
  const scale = from / to;
  const wide = Math.max(1, scale);
  const kernel = (x: number): number => {
    const t = Math.abs(x);
    if (t < 1) return 1.5 * t ** 3 - 2.5 * t ** 2 + 1;
    return t < 2 ? -0.5 * t ** 3 + 2.5 * t ** 2 - 4 * t + 2 : 0;
  };
  return range(to).map((i) => {
    const weights = range(from).map((j) => kernel((j + 0.5 - scale * (i + 0.5)) / wide));
    const total = weights.reduce((a, b) => a + b, 0);
    return weights.map((weight) => weight / total);
  });
}
