import type { Device } from '../src/tensor/device';
import { scope } from '../src/tensor/scope';
import { record } from '../src/tensor/tape';
import type { Tensor } from '../src/tensor/tensor';

/** Numbers in [-1, 1), the same for the same seed, exact in f32. */
export function numbers(shape: readonly number[], seed: number): number[] {
  let state = (seed * 2654435761 + 12345) >>> 0;
  const count = shape.reduce((product, size) => product * size, 1);
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) / 8388608 - 1;
  });
}

export interface GradientCheck {
  /** Largest error against central differences, relative to the largest gradient of that input. */
  tolerance?: number;
  /** Step of the differences. */
  step?: number;
  /** Maps the drawn numbers in [-1, 1) to the values of an input. */
  values?: (value: number, input: number) => number;
}

/**
 * Compares the tape's gradients of sum(build(inputs) * cotangent) with central differences, whose sum runs in f64 over the
 * f32 outputs. With the default step their own error is about 2e-4 of the largest gradient.
 */
export async function checkGradients(
  device: Device,
  shapes: number[][],
  build: (inputs: Tensor[]) => Tensor,
  { tolerance = 2e-3, step = 1 / 128, values = (value) => value }: GradientCheck = {},
): Promise<void> {
  const data = shapes.map((shape, i) => numbers(shape, i + 1).map((value) => values(value, i)));
  const inputs = shapes.map((shape, i) => device.tensor(Float32Array.from(data[i]), shape));
  for (const input of inputs) input.requiresGrad = true;
  const { result, tape } = record(() => scope(() => build(inputs)));
  const weights = numbers(result.shape, 99);
  const cotangent = device.tensor(weights, result.shape);
  const gradients = tape.gradients([result], [cotangent]);
  result.dispose();
  cotangent.dispose();

  const objective = async (): Promise<number> => {
    const output = scope(() => build(inputs));
    const found = await output.toFloat32();
    output.dispose();
    return found.reduce((sum, value, i) => sum + value * weights[i], 0);
  };
  for (const [i, input] of inputs.entries()) {
    const analytic = await gradients.get(input)!.toFloat32();
    const numeric = [];
    for (let k = 0; k < data[i].length; k++) {
      const moved = Float32Array.from(data[i]);
      moved[k] = data[i][k] + step;
      const high = moved[k];
      input.write(moved);
      const above = await objective();
      moved[k] = data[i][k] - step;
      const low = moved[k];
      input.write(moved);
      numeric.push((above - (await objective())) / (high - low));
    }
    input.write(Float32Array.from(data[i]));
    const scale = Math.max(1e-3, ...numeric.map(Math.abs));
    numeric.forEach((value, k) => {
      const error = Math.abs(analytic[k] - value) / scale;
      if (!(error <= tolerance)) throw new Error(`input ${i}, element ${k}: gradient ${analytic[k]}, differences ${value} (error ${error})`);
    });
  }
  for (const tensor of [...gradients.values(), ...inputs]) tensor.dispose();
}
