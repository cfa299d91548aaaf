/**
 * Optimisers over parameters by name. Steps only enqueue; states live on the device and are saved and restored by name, so a
 * resumed run continues with the same bits.
 */
import { adamw, axpyInPlace, lerpInPlace, newtonSchulz, scaleInPlace } from './ops';
import { scope, unscoped } from './scope';
import type { Tensor } from './tensor';

export type Parameters = ReadonlyMap<string, Tensor>;
export type Gradients = ReadonlyMap<Tensor, Tensor>;

export interface Optimizer {
  /** One update with learning rate `lr`; parameters without a gradient stay. */
  step(gradients: Gradients, lr: number): void;
  /** State tensors by name, for checkpoints. */
  state(): Map<string, Tensor>;
  /** Number of updates so far: part of the state (bias correction). */
  updates: number;
  dispose(): void;
}

export interface AdamWOptions {
  beta1?: number;
  beta2?: number;
  eps?: number;
  /** Decoupled (Loshchilov & Hutter 2019), on matrices and larger only: never on biases, norms and gains. */
  weightDecay?: number;
}

export class AdamW implements Optimizer {
  updates = 0;
  private readonly first = new Map<string, Tensor>();
  private readonly second = new Map<string, Tensor>();

  constructor(
    private readonly parameters: Parameters,
    private readonly options: AdamWOptions = {},
  ) {
    for (const [name, parameter] of parameters) {
      this.first.set(name, zeros(parameter));
      this.second.set(name, zeros(parameter));
    }
  }

  step(gradients: Gradients, lr: number): void {
    this.updates += 1;
    const { beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weightDecay = 0 } = this.options;
    for (const [name, parameter] of this.parameters) {
      const gradient = gradients.get(parameter);
      const [m, v] = [this.first.get(name), this.second.get(name)];
      if (!gradient || !m || !v) continue;
      const decay = parameter.rank >= 2 ? weightDecay : 0;
      adamw(parameter, gradient, m, v, { lr, beta1, beta2, eps, weightDecay: decay, step: this.updates });
    }
  }

  state(): Map<string, Tensor> {
    const state = new Map<string, Tensor>();
    for (const [name, tensor] of this.first) state.set(`${name}.first_moment`, tensor);
    for (const [name, tensor] of this.second) state.set(`${name}.second_moment`, tensor);
    return state;
  }

  dispose(): void {
    for (const tensor of this.state().values()) tensor.dispose();
  }
}

/**
 * Muon (Jordan et al. 2024): momentum, then the nearest orthogonal matrix by five Newton-Schulz iterations. For the matrices
 * inside transformer blocks; everything else takes AdamW. `lr` is relative to an update of unit spectral norm, scaled by
 * sqrt(max(1, rows / columns)).
 */
export class Muon implements Optimizer {
  updates = 0;
  private readonly momentum = new Map<string, Tensor>();

  constructor(
    private readonly parameters: Parameters,
    private readonly options: { momentum?: number; weightDecay?: number } = {},
  ) {
    for (const [name, parameter] of parameters) this.momentum.set(name, zeros(parameter));
  }

  step(gradients: Gradients, lr: number): void {
    this.updates += 1;
    const { momentum = 0.95, weightDecay = 0 } = this.options;
    for (const [name, parameter] of this.parameters) {
      const gradient = gradients.get(parameter);
      const buffer = this.momentum.get(name);
      if (!gradient || !buffer) continue;
      scope(() => {
        lerpInPlace(buffer, gradient, 1 - momentum);
        // Nesterov: look ahead along the momentum.
        const ahead = gradient.device.empty(gradient.shape);
        scaleInPlace(ahead, 0);
        axpyInPlace(ahead, gradient, 1 - momentum);
        axpyInPlace(ahead, buffer, momentum);
        const direction = newtonSchulz(ahead);
        const [rows, columns] = parameter.shape;
        if (weightDecay > 0) scaleInPlace(parameter, 1 - lr * weightDecay);
        axpyInPlace(parameter, direction, -lr * Math.sqrt(Math.max(1, rows / columns)));
      });
    }
  }

  state(): Map<string, Tensor> {
    return new Map([...this.momentum].map(([name, tensor]) => [`${name}.momentum`, tensor]));
  }

  dispose(): void {
    for (const tensor of this.momentum.values()) tensor.dispose();
  }
}

/** Exponential moving average of parameters: what is shipped, because it is smoother than the last step. */
export class Ema {
  readonly averages = new Map<string, Tensor>();

  constructor(
    private readonly parameters: Parameters,
    private readonly decay: number,
  ) {
    for (const [name, parameter] of parameters) {
      const copy = zeros(parameter);
      axpyInPlace(copy, parameter, 1);
      this.averages.set(name, copy);
    }
  }

  /** Warms up: the decay of update n is at most (1 + n) / (10 + n). */
  update(step: number): void {
    const decay = Math.min(this.decay, (1 + step) / (10 + step));
    for (const [name, parameter] of this.parameters) {
      const average = this.averages.get(name);
      if (average) lerpInPlace(average, parameter, 1 - decay);
    }
  }

  dispose(): void {
    for (const tensor of this.averages.values()) tensor.dispose();
  }
}

function zeros(parameter: Tensor): Tensor {
  return unscoped(() => {
    const tensor = parameter.device.empty(parameter.shape);
    tensor.write(new Float32Array(parameter.size));
    return tensor;
  });
}
