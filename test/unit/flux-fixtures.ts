/** Small FLUX networks with every parameter drawn, for the FLUX and LoRA tests. */
import { FluxTransformer, gridIds, parseFluxConfig } from '../../src/models/flux';
import type { FluxConfig, FluxInputs, FluxOptions, PositionIds } from '../../src/models/flux';
import { bflModule } from '../../src/models/flux/checkpoint';
import type { Device } from '../../src/tensor/device';
import type { Shape, Tensor } from '../../src/tensor/tensor';
import { expectShape, Weights } from '../../src/tensor/weights';
import type { WeightSource } from '../../src/tensor/weights';
import { FluxReference } from './flux-reference';
import type { Matrix } from './flux-reference';

export interface HostParameter {
  shape: Shape;
  data: Float32Array;
}

export const smallConfig: FluxConfig = parseFluxConfig({
  in_channels: 8,
  num_layers: 2,
  num_single_layers: 2,
  attention_head_dim: 16,
  num_attention_heads: 2,
  joint_attention_dim: 12,
  pooled_projection_dim: 10,
  guidance_embeds: true,
  axes_dims_rope: [4, 6, 6],
});

/** Uniform numbers in [0, 1), the same everywhere. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function normals(count: number, seed: number, std = 1): Float32Array {
  const next = generator(seed);
  return Float32Array.from({ length: count }, () => std * Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()));
}

/** A checkpoint in memory; what it lacks is drawn on first use, biases and gains included. */
export class MemoryWeights implements WeightSource {
  constructor(
    private readonly device: Device,
    readonly parameters: Map<string, HostParameter> = new Map(),
    private readonly seed?: number,
  ) {}

  has(name: string): boolean {
    return this.parameters.has(name);
  }

  shapeOf(name: string): Shape | undefined {
    return this.parameters.get(name)?.shape;
  }

  names(): string[] {
    return [...this.parameters.keys()];
  }

  metadata(): Record<string, string> {
    return {};
  }

  get(name: string, shape: Shape): Tensor {
    if (this.seed !== undefined && !this.parameters.has(name)) this.parameters.set(name, drawn(name, shape, this.seed + this.parameters.size));
    const parameter = this.parameters.get(name);
    if (!parameter) throw new Error(`no parameter ${name}`);
    expectShape(name, parameter.shape, shape, 'memory');
    return this.device.tensor(parameter.data, parameter.shape);
  }

  load(name: string): Tensor {
    return this.get(name, this.parameters.get(name)?.shape ?? []);
  }
}

function drawn(name: string, shape: Shape, seed: number): HostParameter {
  const count = shape.reduce((product, size) => product * size, 1);
  const gain = /norm_[a-z_]+\.weight$/.test(name);
  const data = normals(count, seed, shape.length === 2 ? 1 / Math.sqrt(shape[1]) : 0.2);
  return { shape, data: gain ? data.map((value) => 1 + value) : data };
}

export function smallModel(
  device: Device,
  seed: number,
  options?: FluxOptions,
  config = smallConfig,
): { model: FluxTransformer; parameters: Map<string, HostParameter> } {
  const source = new MemoryWeights(device, new Map(), seed);
  return { model: new FluxTransformer(new Weights(source), config, options), parameters: source.parameters };
}

/** The same parameters in the single-file layout, written from the formulas of the two layouts, not from the reader. */
export function toBfl(parameters: ReadonlyMap<string, HostParameter>, prefix = ''): Map<string, HostParameter> {
  const out = new Map<string, HostParameter>();
  const pending = new Map<string, HostParameter[]>();
  for (const [name, parameter] of parameters) {
    const module = name.slice(0, name.lastIndexOf('.'));
    const leaf = name.slice(module.length + 1);
    const bfl = bflModule(module);
    if (!bfl) throw new Error(`no counterpart of ${module}`);
    const key = `${prefix}${bfl.name}.${bfl.name.endsWith('_norm') ? 'scale' : leaf}`;
    pending.set(key, [...(pending.get(key) ?? []), parameter]);
  }
  for (const [key, parts] of pending) {
    let data = Float32Array.from(parts.flatMap((part) => [...part.data]));
    if (key.includes('final_layer.adaLN')) data = Float32Array.from([...data.slice(data.length / 2), ...data.slice(0, data.length / 2)]);
    const rows = parts.reduce((sum, part) => sum + part.shape[0], 0);
    out.set(key, { shape: [rows, ...parts[0].shape.slice(1)], data });
  }
  return out;
}

export interface HostInputs {
  config: FluxConfig;
  hidden: Float32Array;
  text: Float32Array;
  pooled: Float32Array;
  timestep: number[];
  guidance: number[];
  batch: number;
  textLength: number;
  imageIds: PositionIds;
}

/** Two target grids of 2×3 tokens beside each other and one 3×2 reference; five text tokens. */
export function hostInputs(batch: number, seed: number, config = smallConfig): HostInputs {
  const imageIds = gridIds([
    { rows: 2, columns: 3 },
    { rows: 2, columns: 3, columnOffset: 3 },
    { rows: 3, columns: 2, image: 1 },
  ]);
  const textLength = 5;
  const { in_channels: channels, joint_attention_dim: joint, pooled_projection_dim: pooled } = config;
  return {
    config,
    hidden: normals(batch * imageIds.length * channels, seed),
    text: normals(batch * textLength * joint, seed + 1),
    pooled: normals(batch * pooled, seed + 2),
    timestep: [0.71, 0.25, 0.4].slice(0, batch),
    guidance: [2.5, 3.5, 1].slice(0, batch),
    batch,
    textLength,
    imageIds,
  };
}

export function upload(device: Device, host: HostInputs): FluxInputs {
  const { in_channels: channels, joint_attention_dim: joint, pooled_projection_dim: pooled } = host.config;
  return {
    hiddenStates: device.tensor(host.hidden, [host.batch, host.imageIds.length, channels]),
    encoderHiddenStates: device.tensor(host.text, [host.batch, host.textLength, joint]),
    pooledProjections: device.tensor(host.pooled, [host.batch, pooled]),
    timestep: host.timestep,
    guidance: host.guidance,
    imageIds: host.imageIds,
  };
}

/** Output of the float64 reference for all batch items, flat. */
export function referenceOutput(parameters: ReadonlyMap<string, HostParameter>, host: HostInputs): number[] {
  const reference = new FluxReference(host.config, parameters);
  const { length, ids } = host.imageIds;
  const out: number[] = [];
  for (let b = 0; b < host.batch; b++) {
    const velocities = reference.forward({
      hidden: matrix(host.hidden, b, length),
      text: matrix(host.text, b, host.textLength),
      pooled: matrix(host.pooled, b, 1)[0],
      timestep: host.timestep[b],
      guidance: host.guidance[b],
      imageIds: Array.from({ length }, (_, t) => [...ids.slice(3 * t, 3 * t + 3)]),
    });
    out.push(...velocities.flat());
  }
  return out;

  function matrix(data: Float32Array, item: number, rows: number): Matrix {
    const width = data.length / host.batch / rows;
    return Array.from({ length: rows }, (_, r) => [...data.slice((item * rows + r) * width, (item * rows + r + 1) * width)]);
  }
}

/** max|a - b| / max|b|. */
export function relative(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let worst = 0;
  let scale = 0;
  for (let i = 0; i < b.length; i++) {
    worst = Math.max(worst, Number.isFinite(a[i]) ? Math.abs(a[i] - b[i]) : Infinity);
    scale = Math.max(scale, Math.abs(b[i]));
  }
  return worst / scale;
}
