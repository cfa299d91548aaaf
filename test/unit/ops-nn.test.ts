// The wrappers of src/tensor/ops/nn.ts on the tape: values and gradients against float64 in JavaScript, gradients by central
// differences of the float64 forward.
import { Device } from '../../src/tensor/device';
import * as ops from '../../src/tensor/ops/nn';
import { scope } from '../../src/tensor/scope';
import { record } from '../../src/tensor/tape';
import type { Tensor } from '../../src/tensor/tensor';
import { collectLeftovers } from '../leftovers';

type Numbers = number[];
type Forward = (inputs: Numbers[]) => Numbers;

// Greatest |a − e| / max |e| seen over all cases below × 1.05.
const VALUE_TOLERANCE = 3.6e-7;
const GRADIENT_TOLERANCE = 3.6e-7;

let device: Device;
beforeAll(() => {
  device = Device.open('cpu');
});

/** Deterministic numbers of about normal size that f32 holds exactly. */
function numbers(count: number, seed: number): Numbers {
  let state = seed * 2654435761;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.fround((state / 2 ** 32 - 0.5) * 3);
  });
}

function count(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

function relativeError(actual: ArrayLike<number>, expected: Numbers): number {
  expect(actual.length).toBe(expected.length);
  let peak = 1e-6;
  let error = 0;
  for (let i = 0; i < expected.length; i++) {
    peak = Math.max(peak, Math.abs(expected[i]));
    error = Math.max(error, Math.abs(actual[i] - expected[i]));
  }
  return error / peak;
}

function centralDifferences(forward: Forward, inputs: Numbers[], which: number, cotangent: Numbers): Numbers {
  const step = 1e-5;
  const loss = (): number => forward(inputs).reduce((sum, value, i) => sum + value * cotangent[i], 0);
  return inputs[which].map((value, i) => {
    inputs[which][i] = value + step;
    const above = loss();
    inputs[which][i] = value - step;
    const below = loss();
    inputs[which][i] = value;
    return (above - below) / (2 * step);
  });
}

/** Checks the value of `wrapper` and its gradient for each input against the float64 `forward`. */
async function checkGradients(shapes: number[][], wrapper: (tensors: Tensor[]) => Tensor, forward: Forward): Promise<void> {
  const inputs = shapes.map((shape, i) => numbers(count(shape), i + 1));
  const expected = forward(inputs);
  const cotangent = numbers(expected.length, 99);
  const tensors = inputs.map((values, i) => device.tensor(Float32Array.from(values), shapes[i]));
  expect(relativeError(await wrapper(tensors).toFloat32(), expected)).toBeLessThan(VALUE_TOLERANCE);

  await collectLeftovers();
  // All at once, then each alone: what is not needed must not be missed.
  const subsets = [tensors.map((_, i) => i), ...tensors.map((_, i) => [i])];
  for (const subset of subsets) {
    for (const [i, tensor] of tensors.entries()) tensor.requiresGrad = subset.includes(i);
    const before = device.memory().liveTensors;
    const { result, tape } = record(() => scope(() => wrapper(tensors)));
    expect(relativeError(await result.toFloat32(), expected)).toBeLessThan(VALUE_TOLERANCE);
    const upstream = device.tensor(Float32Array.from(cotangent), result.shape);
    const gradients = tape.gradients([result], [upstream]);
    expect([...gradients.keys()].map((tensor) => tensors.indexOf(tensor)).sort()).toEqual(subset);
    for (const i of subset) {
      const gradient = gradients.get(tensors[i]) as Tensor;
      expect(gradient.shape).toEqual(shapes[i]);
      const numeric = centralDifferences(forward, inputs, i, cotangent);
      expect(relativeError(await gradient.toFloat32(), numeric)).toBeLessThan(GRADIENT_TOLERANCE);
      gradient.dispose();
    }
    upstream.dispose();
    result.dispose();
    expect(device.memory().liveTensors).toBe(before);
  }
}

/** c[i, j] = Σ_l a[i, l] b[l, j] with a [m, k] and b [k, n] given as element functions. */
function product(m: number, n: number, k: number, a: (i: number, l: number) => number, b: (l: number, j: number) => number): Numbers {
  const out: Numbers = [];
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let l = 0; l < k; l++) sum += a(i, l) * b(l, j);
      out.push(sum);
    }
  return out;
}

function rows(values: Numbers, dim: number, f: (row: Numbers, index: number) => Numbers): Numbers {
  return Array.from({ length: values.length / dim }, (_, i) => f(values.slice(i * dim, (i + 1) * dim), i)).flat();
}

function standardise(row: Numbers, eps: number): Numbers {
  const mean = row.reduce((sum, v) => sum + v, 0) / row.length;
  const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / row.length;
  return row.map((v) => (v - mean) / Math.sqrt(variance + eps));
}

