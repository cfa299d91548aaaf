import { fromNative, ShapeError } from '../binding/errors';
import { loadBinding } from '../binding/load';
import type { Binding, Handle, MemoryInfo } from '../binding/types';
import { Tensor } from './tensor';
import type { DType, HostArray, Shape } from './tensor';

export type MatmulPrecision = 'f32' | 'bf16';

/**
 * A device: memory and one in-order command queue. Ops enqueue and return at once; only reads and `sync` are awaited, and
 * what went wrong in between rejects them.
 */
export class Device implements Disposable {
  readonly binding: Binding;
  readonly handle: Handle;
  readonly kind: 'cpu' | 'cuda' | 'null';
  /** "cpu", "cuda:0", "null". */
  readonly name: string;
  /** dtype of activations and weights unless asked otherwise: f32 on the CPU, bf16 on CUDA. */
  readonly defaultDtype: DType;
  private disposed = false;

  private constructor(spec: string) {
    this.binding = loadBinding().binding;
    try {
      const created = this.binding.createDevice(spec);
      this.handle = created.handle;
      this.kind = created.kind;
      this.name = created.name;
    } catch (error) {
      throw fromNative(error);
    }
    this.defaultDtype = this.kind === 'cuda' ? 'bf16' : 'f32';
  }

  /**
   * Opens "cpu", "cuda", "cuda:N", "null" (runs nothing: measures the host's share) or "auto" (CUDA when there is one,
   * else the CPU with the reason on stderr). An explicit CUDA device never falls back: EnvironmentError.
   */
  static open(spec = 'auto'): Device {
    if (spec !== 'auto') return new Device(spec);
    const info = loadBinding().binding.buildInfo();
    if (!info.cuda) return new Device('cpu');
    if (!info.cudaUnavailable) return new Device('cuda');
    process.stderr.write(`rl3dedit: using the CPU: ${info.cudaUnavailable}\n`);
    return new Device('cpu');
  }

  /** Precision of the products of f32 matrices; sums are always f32. `bf16` is several times faster where there are tiles. */
  set matmulPrecision(precision: MatmulPrecision) {
    this.guard(() => this.binding.setMatmulPrecision(this.handle, precision));
  }

  empty(shape: Shape, dtype: DType = 'f32'): Tensor {
    return this.guard(() => new Tensor(this, this.binding.empty(this.handle, shape, dtype)));
  }

  /** Copies host data to the device. The array type gives the dtype: Float32Array f32, Int32Array i32, Uint8Array u8, Uint16Array bf16 bits. */
  tensor(data: HostArray | readonly number[], shape?: Shape): Tensor {
    const array = Array.isArray(data) ? Float32Array.from(data) : (data as HostArray);
    const sizes = shape ?? [array.length];
    const count = sizes.reduce((product, size) => product * size, 1);
    if (count !== array.length) throw new ShapeError(`tensor: [${sizes}] has ${count} elements, the data has ${array.length}`);
    const tensor = this.empty(sizes, dtypeOf(array));
    this.guard(() => this.binding.upload(tensor.handle, array));
    return tensor;
  }

  /** Resolves when everything enqueued so far has run; rejects with the first failure among it. */
  async sync(): Promise<void> {
    try {
      await this.binding.sync(this.handle);
    } catch (error) {
      throw fromNative(error);
    }
  }

  /** Skips everything enqueued and not yet run; pending reads reject with AbortError. */
  abort(): void {
    this.guard(() => this.binding.abort(this.handle));
  }

  memory(): MemoryInfo {
    return this.guard(() => this.binding.memory(this.handle));
  }

  /** Calls and seconds by op since the last call, most costly first (CPU devices; empty elsewhere). */
  opTimes(): { op: string; calls: number; seconds: number }[] {
    return Object.entries(this.guard(() => this.binding.opTimes(this.handle)))
      .map(([op, [calls, seconds]]) => ({ op, calls, seconds }))
      .sort((a, b) => b.seconds - a.seconds);
  }

  /** Gives cached memory back to the system. */
  trim(): void {
    this.guard(() => this.binding.trim(this.handle));
  }

  /** Tensors must be disposed first; their memory lives until then. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.binding.disposeDevice(this.handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Runs a native call; what it throws becomes a typed error. */
  guard<T>(call: () => T): T {
    try {
      return call();
    } catch (error) {
      throw fromNative(error);
    }
  }
}

const dtypes: Record<string, DType | undefined> = { Float32Array: 'f32', Int32Array: 'i32', Uint16Array: 'bf16', Uint8Array: 'u8' };

/** By name, not by constructor: arrays that native code or another context made count too. */
function dtypeOf(array: HostArray): DType {
  const dtype = dtypes[Object.prototype.toString.call(array).slice(8, -1)];
  if (dtype) return dtype;
  throw new ShapeError('tensor: expected a Float32Array, Int32Array, Uint16Array (bf16 bits) or Uint8Array');
}
