import { WeightsError } from '../binding/errors';
import type { Shape, Tensor } from './tensor';

/** Where a network takes its parameters from: a checkpoint, or an initialiser. */
export interface WeightSource {
  /** The parameter of that full name; checks the shape. Throws WeightsError naming the key and both shapes. */
  get(name: string, shape: Shape): Tensor;
  has(name: string): boolean;
  /** Shape of a stored parameter, for reading dimensions from a file; undefined when it is not there. */
  shapeOf(name: string): Shape | undefined;
}

/**
 * A view of a source below a prefix. Networks are built from it: `weights.at('attn').get('to_q.weight', [d, d])`. Every
 * parameter handed out is recorded in `parameters`, so the network knows what it is made of, under its checkpoint names.
 */
export class Weights {
  constructor(
    private readonly source: WeightSource,
    private readonly prefix = '',
    readonly parameters: Map<string, Tensor> = new Map(),
    private readonly modules: Map<string, object> = new Map(),
  ) {}

  at(path: string | number): Weights {
    return new Weights(this.source, this.full(String(path)) + '.', this.parameters, this.modules);
  }

  get(name: string, shape: Shape): Tensor {
    const full = this.full(name);
    const known = this.parameters.get(full);
    if (known) return known;
    const tensor = this.source.get(full, shape);
    this.parameters.set(full, tensor);
    return tensor;
  }

  has(name: string): boolean {
    return this.source.has(this.full(name));
  }

  shapeOf(name: string): Shape | undefined {
    return this.source.shapeOf(this.full(name));
  }

  /** Remembers the module that lives at this prefix, so that adapters (LoRA) find it by its checkpoint name. */
  register(module: object): void {
    this.modules.set(this.prefix.replace(/\.$/, ''), module);
  }

  /** Modules by path, as registered. */
  registered(): ReadonlyMap<string, object> {
    return this.modules;
  }

  private full(name: string): string {
    return this.prefix + name;
  }
}

/** Checks a shape the way every source does. */
export function expectShape(name: string, found: Shape, expected: Shape, where: string): void {
  if (found.length === expected.length && found.every((size, i) => size === expected[i])) return;
  throw new WeightsError(`${where}: '${name}' is [${found}], the network needs [${expected}]`);
}