function erf(x: number): number {
  // Maclaurin series: exact to float64 for the |x| < 4 that occur here.
  let term = x;
  let sum = x;
  for (let n = 1; n < 100; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

const activations: Record<ops.Activation, (x: number) => number> = {
  none: (x) => x,
  gelu_tanh: (x) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  gelu_erf: (x) => (x / 2) * (1 + erf(x / Math.SQRT2)),
  quick_gelu: (x) => x / (1 + Math.exp(-1.702 * x)),
  silu: (x) => x / (1 + Math.exp(-x)),
  relu: (x) => Math.max(x, 0),
};

function attentionReference(lq: number, lk: number, heads: number, dim: number, causal: boolean, bias?: Numbers): Forward {
  return ([q, k, v]) => {
    const out: Numbers = new Array<number>(q.length).fill(0);
    const batch = q.length / (lq * heads * dim);
    for (let b = 0; b < batch; b++)
      for (let i = 0; i < lq; i++)
        for (let h = 0; h < heads; h++) {
          const at = ((b * lq + i) * heads + h) * dim;
          const keys = causal ? Math.min(i + 1, lk) : lk;
          const scores = Array.from({ length: keys }, (_, j) => {
            let score = 0;
            for (let c = 0; c < dim; c++) score += q[at + c] * k[((b * lk + j) * heads + h) * dim + c];
            return Math.exp(score / Math.sqrt(dim) + (bias?.[(h * lq + i) * lk + j] ?? 0));
          });
          const total = scores.reduce((sum, p) => sum + p, 0);
          for (let j = 0; j < keys; j++)
            for (let c = 0; c < dim; c++) out[at + c] += (scores[j] / total) * v[((b * lk + j) * heads + h) * dim + c];
        }
    return out;
  };
}

describe('matmul and linear', () => {
  test('matmul of matrices, transposed in every way', async () => {
    for (const transposeA of [false, true])
      for (const transposeB of [false, true])
        await checkGradients(
          [transposeA ? [4, 3] : [3, 4], transposeB ? [5, 4] : [4, 5]],
          ([a, b]) => ops.matmul(a, b, { transposeA, transposeB }),
          ([a, b]) =>
            product(3, 5, 4, (i, l) => (transposeA ? a[l * 3 + i] : a[i * 4 + l]), (l, j) => (transposeB ? b[j * 4 + l] : b[l * 5 + j])),
        );
  });

  test('matmul over a batch', async () => {
    await checkGradients(
      [[2, 3, 4], [2, 5, 4]],
      ([a, b]) => ops.matmul(a, b, { transposeB: true }),
      ([a, b]) => [0, 1].flatMap((z) => product(3, 5, 4, (i, l) => a[z * 12 + i * 4 + l], (l, j) => b[z * 20 + j * 4 + l])),
    );
  });

  test.each(Object.keys(activations) as ops.Activation[])('linear with activation %s', async (activation) => {
    await checkGradients(
      [[2, 3, 4], [5, 4], [5]],
      ([x, weight, bias]) => ops.linear(x, weight, bias, activation),
      ([x, weight, bias]) =>
        product(6, 5, 4, (i, l) => x[i * 4 + l], (l, j) => weight[j * 4 + l]).map((y, i) => activations[activation](y + bias[i % 5])),
    );
  });

  test('a frozen linear keeps no input', () => {
    const x = device.tensor(new Float32Array(6), [2, 3]);
    const weight = device.tensor(new Float32Array(12), [4, 3]);
    x.requiresGrad = true;
    const { result, tape } = record(() => ops.linear(x, weight));
    const leaf = x;
    leaf.dispose();
    expect(leaf.disposed).toBe(true);
    expect(tape.gradients([result]).get(leaf)?.shape).toEqual([2, 3]);
  });
});

describe('attention', () => {
  test.each([false, true])('causal %s', async (causal) => {
    const shape = [2, 4, 2, 3];
    await checkGradients([shape, shape, shape], ([q, k, v]) => ops.attention(q, k, v, { causal }), attentionReference(4, 4, 2, 3, causal));
  });

  test('across sequences, with a bias', async () => {
    await checkGradients(
      [[2, 3, 2, 4], [2, 5, 2, 4], [2, 5, 2, 4], [2, 3, 5]],
      ([q, k, v, bias]) => ops.attention(q, k, v, { bias }),
      ([q, k, v, bias]) => attentionReference(3, 5, 2, 4, false, bias)([q, k, v]),
    );
  });
});

describe('norms', () => {
  const scaled = (row: Numbers, weight: Numbers, bias?: Numbers): Numbers => row.map((v, i) => v * weight[i] + (bias?.[i] ?? 0));

  test('layernorm', async () => {
    await checkGradients(
      [[2, 3, 7], [7], [7]],
      ([x, weight, bias]) => ops.layernorm(x, weight, bias, 1e-5),
      ([x, weight, bias]) => rows(x, 7, (row) => scaled(standardise(row, 1e-5), weight, bias)),
    );
  });

  test('layernorm without weight and bias', async () => {
    await checkGradients([[4, 6]], ([x]) => ops.layernorm(x, null, null, 1e-6), ([x]) => rows(x, 6, (row) => standardise(row, 1e-6)));
  });

  test('rmsnorm', async () => {
    await checkGradients(
      [[3, 2, 5], [5]],
      ([x, weight]) => ops.rmsnorm(x, weight),
      ([x, weight]) =>
        rows(x, 5, (row) => {
          const r = 1 / Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / 5 + 1e-6);
          return scaled(row.map((v) => v * r), weight);
        }),
    );
  });

  test('modulate', async () => {
    await checkGradients(
      [[2, 3, 5], [2, 5], [2, 5]],
      ([x, shift, scale]) => ops.modulate(x, shift, scale),
      ([x, shift, scale]) =>
        rows(x, 5, (row, i) => {
          const item = Math.floor(i / 3) * 5;
          return standardise(row, 1e-6).map((v, c) => v * (1 + scale[item + c]) + shift[item + c]);
        }),
    );
  });
});

describe('the rest', () => {
  test('gatedResidual', async () => {
    await checkGradients(
      [[2, 3, 4], [2, 4], [2, 3, 4]],
      ([x, gate, branch]) => ops.gatedResidual(x, gate, branch),
      ([x, gate, branch]) => x.map((v, i) => v + gate[Math.floor(i / 12) * 4 + (i % 4)] * branch[i]),
    );
  });

  test.each([2, 4, 8])('rope with blocks of %i', async (block) => {
    const angles = numbers(3 * 4, 5);
    const cos = angles.map((a) => Math.fround(Math.cos(a)));
    const sin = angles.map((a) => Math.fround(Math.sin(a)));
    const [cosTensor, sinTensor] = [cos, sin].map((table) => device.tensor(Float32Array.from(table), [3, 4]));
    await checkGradients(
      [[1, 3, 2, 8]],
      ([x]) => ops.rope(x, cosTensor, sinTensor, block),
      ([x]) =>
        rows(x, 8, (row, i) => {
          const out = [...row];
          for (let pair = 0; pair < 4; pair++) {
            const p = Math.floor(pair / (block / 2)) * block + (pair % (block / 2));
            const at = Math.floor(i / 2) * 4 + pair;
            out[p] = row[p] * cos[at] - row[p + block / 2] * sin[at];
            out[p + block / 2] = row[p] * sin[at] + row[p + block / 2] * cos[at];
          }
          return out;
        }),
    );
  });

  test('embedding', async () => {
    const ids = [3, 0, 3, 1, 3, 2];
    const idTensor = device.tensor(Int32Array.from(ids), [2, 3]);
    await checkGradients(
      [[5, 4]],
      ([table]) => ops.embedding(idTensor, table),
      ([table]) => ids.flatMap((id) => table.slice(id * 4, id * 4 + 4)),
    );
  });

  test('an id outside the table fails the next wait', async () => {
    const y = ops.embedding(device.tensor(Int32Array.from([0, 9]), [2]), device.tensor(new Float32Array(8), [4, 2]));
    await expect(y.read()).rejects.toThrow('ids[1] is 9');
  });

  test('sinusoidalEmbedding', async () => {
    const t = [0, 1, 988, -2.5];
    const y = await ops.sinusoidalEmbedding(device.tensor(Float32Array.from(t), [4]), 8).toFloat32();
    // The exponent is rounded to f32, as in the reference networks.
    const frequency = (k: number): number => Math.fround(Math.exp(Math.fround(Math.fround(-Math.log(10000)) * k) / 4));
    const expected = t.flatMap((s) =>
      [Math.cos, Math.sin].flatMap((f) => [0, 1, 2, 3].map((k) => f(Math.fround(s * frequency(k))))),
    );
    expect(relativeError(y, expected)).toBeLessThan(6e-8);
  });

  test('shapes are checked at the call, with both shapes in the message', () => {
    const x = device.tensor(new Float32Array(6), [2, 3]);
    expect(() => ops.linear(x, device.tensor(new Float32Array(8), [2, 4]))).toThrow(/inner sizes differ, 3 of a \[2,3\] and 4 of b \[2,4\]/);
    expect(() => ops.modulate(x, x, x)).toThrow('modulate: expected x with 3 dimensions, got [2,3]');
    expect(() => ops.rmsnorm(x, device.tensor(new Float32Array(2), [2]))).toThrow('rmsnorm: expected weight [3], got [2] (x is [2,3])');
  });
});
