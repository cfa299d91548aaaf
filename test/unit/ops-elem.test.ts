import { ConfigError, ShapeError } from '../../src/binding/errors';
import { Device } from '../../src/tensor/device';
import * as ops from '../../src/tensor/ops';
import type { UnaryKind } from '../../src/tensor/ops';
import { record } from '../../src/tensor/tape';
import type { Tensor } from '../../src/tensor/tensor';
import { checkGradients, numbers } from '../gradients';

const device = Device.open('cpu');

afterAll(() => device.dispose());

const make = (shape: number[], seed = 1): Tensor => device.tensor(numbers(shape, seed), shape);
const list = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.toFloat32());

const broadcasts: [number[], number[]][] = [
  [[2, 3, 4], [2, 3, 4]], [[2, 3, 4], [4]], [[2, 3, 4], [2, 1, 4]], [[2, 3, 4], [2, 3, 1]], [[2, 3, 4], []], [[2, 3, 4], [3, 1]],
  [[4], [2, 3, 4]], [[3, 1], [1, 4]], [[2, 1, 4, 1], [3, 1, 5]],
];
const binaries = { add: ops.add, sub: ops.sub, mul: ops.mul, div: ops.div, maximum: ops.maximum, minimum: ops.minimum };

describe('gradients against central differences', () => {
  for (const [name, op] of Object.entries(binaries)) {
    test.each(broadcasts)(`${name} of [%s] and [%s]`, async (a, b) => {
      // Divisors stay away from 0, and the operands of maximum and minimum from each other.
      const values = (value: number, input: number): number => (input === 1 ? (name === 'div' ? value + 2.5 : Math.round(value * 20) / 20 + 0.025) : Math.round(value * 20) / 20);
      await checkGradients(device, [a, b], ([x, y]) => op(x, y), { values });
    });
  }

  const positive = new Set<UnaryKind>(['log', 'sqrt', 'reciprocal']);
  const kinds: UnaryKind[] = ['gelu_tanh', 'gelu_erf', 'quick_gelu', 'silu', 'relu', 'softplus', 'exp', 'expm1', 'log', 'sqrt', 'square', 'abs', 'sigmoid', 'tanh', 'sign', 'neg', 'reciprocal'];
  test.each(kinds)('unary %s', async (kind) => {
    // Away from the kinks at 0, or from the pole.
    const values = (value: number): number => (positive.has(kind) ? value + 1.6 : 2 * value + 0.05 * Math.sign(value));
    await checkGradients(device, [[37]], ([x]) => ops.unary(x, kind), { values });
  });

  const single: Record<string, (x: Tensor) => Tensor> = {
    addScalar: (x) => ops.addScalar(x, 2), scale: (x) => ops.scale(x, -3), clamp: (x) => ops.clamp(x, -0.3, 0.4),
    powScalar: (x) => ops.powScalar(ops.addScalar(x, 2), 2.5),
    'sum of all': (x) => ops.sum(x), 'sum over a list': (x) => ops.sum(x, [0, 2]), 'sum over the last': (x) => ops.sum(x, [-1], true),
    'mean of all': (x) => ops.mean(x), 'mean over the first': (x) => ops.mean(x, [0]), 'max over the middle': (x) => ops.max(x, [1]), 'max of all': (x) => ops.max(x),
    concat: (x) => ops.concat([x, ops.square(x), ops.slice(x, 1, 0, 2)], 1), slice: (x) => ops.slice(x, 2, 1, 3),
    permute: (x) => ops.permute(x, [2, 0, 1]), softmax: (x) => ops.softmax(ops.scale(x, 3)), logSoftmax: (x) => ops.logSoftmax(ops.scale(x, 3)),
    expand: (x) => ops.expand(ops.slice(x, 1, 1, 1), [3, 4, 5]), copy: ops.copy,
    indexRows: (x) => ops.indexRows(x, device.tensor(Int32Array.from([2, 0, 2, 1]))),
    select: (x) => ops.select(device.tensor(numbers([3, 4, 5], 50).map((v) => (v > 0 ? 1 : 0)), [3, 4, 5]), ops.square(x), ops.exp(x)),
  };
  test.each(Object.entries(single))('%s', async (name, build) => {
    // max and clamp have kinks: keep the numbers further apart than the step of the differences.
    const values = (value: number): number => (name.startsWith('max') ? 8 * value : Math.round(value * 10) / 10 + 0.03);
    await checkGradients(device, [[3, 4, 5]], ([x]) => build(x), { values });
  });

  test('equal elements share the gradient of a maximum', async () => {
    const value = (x: Tensor): Tensor => ops.maximum(x, device.tensor([1, 1, 1]));
    const x = device.tensor([0, 1, 2]);
    x.requiresGrad = true;
    for (const [build, expected] of [[value, [0, 0.5, 1]], [(t: Tensor) => ops.max(t), [0, 0, 1]], [(t: Tensor) => ops.max(ops.clamp(t, -5, 1)), [0, 0.5, 0]]] as const) {
      const { result, tape } = record(() => build(x));
      expect(await list(tape.gradients([result]).get(x)!)).toEqual(expected);
    }
  });
});

