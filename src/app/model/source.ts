import type { Device } from '../../tensor/device';
import { RandomWeights } from '../../tensor/random-weights';
import { SafetensorsWeights } from '../../tensor/safetensors';
import type { Tensor } from '../../tensor/tensor';
import type { WeightSource } from '../../tensor/weights';

/** Parameters of one network: from its checkpoint, or drawn. */
export interface NetworkSource extends WeightSource {
  readonly random: boolean;
  /** Loads by name with whatever shape the checkpoint has. */
  load(name: string): Tensor;
  names(): string[];
  dispose(): void;
}

/**
 * Opens a network's checkpoint (its headers are checked here), or random weights where it has none. @throws
 * WeightsError
 */
export function networkSource(
  device: Device,
  { weights, where }: { weights?: string; where: string },
  { dtype, seed }: { dtype: 'f32' | 'bf16'; seed: number },
): NetworkSource {
  if (weights !== undefined)
    return Object.assign(new SafetensorsWeights(device, weights, { dtype }), { random: false });
  const drawn = new RandomWeights(device, { seed, dtype });
  return {
    random: true,
    get: (name, shape) => drawn.get(`${where}.${name}`, shape),
    has: () => true,
    shapeOf: () => undefined,
    load: () => {
      throw new TypeError(`${where}: random weights have no shapes of their own`);
    },
    names: () => [],
    dispose: () => undefined,
  };
}

/** Bytes of all parameters in `dtype`; undefined for random weights. */
export function parameterBytes(source: NetworkSource, dtype: 'f32' | 'bf16'): number | undefined {
  if (source.random) return undefined;
  const elements = source
    .names()
    .reduce((sum, name) => sum + (source.shapeOf(name) ?? []).reduce((n, size) => n * size, 1), 0);
  return elements * (dtype === 'f32' ? 4 : 2);
}
