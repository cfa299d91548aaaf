import { DisposedError, ShapeError } from '../../src/binding/errors';
import { Device } from '../../src/tensor/device';
import {
  conv2d,
  convTranspose2d,
  groupNorm,
  patchify,
  resizeBicubic,
  resizeBilinear,
  unpatchify,
  upsampleNearest2x,
} from '../../src/tensor/ops/conv';
import { record } from '../../src/tensor/tape';
import type { Tensor } from '../../src/tensor/tensor';

const device = Device.open('cpu');

/** Repeatable numbers in (-1, 1). */
function numbers(count: number, seed: number): Float32Array {
  let state = seed * 2654435761 + 1;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 32) * 2 - 1;
  });
}

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/**
 * Largest |analytic - numeric| over directions for the gradient of sum(y * c), relative to the numeric slope's scale.
 * All ops here are differentiable, so central differences of step h are off by O(h²) plus rounding over h.
 */
async function gradientError(shapes: number[][], build: (inputs: Tensor[]) => Tensor): Promise<number> {
  const values = shapes.map((shape, i) => numbers(sizeOf(shape), i + 1));
  const leaves = values.map((data, i) => {
    const leaf = device.tensor(data, shapes[i]);
    leaf.requiresGrad = true;
    return leaf;
  });
  const { result, tape } = record(() => build(leaves));
  const cotangentData = numbers(result.size, 99);
  const gradients = tape.gradients([result], [device.tensor(cotangentData, result.shape)]);
  expect(gradients.size).toBe(leaves.length);
  const loss = async (data: Float32Array[]) => {
    const y = await build(data.map((d, i) => device.tensor(d, shapes[i]))).toFloat32();
    return y.reduce((sum, value, i) => sum + value * cotangentData[i], 0);
  };
  let worst = 0;
  for (const [i, leaf] of leaves.entries()) {
    const gradient = await gradients.get(leaf)!.toFloat32();
    expect(gradients.get(leaf)!.shape).toEqual(shapes[i]);
    const direction = numbers(values[i].length, 50 + i);
    const h = 2 ** -7;
    const moved = (sign: number) =>
      values.map((data, j) => (j === i ? data.map((v, k) => v + sign * h * direction[k]) : data));
    const numeric = ((await loss(moved(1))) - (await loss(moved(-1)))) / (2 * h);
    const analytic = gradient.reduce((sum, value, k) => sum + value * direction[k], 0);
    const scale = Math.sqrt(gradient.reduce((sum, value) => sum + value * value, 0));
    expect(scale).toBeGreaterThan(0);
    worst = Math.max(worst, Math.abs(analytic - numeric) / scale);
  }
  return worst;
}

test('conv2d equals hand-computed sums, with padding on two sides only', async () => {
  const x = device.tensor([1, 2, 3, 4], [1, 1, 2, 2]);
  const weight = device.tensor([1, 10, 100, 1000], [1, 1, 2, 2]);
  const y = conv2d(x, weight, device.tensor([0.5]), { padding: [0, 0, 1, 1] });
  expect(y.shape).toEqual([1, 1, 2, 2]);
  expect([...(await y.toFloat32())]).toEqual([4321.5, 402.5, 43.5, 4.5]);
});

test('convTranspose2d places each pixel times the kernel', async () => {
  const x = device.tensor([1, 2], [1, 1, 1, 2]);
  const y = convTranspose2d(x, device.tensor([1, 2, 3, 4], [1, 1, 2, 2]), null, { stride: 2 });
  expect(y.shape).toEqual([1, 1, 2, 4]);
  expect([...(await y.toFloat32())]).toEqual([1, 2, 2, 4, 3, 4, 6, 8]);
});

test('groupNorm normalises each group and applies silu after the affine map', async () => {
  const x = device.tensor([1, 3, 10, 30], [1, 2, 1, 2]);
  const weight = device.tensor([2, 1]);
  const bias = device.tensor([0, 1]);
  const plain = await groupNorm(x, weight, bias, 2, 0).toFloat32();
  [-2, 2, 0, 2].forEach((value, i) => expect(plain[i]).toBeCloseTo(value, 6));
  const silu = await groupNorm(x, weight, bias, 2, 0, { silu: true }).toFloat32();
  silu.forEach((value, i) => expect(value).toBeCloseTo(plain[i] / (1 + Math.exp(-plain[i])), 6));
});

test('upsampleNearest2x and patchify move elements as documented', async () => {
  const x = device.tensor([1, 2, 3, 4], [1, 1, 2, 2]);
  expect([...(await upsampleNearest2x(x).toFloat32())]).toEqual([1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4]);
  // Two channels of 2 x 4: token 0 holds (channel, row, column) of the left half.
  const image = device.tensor(Float32Array.from({ length: 16 }, (_, i) => i), [1, 2, 2, 4]);
  const tokens = patchify(image, 2);
  expect(tokens.shape).toEqual([1, 2, 8]);
  expect([...(await tokens.toFloat32())]).toEqual([0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15]);
  expect([...(await unpatchify(tokens, 2, 2, 4).toFloat32())]).toEqual([...(await image.toFloat32())]);
});

test('resizeBilinear interpolates between corners or between borders', async () => {
  const x = device.tensor([0, 1, 2], [1, 1, 1, 3]);
  expect([...(await resizeBilinear(x, 1, 5, { alignCorners: true }).toFloat32())]).toEqual([0, 0.5, 1, 1.5, 2]);
  expect([...(await resizeBilinear(x, 1, 6).toFloat32())]).toEqual([0, 0.25, 0.75, 1.25, 1.75, 2]);
});