describe('values', () => {
  test.each(broadcasts)('broadcasting of [%s] and [%s]', async (a, b) => {
    const rank = Math.max(a.length, b.length);
    const pad = (shape: number[]): number[] => [...new Array<number>(rank - shape.length).fill(1), ...shape];
    const [pa, pb] = [pad(a), pad(b)];
    const shape = pa.map((size, i) => Math.max(size, pb[i]));
    const at = (values: number[], sizes: number[], index: number[]): number => values[index.reduce((offset, k, i) => offset * sizes[i] + (sizes[i] === 1 ? 0 : k), 0)];
    const expected = [];
    for (let n = 0; n < shape.reduce((product, size) => product * size, 1); n++) {
      const index: number[] = [];
      for (let i = rank - 1, rest = n; i >= 0; rest = Math.floor(rest / shape[i--])) index.unshift(rest % shape[i]);
      expected.push(Math.fround(at(numbers(a, 1), pa, index) - at(numbers(b, 2), pb, index)));
    }
    const y = ops.sub(make(a, 1), make(b, 2));
    expect(y.shape).toEqual(shape);
    expect(await list(y)).toEqual(expected);
  });

  test('large tensors take every thread and odd cuts', async () => {
    const [a, b] = [make([37, 1021], 1), make([1021], 2)];
    const [va, vb] = [numbers([37, 1021], 1), numbers([1021], 2)];
    expect(await list(ops.add(a, b))).toEqual(va.map((value, i) => Math.fround(value + vb[i % 1021])));
    expect(await list(ops.permute(a, [1, 0]))).toEqual(va.map((_, i) => va[(i % 37) * 1021 + Math.floor(i / 37)]));
    expect((await list(ops.sum(a)))[0]).toBeCloseTo(va.reduce((sum, value) => sum + value, 0), 4);
    const columns = await list(ops.mean(a, [0]));
    columns.forEach((value, c) => expect(value).toBeCloseTo(va.reduce((sum, v, i) => (i % 1021 === c ? sum + v / 37 : sum), 0), 6));
    expect(await list(ops.max(a, [1]))).toEqual(Array.from({ length: 37 }, (_, r) => Math.max(...va.slice(r * 1021, r * 1021 + 1021))));
  });

  test('bf16 goes in and out with one rounding', async () => {
    const x = ops.cast(device.tensor([1, 1.00390625, 3.14159265, -2.71828]), 'bf16');
    expect(x.dtype).toBe('bf16');
    expect(await list(x)).toEqual([1, 1, 3.140625, -2.71875]);
    expect(ops.cast(x, 'bf16')).toBe(x);
    expect(await list(ops.mul(x, x))).toEqual([1, 1, 9.875, 7.40625]);
    expect(await list(ops.cast(device.tensor(Uint8Array.from([0, 255])), 'f32'))).toEqual([0, 255]);
    expect(await list(ops.cast(device.tensor(Int32Array.from([-7, 7])), 'f32'))).toEqual([-7, 7]);
  });

  test('NaN propagates, empty tensors are legal', async () => {
    const x = device.tensor([NaN, 1, -1]);
    for (const y of [ops.maximum(x, device.tensor([0])), ops.minimum(x, device.tensor([0])), ops.clamp(x, -1, 1), ops.relu(x), ops.unary(x, 'sign')]) expect((await list(y))[0]).toBeNaN();
    expect((await list(ops.max(x)))[0]).toBeNaN();
    expect(await list(ops.softmax(x))).toEqual([NaN, NaN, NaN]);
    expect(await list(ops.select(device.tensor([0, 1, 0]), x, device.tensor([5, NaN, 6])))).toEqual([5, 1, 6]);
    const none = device.empty([0, 3]);
    expect(ops.add(none, device.tensor([1, 2, 3])).shape).toEqual([0, 3]);
    expect(await list(ops.sum(none, [0]))).toEqual([0, 0, 0]);
    expect(await list(ops.sum(none))).toEqual([0]);
    expect(ops.softmax(none).shape).toEqual([0, 3]);
    expect(await list(ops.concat([none, make([2, 3])], 0))).toEqual(await list(make([2, 3])));
  });

  test('what does not fit is a typed error that shows both shapes', () => {
    const x = make([2, 3]);
    expect(() => ops.add(x, make([4]))).toThrow(/add: cannot broadcast a \[2,3\] with b \[4\]/);
    expect(() => ops.add(x, ops.cast(x, 'bf16'))).toThrow(ShapeError);
    expect(() => ops.sum(x, [2])).toThrow(/no dimension 2/);
    expect(() => ops.sum(x, [])).toThrow(ConfigError);
    expect(() => ops.sum(x, [1, -1])).toThrow(/listed twice/);
    expect(() => ops.slice(x, 1, 2, 2)).toThrow(ShapeError);
    expect(() => ops.concat([x, make([2, 4])], 0)).toThrow(/must equal out/);
    expect(() => ops.permute(x, [0, 0])).toThrow(/not an order/);
    expect(() => ops.reshape(x, [4])).toThrow(ShapeError);
    expect(() => ops.rows(x, 1, 2)).toThrow(ShapeError);
    expect(() => ops.clamp(x, 1, 0)).toThrow(ConfigError);
    expect(() => ops.unary(x, 'cosine' as UnaryKind)).toThrow(/unknown kind 'cosine'/);
    expect(() => ops.fill(device.empty([1], 'i32'), 0.5)).toThrow(/does not fit i32/);
  });
});
