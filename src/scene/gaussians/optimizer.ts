/** Adam over the six parameters of a splat scene, each with a learning rate of its own. */
import type { Device } from '../../tensor/device';
import { indexRows, mul, splatAdam, zerosLike } from '../../tensor/ops';
import type { SplatParameters } from '../../tensor/ops';
import { scope, unscoped } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { mapParameters, parameterNames } from './gaussians';
import type { ParameterName } from './gaussians';

/** Learning rates by parameter; a parameter of rate 0 stays as it is. */
export type Rates = Record<ParameterName, number>;

/** [N] factors on the learning rates of each Gaussian, by parameter. */
export type RowScales = Partial<Record<ParameterName, Float32Array>>;

const beta1 = 0.9;
const beta2 = 0.999;
/** As 3D Gaussian splatting has it: gradients of single Gaussians are tiny. */
const eps = 1e-15;

export class SplatOptimizer {
  private first: SplatParameters;
  private second: SplatParameters;
  private updates = 0;

  private readonly rowScales = new Map<ParameterName, Tensor>();

  /** @param rowScales by parameter, [N] by which each Gaussian's learning rate is scaled; 1 where absent */
  constructor(
    private readonly device: Device,
    parameters: SplatParameters,
    rowScales: RowScales = {},
  ) {
    for (const [name, scales] of Object.entries(rowScales)) {
      this.rowScales.set(name as ParameterName, unscoped(() => device.tensor(scales, [scales.length])));
    }
    [this.first, this.second] = unscoped(() => [mapParameters(parameters, zerosLike), mapParameters(parameters, zerosLike)]);
  }

  /** One update in place. */
  step(parameters: SplatParameters, gradients: SplatParameters, rates: Rates): void {
    this.updates += 1;
    for (const name of parameterNames) {
      if (rates[name] === 0 || parameters[name].size === 0) continue;
      splatAdam(parameters[name], gradients[name], this.first[name], this.second[name], this.rowScales.get(name), {
        lr: rates[name], beta1, beta2, eps, step: this.updates,
      });
    }
  }

  /** Follows Gaussians.gather: moments of the rows in `fresh` start from zero. */
  gather(indices: Int32Array, fresh: (row: number) => boolean): void {
    const count = indices.length;
    const kept = Float32Array.from({ length: count }, (_, row) => (fresh(row) ? 0 : 1));
    const moved = (old: SplatParameters): SplatParameters =>
      scope(() => {
        const ids = this.device.tensor(indices, [count]);
        return mapParameters(old, (tensor) =>
          mul(indexRows(tensor, ids), this.device.tensor(kept, [count, ...tensor.shape.slice(1).map(() => 1)])),
        );
      });
    const old = [this.first, this.second, ...this.rowScales.values()];
    [this.first, this.second] = unscoped(() => [moved(this.first), moved(this.second)]);
    for (const [name, scales] of this.rowScales) {
      this.rowScales.set(name, unscoped(() => scope(() => indexRows(scales, this.device.tensor(indices, [count])))));
    }
    disposeAll(old);
  }

  /** Forgets the moments of one parameter. */
  reset(name: ParameterName): void {
    for (const moments of [this.first, this.second]) {
      const old = moments[name];
      moments[name] = unscoped(() => zerosLike(old));
      old.dispose();
    }
  }

  dispose(): void {
    disposeAll([this.first, this.second, ...this.rowScales.values()]);
  }
}

function disposeAll(held: readonly (Tensor | SplatParameters)[]): void {
  for (const one of held) {
    if ('means' in one) mapParameters(one, (tensor: Tensor) => tensor.dispose());
    else one.dispose();
  }
}