test('resizeBicubic uses the two kernels of PyTorch', async () => {
  const impulse = device.tensor([0, 0, 0, 1, 0, 0, 0], [1, 1, 1, 7]);
  // Doubling: output 6 lies 1/4 left of the impulse, output 4 lies 5/4 left.
  const plain = await resizeBicubic(impulse, 1, 14).toFloat32();
  expect(plain[6]).toBeCloseTo(1.25 * 0.25 ** 3 - 2.25 * 0.25 ** 2 + 1, 6);
  expect(plain[4]).toBeCloseTo(-0.75 * (1.25 ** 3 - 5 * 1.25 ** 2 + 8 * 1.25 - 4), 6);
  const smooth = await resizeBicubic(impulse, 1, 14, { antialias: true }).toFloat32();
  expect(smooth[6]).toBeCloseTo(1.5 * 0.25 ** 3 - 2.5 * 0.25 ** 2 + 1, 6);
  expect(smooth[4]).toBeCloseTo(-0.5 * (1.25 ** 3 - 5 * 1.25 ** 2 + 8 * 1.25 - 4), 6);
  // Weights sum to one at the borders too.
  const ones = device.tensor(new Float32Array(7).fill(1), [1, 1, 1, 7]);
  for (const width of [3, 5, 14]) {
    for (const value of await resizeBicubic(ones, 1, width,
        { antialias: true }).toFloat32()) expect(value).toBeCloseTo(1, 6);
  }
});

// Worst observed on any instruction set: 9.07e-6 (ops that are linear in each input), 4.61e-5 (group norm, where h²
// counts).
test.each<[string, number[][], (inputs: Tensor[]) => Tensor]>([
  ['conv2d', [[2, 3, 7, 6], [4, 3, 3, 3], [4]], ([x, w, b]) => conv2d(x, w, b, { padding: [1, 1, 1, 1] })],
  ['conv2d stride 2', [[2, 3, 8, 8], [4, 3, 3, 3], [4]],
      ([x, w, b]) => conv2d(x, w, b, { stride: 2, padding: [0, 0, 1, 1] })],
  ['convTranspose2d', [[2, 3, 4, 5], [3, 2, 4, 4], [2]], ([x, w, b]) => convTranspose2d(x, w, b, { stride: 4 })],
  ['upsampleNearest2x', [[2, 3, 4, 5]], ([x]) => upsampleNearest2x(x)],
  ['resizeBilinear', [[1, 2, 5, 7]], ([x]) => resizeBilinear(x, 9, 4, { alignCorners: true })],
  ['resizeBicubic', [[1, 2, 9, 7]], ([x]) => resizeBicubic(x, 4, 11, { antialias: true })],
  ['patchify', [[2, 3, 4, 6]], ([x]) => patchify(x, 2)],
  ['unpatchify', [[2, 6, 12]], ([x]) => unpatchify(x, 2, 4, 6)],
])('the tape differentiates %s', async (_, shapes, build) => {
  expect(await gradientError(shapes, build)).toBeLessThan(9.07e-6 * 1.05);
});

test('the tape differentiates groupNorm with silu, and chains of ops', async () => {
  const norm = await gradientError([[2, 4, 5, 6], [4], [4]],
      ([x, w, b]) => groupNorm(x, w, b, 2, 1e-6, { silu: true }));
  expect(norm).toBeLessThan(4.61e-5 * 1.05);
  const chain = await gradientError([[2, 3, 6, 6], [4, 3, 3, 3], [4], [4], [2, 4, 3, 3]], ([x, w, gamma, beta, v]) =>
    conv2d(upsampleNearest2x(groupNorm(conv2d(x, w, null, { padding: [1, 1, 1, 1] }), gamma, beta, 2, 1e-6,
        { silu: true })), v),
  );
  expect(chain).toBeLessThan(4.61e-5 * 1.05);
});

test('gradients are only computed where they are needed', () => {
  const x = device.tensor(numbers(18, 1), [1, 2, 3, 3]);
  const weight = device.tensor(numbers(4, 2), [2, 2, 1, 1]);
  weight.requiresGrad = true;
  const { result, tape } = record(() => conv2d(x, weight));
  const gradients = tape.gradients([result]);
  expect([...gradients.keys()]).toEqual([weight]);
});

test('wrong shapes are typed errors that show both', () => {
  const x = device.tensor(numbers(18, 1), [1, 2, 3, 3]);
  expect(() => conv2d(x, device.tensor(numbers(12, 1), [4, 3, 1, 1]))).toThrow(ShapeError);
  expect(() => conv2d(x, device.tensor(numbers(12, 1),
      [4, 3, 1, 1]))).toThrow(/\[O,2,kh,kw\].*\[4,3,1,1\].*\[1,2,3,3\]/);
  expect(() => conv2d(x, device.tensor(numbers(32, 1), [1, 2, 4, 4]))).toThrow(/does not fit/);
  expect(() => groupNorm(x, device.tensor([1, 1]), device.tensor([1, 1]),
      3)).toThrow(/2 channels cannot be cut into 3 groups/);
  expect(() => patchify(x, 2)).toThrow(/multiples of the patch size 2/);
  expect(() => resizeBilinear(x, 0, 4)).toThrow(ShapeError);
  x.dispose();
  expect(() => upsampleNearest2x(x)).toThrow(DisposedError);
});
