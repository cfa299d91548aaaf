import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { z } from 'zod';
import { ConfigError, ShapeError, WeightsError } from '../../binding/errors';
import { readSafetensorsHeader } from '../../hub/safetensors-header';
import { Device } from '../../tensor/device';
import { Tensor } from '../../tensor/tensor';

/** What a kind of reference case is: a module `src/app/parity/<kind>.ts` that exports `kind` and `run`. */
export interface ParityKind {
  readonly kind: string;
  /** Runs one case folder and compares everything `expected.safetensors` holds. @throws RlError when the case cannot be run */
  run(dir: string, context: ParityContext): Promise<ParityResult>;
}

export interface ParityContext {
  device: Device;
  /** Type of weights and activations. */
  dtype: 'f32' | 'bf16';
  signal: AbortSignal;
}

export interface TensorError {
  name: string;
  /** max|got - expected| / max(1e-6, max|expected|); NaN when a value is not finite. */
  relError: number;
  maxAbs: number;
}

export interface ParityResult {
  tensors: TensorError[];
}

/** A tensor of a case file in host memory; integers of every width come as Int32Array. */
export interface HostTensor {
  shape: number[];
  data: Float32Array | Int32Array;
}

/** Tensors by name; `get` throws WeightsError naming the file when one is missing. */
export class HostTensors {
  constructor(
    readonly file: string,
    readonly tensors: ReadonlyMap<string, HostTensor>,
  ) {}

  get names(): string[] {
    return [...this.tensors.keys()];
  }

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  get(name: string): HostTensor {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new WeightsError(`${this.file}: holds no tensor '${name}'; it has ${this.names.slice(0, 6).join(', ') || 'none'}`);
    return tensor;
  }

  floats(name: string): Float32Array {
    const { data } = this.get(name);
    if (!(data instanceof Float32Array)) throw new WeightsError(`${this.file}: '${name}' holds integers, expected numbers`);
    return data;
  }

  /** Uploads as f32 (i32 for integers). */
  upload(name: string, device: Device): Tensor {
    const { data, shape } = this.get(name);
    return device.tensor(data, shape);
  }
}

const caseSchema = z.looseObject({
  kind: z.string().regex(/^[a-z0-9]+(-[a-z0-9]+)*$/, 'expected a kind such as flux-transformer'),
  tolerance: z.number().positive(),
  config: z.unknown().optional(),
  note: z.string().optional(),
});

/** A case folder: its description, and its input and expected tensors in host memory (empty where there is no such file). */
export interface ParityCase {
  dir: string;
  kind: string;
  /** Worst relative error allowed in float32. */
  tolerance: number;
  /** `config` of case.json: the reference's own field names, to be checked by the kind. */
  config: unknown;
  /** The whole of case.json, for the fields of one kind (`rank`, `cases`, `pairs`). */
  description: Record<string, unknown>;
  /** Path of weights.safetensors, which the kind opens itself. */
  weights: string;
  inputs: HostTensors;
  expected: HostTensors;
}

/** Reads and checks case.json alone. @throws ConfigError naming the file and the field */
export async function readCaseDescription(dir: string): Promise<z.infer<typeof caseSchema>> {
  const file = path.join(dir, 'case.json');
  let json: unknown;
  try {
    json = JSON.parse(await fs.readFile(file, 'utf8'));
  } catch (error) {
    throw new ConfigError(`${file}: cannot be read as JSON (${(error as Error).message}); expected a reference case folder`, { cause: error });
  }
  return parseWith(caseSchema, json, file);
}

/** Reads a case folder. @throws ConfigError, WeightsError */
export async function readCase(dir: string): Promise<ParityCase> {
  const description = await readCaseDescription(dir);
  const [inputs, expected] = await Promise.all(
    ['inputs', 'expected'].map((name) => readHostTensors(path.join(dir, `${name}.safetensors`), name === 'inputs')),
  );
  const { kind, tolerance, config } = description;
  return { dir, kind, tolerance, config, description, weights: path.join(dir, 'weights.safetensors'), inputs, expected };
}

