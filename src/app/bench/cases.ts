import type { BenchSettings } from '../../config/bench';
import type { BenchCase } from '../../report/bench-report';
import type { Device } from '../../tensor/device';

/** What a bench runs with. */
export interface BenchContext {
  device: Device;
  /** Type of weights and activations. */
  dtype: 'f32' | 'bf16';
  settings: BenchSettings;
  signal: AbortSignal;
}

/** A named bench; it gives one or more cases. */
export interface Bench {
  name: string;
  describe: string;
  run(context: BenchContext): Promise<BenchCase[]>;
}
