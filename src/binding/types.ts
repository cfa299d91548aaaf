/** The add-on's exports, written by hand once; test/unit/binding.test.ts compares them with the binary. */
export type Handle = number;

/** What an op accepts: a tensor handle or number, a string, an integer list, a flag, or null for an absent tensor. */
export type NativeArg = number | string | boolean | null | readonly number[];
export type NativeOp = (...args: NativeArg[]) => Handle | (Handle | null)[];

export interface MemoryInfo {
  /** Bytes in live tensors, rounded to the allocator's size classes. */
  usedBytes: number;
  /** Bytes kept for reuse. */
  cachedBytes: number;
  peakBytes: number;
  blocks: number;
  /** Live tensor handles of this device. */
  liveTensors: number;
}

export interface BuildInfo {
  compiler: string;
  napiVersion: number;
  cpuFeatures: string;
  threads: number;
  cuda: boolean;
  cudaRuntime?: string;
  cudaArchitectures?: string;
  cudaDeviceCount?: number;
  /** Why no CUDA device can be used; empty when one can. */
  cudaUnavailable?: string;
  cudaDevices?: string[];
}

export interface Binding {
  buildInfo(): BuildInfo;
  setThreads(threads: number): void;
  createDevice(spec: string): { handle: Handle; name: string; kind: 'cpu' | 'cuda' | 'null' };
  disposeDevice(device: Handle): void;
  sync(device: Handle): Promise<void>;
  abort(device: Handle): void;
  memory(device: Handle): MemoryInfo;
  /** Calls and seconds by op since the last call (CPU devices). */
  opTimes(device: Handle): Record<string, [number, number]>;
  trim(device: Handle): void;
  setMatmulPrecision(device: Handle, precision: string): void;
  empty(device: Handle, shape: readonly number[], dtype: string): Handle;
  upload(tensor: Handle, data: ArrayBufferView): void;
  read(tensor: Handle): Promise<ArrayBuffer>;
  tensorInfo(tensor: Handle): [string, ...number[]];
  reshape(tensor: Handle, shape: readonly number[]): Handle;
  narrowRows(tensor: Handle, start: number, length: number): Handle;
  disposeTensor(tensor: Handle): void;
  openSafetensors(path: string): Handle;
  safetensorsEntries(file: Handle): { entries: Record<string, [string, ...number[]]>; metadata: Record<string, string> };
  loadTensor(device: Handle, file: Handle, name: string, dtype: string): Handle;
  closeSafetensors(file: Handle): void;
  raycast(scene: Float32Array, cameras: Float32Array, width: number, height: number, spp: number): { rgb: Float32Array; depth: Float32Array; ids: Int32Array };
  raycastGBuffer(scene: Float32Array, cameras: Float32Array, width: number, height: number, spp: number): { samples: Uint8Array; depth: Float32Array; ids: Int32Array };
  shadeGBuffer(scene: Float32Array, samples: Uint8Array, width: number, height: number, spp: number): Float32Array;
  ops: Record<string, NativeOp>;
}