/** Checks `value` against a schema. @throws ConfigError naming `where`, the field and what is wrong with it */
export function parseWith<T>(schema: z.ZodType<T>, value: unknown, where: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new ConfigError(`${where}: ${issue.path.join('.') || 'the file'}: ${issue.message}`);
}

/** Reads all tensors of a safetensors file into host memory. `optional`: a file that is not there holds none. */
export async function readHostTensors(file: string, optional = false): Promise<HostTensors> {
  const tensors = new Map<string, HostTensor>();
  if (optional && !(await fs.stat(file).catch(() => undefined))) return new HostTensors(file, tensors);
  const header = await readSafetensorsHeader(file);
  const bytes = await fs.readFile(file);
  for (const { name, dtype, shape, begin, end } of header.tensors) {
    // The copy aligns the data for the typed arrays.
    const buffer = Uint8Array.prototype.slice.call(bytes, begin, end).buffer;
    tensors.set(name, { shape, data: decode(dtype, buffer, `${file}: tensor '${name}'`) });
  }
  return new HostTensors(file, tensors);
}

function decode(dtype: string, buffer: ArrayBuffer, where: string): Float32Array | Int32Array {
  if (dtype === 'F32') return new Float32Array(buffer);
  if (dtype === 'F64') return Float32Array.from(new Float64Array(buffer));
  if (dtype === 'BF16') return new Float32Array(Uint32Array.from(new Uint16Array(buffer), (bits) => bits << 16).buffer);
  if (dtype === 'I32') return new Int32Array(buffer);
  if (dtype === 'U8' || dtype === 'BOOL') return Int32Array.from(new Uint8Array(buffer));
  if (dtype !== 'I64') throw new WeightsError(`${where}: ${dtype} is not read here, expected F32, F64, BF16, I64, I32, U8 or BOOL`);
  return Int32Array.from(new BigInt64Array(buffer), (value) => {
    if (BigInt.asIntN(32, value) !== value) throw new WeightsError(`${where}: ${value} does not fit 32 bits`);
    return Number(value);
  });
}

/** Collects the comparisons of one case, and insists that nothing the case expects was left out. */
export class Comparison {
  readonly tensors: TensorError[] = [];
  private readonly left: Set<string>;

  constructor(private readonly expected: HostTensors) {
    this.left = new Set(expected.names);
  }

  /** Compares what was computed with the expected tensor of that name. @throws WeightsError, ShapeError */
  async check(name: string, got: Tensor | ArrayLike<number>): Promise<void> {
    const { data, shape } = this.expected.get(name);
    if (got instanceof Tensor && got.size !== data.length) {
      throw new ShapeError(`${this.expected.file}: '${name}' is [${shape}], computed [${got.shape}]`);
    }
    this.tensors.push(compare(name, got instanceof Tensor ? await got.toFloat32() : got, data));
    this.left.delete(name);
  }

  /** @throws ConfigError when the case expects a tensor that nobody computed */
  finish(): ParityResult {
    if (this.left.size > 0) {
      const names = [...this.left];
      const shown = `${names.slice(0, 5).join(', ')}${names.length > 5 ? ', …' : ''}`;
      throw new ConfigError(`${this.expected.file}: ${names.length} expected tensors were not computed: ${shown}`);
    }
    return { tensors: this.tensors };
  }
}

/** Relative error max|got - expected| / max(1e-6, max|expected|). A value that is NaN or infinite gives NaN, which passes no tolerance. */
export function compare(name: string, got: ArrayLike<number>, expected: ArrayLike<number>): TensorError {
  if (got.length !== expected.length) throw new ShapeError(`'${name}': computed ${got.length} elements, expected ${expected.length}`);
  let maxAbs = 0;
  let scale = 1e-6;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(got[i] - expected[i]);
    if (!Number.isFinite(difference)) return { name, relError: NaN, maxAbs: NaN };
    maxAbs = Math.max(maxAbs, difference);
    scale = Math.max(scale, Math.abs(expected[i]));
  }
  return { name, relError: maxAbs / scale, maxAbs };
}
