import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fromNative, WeightsError } from '../binding/errors';
import type { Handle } from '../binding/types';
import type { Device } from './device';
import { unscoped } from './scope';
import { Tensor } from './tensor';
import type { DType, Shape } from './tensor';
import { expectShape } from './weights';
import type { WeightSource } from './weights';

/** What a file says about one tensor. */
export interface SafetensorsEntry {
  dtype: DType;
  shape: Shape;
}

/** A mapped safetensors file. Tensors go to the device without passing through JavaScript. */
export class SafetensorsFile implements Disposable {
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  private readonly handle: Handle;

  /** Throws WeightsError for a missing, truncated or malformed file. */
  constructor(
    private readonly device: Device,
    readonly path: string,
  ) {
    try {
      this.handle = device.binding.openSafetensors(path);
    } catch (error) {
      throw fromNative(error);
    }
    const { entries, metadata } = device.binding.safetensorsEntries(this.handle);
    this.entries = new Map(Object.entries(entries).map(([name, [dtype, ...shape]]) => [name, { dtype: dtype as DType, shape }]));
    this.metadata = metadata;
  }

  /** Loads one tensor, converted to `dtype` (as stored when absent; 16-bit floats and 64-bit numbers need one to compute with). */
  load(name: string, dtype?: DType): Tensor {
    const entry = this.entries.get(name);
    if (!entry) throw new WeightsError(`${this.path}: no tensor '${name}'`);
    const { binding, handle } = this.device;
    return this.device.guard(() => new Tensor(this.device, binding.loadTensor(handle, this.handle, name, dtype ?? entry.dtype)));
  }

  /** Unmaps the file once no tensor lies in it any more. */
  dispose(): void {
    this.device.binding.closeSafetensors(this.handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

export interface SafetensorsWeightsOptions {
  /** dtype of the loaded parameters; the device's default when absent. */
  dtype?: DType;
}

/** A checkpoint on disk: one file, several shards, or a folder with an index. */
export class SafetensorsWeights implements WeightSource, Disposable {
  private readonly files: SafetensorsFile[];
  private readonly byName = new Map<string, SafetensorsFile>();
  private readonly used = new Set<string>();
  private readonly dtype: DType;

  constructor(
    device: Device,
    readonly path: string,
    options: SafetensorsWeightsOptions = {},
  ) {
    this.dtype = options.dtype ?? device.defaultDtype;
    this.files = shardPaths(path).map((shard) => new SafetensorsFile(device, shard));
    for (const file of this.files) {
      for (const name of file.entries.keys()) {
        if (this.byName.has(name)) throw new WeightsError(`${file.path}: '${name}' is in another shard too`);
        this.byName.set(name, file);
      }
    }
  }

  names(): string[] {
    return [...this.byName.keys()];
  }

  has(name: string): boolean {
    return this.byName.has(name);
  }

  shapeOf(name: string): Shape | undefined {
    return this.byName.get(name)?.entries.get(name)?.shape;
  }

  metadata(): Record<string, string> {
    return Object.assign({}, ...this.files.map((file) => file.metadata)) as Record<string, string>;
  }

  get(name: string, shape: Shape): Tensor {
    const found = this.shapeOf(name);
    if (!found) throw new WeightsError(`${this.path}: no tensor '${name}'${this.nearest(name)}`);
    expectShape(name, found, shape, this.path);
    return this.load(name);
  }

  /** Loads by name with whatever shape the file has. */
  load(name: string): Tensor {
    const file = this.byName.get(name);
    if (!file) throw new WeightsError(`${this.path}: no tensor '${name}'${this.nearest(name)}`);
    this.used.add(name);
    // Weights outlive the scope in which a network happens to be built.
    return unscoped(() => file.load(name, this.dtype));
  }

  /** Names nobody asked for: a strict loader reports them. */
  unused(): string[] {
    return this.names().filter((name) => !this.used.has(name));
  }

  dispose(): void {
    for (const file of this.files) file.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private nearest(name: string): string {
    const tail = name.split('.').slice(-2).join('.');
    const alike = this.names().filter((other) => other.endsWith(tail)).slice(0, 2);
    return alike.length > 0 ? `; it has for example '${alike.join("', '")}'` : '';
  }
}

/** The files behind a path: itself, the shards of an index, or the one checkpoint in a folder. */
function shardPaths(path: string): string[] {
  if (!existsSync(path)) throw new WeightsError(`${path}: no such file or folder`);
  if (!statSync(path).isDirectory()) return path.endsWith('.index.json') ? indexed(path) : [path];
  for (const name of ['diffusion_pytorch_model', 'model', 'pytorch_lora_weights', 'adapter_model']) {
    const index = join(path, `${name}.safetensors.index.json`);
    if (existsSync(index)) return indexed(index);
    const single = join(path, `${name}.safetensors`);
    if (existsSync(single)) return [single];
  }
  throw new WeightsError(`${path}: no model.safetensors, diffusion_pytorch_model.safetensors or index of shards in this folder`);
}

function indexed(path: string): string[] {
  let map: unknown;
  try {
    map = (JSON.parse(readFileSync(path, 'utf8')) as { weight_map?: unknown }).weight_map;
  } catch (error) {
    throw new WeightsError(`${path}: not valid JSON: ${(error as Error).message}`, { cause: error });
  }
  if (typeof map !== 'object' || map === null) throw new WeightsError(`${path}: has no weight_map`);
  const shards = new Set<string>();
  for (const shard of Object.values(map)) {
    if (typeof shard !== 'string' || basename(shard) !== shard) throw new WeightsError(`${path}: names a shard outside its folder: ${String(shard)}`);
    shards.add(join(dirname(path), shard));
  }
  return [...shards].sort();
}

/** Rounds f32 numbers to bf16 bits: to nearest, ties to even; NaN stays NaN. */
export function toBf16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i];
    const isNaN = (word & 0x7fffffff) > 0x7f800000;
    out[i] = isNaN ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return out;
}

/**
 * Writes tensors as one safetensors file, atomically (temporary file, fsync, rename). Floats are stored as `dtype` (as they
 * are when absent).
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, Tensor>,
  options: { dtype?: 'f32' | 'bf16'; metadata?: Record<string, string> } = {},
): Promise<void> {
  const names = [...tensors.keys()].sort();
  const header: Record<string, unknown> = {};
  if (options.metadata) header.__metadata__ = options.metadata;
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const name of names) {
    const tensor = tensors.get(name) as Tensor;
    let data = await tensor.read();
    let dtype = tensor.dtype;
    if (dtype === 'f32' && options.dtype === 'bf16') {
      data = toBf16(data as Float32Array);
      dtype = 'bf16';
    } else if (dtype === 'bf16' && options.dtype === 'f32') {
      data = await tensor.toFloat32();
      dtype = 'f32';
    }
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    header[name] = { dtype: dtype.toUpperCase(), shape: tensor.shape, data_offsets: [offset, offset + bytes.length] };
    offset += bytes.length;
    parts.push(bytes);
  }
  let text = JSON.stringify(header);
  text += ' '.repeat((8 - (Buffer.byteLength(text) % 8)) % 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(text)));
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    const file = openSync(temporary, 'w');
    try {
      for (const part of [length, Buffer.from(text), ...parts]) writeFully(file, part);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw new WeightsError(`${path}: cannot be written: ${(error as Error).message}`, { cause: error });
  }
}

function writeFully(file: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
}
