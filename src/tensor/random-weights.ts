import type { Device } from './device';
import { fill, randn } from './ops';
import { unscoped } from './scope';
import type { DType, Shape, Tensor } from './tensor';
import type { WeightSource } from './weights';

export interface RandomWeightsOptions {
  seed: number;
  dtype?: DType;
  /** Initialiser of a parameter by its full name; what it leaves undefined takes the default rule. */
  rule?: (name: string, shape: Shape) => Initialiser | undefined;
}

export type Initialiser = { kind: 'normal'; std: number } | { kind: 'constant'; value: number };

/**
 * Parameters drawn instead of loaded: for training from scratch, and for benchmarks at full size. Default rule: norm weights,
 * gains and scales 1; biases 0; everything else N(0, 1/fanIn) with fanIn the product of all but the first dimension.
 * The draw of a parameter depends on the seed and its name alone.
 */
export class RandomWeights implements WeightSource {
  constructor(
    private readonly device: Device,
    private readonly options: RandomWeightsOptions,
  ) {}

  has(): boolean {
    return true;
  }

  shapeOf(): undefined {
    return undefined;
  }

  get(name: string, shape: Shape): Tensor {
    const { seed, dtype, rule } = this.options;
    const init = rule?.(name, shape) ?? defaultRule(name, shape);
    return unscoped(() => {
      const tensor = this.device.empty(shape, dtype ?? this.device.defaultDtype);
      if (init.kind === 'constant') fill(tensor, init.value);
      else randn(tensor, { seed, stream: streamOf(name), std: init.std });
      return tensor;
    });
  }
}

function defaultRule(name: string, shape: Shape): Initialiser {
  if (/(norm[^.]*|layer_norm[^.]*|ls\d)\.(weight|scale|gamma)$|\.(scale|gamma)$/.test(name) && shape.length === 1) {
    return { kind: 'constant', value: 1 };
  }
  if (name.endsWith('bias')) return { kind: 'constant', value: 0 };
  const fanIn = shape.slice(1).reduce((product, size) => product * size, 1);
  return { kind: 'normal', std: 1 / Math.sqrt(Math.max(1, fanIn)) };
}

/** FNV-1a of the name: the Philox stream of a parameter. */
function streamOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193) >>> 0;
  return hash;
}
