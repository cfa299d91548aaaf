import { DisposedError, fromNative, ShapeError } from '../binding/errors';
import { loadBinding } from '../binding/load';
import type { Handle } from '../binding/types';
import type { Device } from './device';
import { adopt } from './scope';

export type DType = 'f32' | 'bf16' | 'f16' | 'f64' | 'i64' | 'i32' | 'i16' | 'i8' | 'u8' | 'bool';
/** Sizes, row-major, last dimension fastest. */
export type Shape = readonly number[];
export type HostArray = Float32Array | Int32Array | Uint16Array | Uint8Array;

/** Frees handles whose wrapper was collected without dispose(): the last resort, not the plan. */
const collected = new FinalizationRegistry<Handle>((handle) => loadBinding().binding.disposeTensor(handle));

/**
 * A contiguous array on a device. Holds memory until disposed: by `dispose()`, by the `scope()` it was created in, or, while
 * a tape needs it, when the tape lets go.
 */
export class Tensor implements Disposable {
  readonly device: Device;
  /** A leaf whose gradient is wanted: set on trainable parameters before recording. */
  requiresGrad = false;
  private readonly id: Handle;
  private references = 1;
  private ownerReleased = false;
  private info: { dtype: DType; shape: number[] } | undefined;

  /** Shares the memory of the tensor it was made from (reshape, rows). */
  readonly isView: boolean;

  constructor(device: Device, handle: Handle, isView = false) {
    this.device = device;
    this.isView = isView;
    this.id = handle;
    collected.register(this, handle, this);
    adopt(this);
  }

  /** The native handle; throws DisposedError when the memory is gone. */
  get handle(): Handle {
    if (this.references === 0) throw new DisposedError('this tensor was disposed');
    return this.id;
  }

  get shape(): Shape {
    return this.describe().shape;
  }

  get dtype(): DType {
    return this.describe().dtype;
  }

  get rank(): number {
    return this.describe().shape.length;
  }

  get size(): number {
    return this.describe().shape.reduce((product, dim) => product * dim, 1);
  }

  /** Size of a dimension; negative indices count from the back. */
  dim(i: number): number {
    const { shape } = this.describe();
    const size = shape[i < 0 ? i + shape.length : i];
    if (size === undefined) throw new ShapeError(`dimension ${i} of [${shape}] does not exist`);
    return size;
  }

  /** Reads the elements as they are stored: bf16 comes as its bits in a Uint16Array. */
  async read(): Promise<HostArray> {
    const { dtype } = this.describe();
    let bytes: ArrayBuffer;
    try {
      bytes = await this.device.binding.read(this.handle);
    } catch (error) {
      throw fromNative(error);
    }
    if (dtype === 'f32') return new Float32Array(bytes);
    if (dtype === 'i32') return new Int32Array(bytes);
    if (dtype === 'bf16') return new Uint16Array(bytes);
    if (dtype === 'u8') return new Uint8Array(bytes);
    throw new ShapeError(`reading ${dtype} tensors is not supported`);
  }

  /** Reads the elements as f32 numbers. */
  async toFloat32(): Promise<Float32Array> {
    const data = await this.read();
    if (data instanceof Float32Array) return data;
    if (!(data instanceof Uint16Array)) return Float32Array.from(data);
    const wide = new Uint32Array(data.length);
    for (let i = 0; i < data.length; i++) wide[i] = data[i] << 16;
    return new Float32Array(wide.buffer);
  }

  /** Overwrites the elements with host data of the same dtype and size. */
  write(data: HostArray): void {
    this.device.guard(() => this.device.binding.upload(this.handle, data));
  }

  dispose(): void {
    if (this.ownerReleased) return;
    this.ownerReleased = true;
    this.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  get disposed(): boolean {
    return this.references === 0;
  }

  /** Keeps the memory beyond dispose(); every retain needs one release. */
  retain(): this {
    if (this.references === 0) throw new DisposedError('this tensor was disposed');
    this.references += 1;
    return this;
  }

  release(): void {
    if (this.references === 0) return;
    this.references -= 1;
    if (this.references > 0) return;
    collected.unregister(this);
    this.device.binding.disposeTensor(this.id);
  }

  private describe(): { dtype: DType; shape: number[] } {
    if (!this.info) {
      const info = this.device.binding.tensorInfo(this.handle);
      this.info = { dtype: info[0] as DType, shape: info.slice(1) as number[] };
    }
    return this.info;
  }
}
