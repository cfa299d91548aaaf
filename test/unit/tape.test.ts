import { AbortError, DisposedError, ShapeError, UsageError } from '../../src/binding/errors';
import { Device } from '../../src/tensor/device';
import * as ops from '../../src/tensor/ops';
import { scope } from '../../src/tensor/scope';
import { checkpoint, noGrad, record } from '../../src/tensor/tape';
import type { Tensor } from '../../src/tensor/tensor';
import { checkGradients, numbers } from '../gradients';

const device = Device.open('cpu');
let baseline = 0;

beforeEach(() => {
  baseline = device.memory().liveTensors;
});

afterEach(() => {
  expect(device.memory().liveTensors).toBe(baseline);
});

afterAll(() => {
  device.dispose();
});

function leaf(shape: number[], seed: number): Tensor {
  const tensor = device.tensor(numbers(shape, seed), shape);
  tensor.requiresGrad = true;
  return tensor;
}

async function gradientsOf(leaves: Tensor[], build: () => Tensor): Promise<number[][]> {
  const { result, tape } = record(() => scope(build));
  const gradients = tape.gradients([result]);
  const values = [];
  for (const tensor of leaves) {
    const gradient = gradients.get(tensor);
    values.push(gradient ? Array.from(await gradient.toFloat32()) : []);
  }
  for (const gradient of gradients.values()) gradient.dispose();
  result.dispose();
  return values;
}

describe('gradients', () => {
  test('flow through mixed ops as central differences say', async () => {
    await checkGradients(device, [[3, 4], [4, 5], [5]], ([x, w, b]) => {
      const h = ops.silu(ops.add(ops.matmul(x, w), b));
      const p = ops.softmax(ops.scale(h, 0.7));
      return ops.mean(ops.mul(p, ops.tanh(h)), [1]);
    });
  });

  test('of an input used twice is the sum of both uses', async () => {
    const x = leaf([5], 1);
    const [gradient] = await gradientsOf([x], () => ops.sum(ops.mul(x, x)));
    const values = numbers([5], 1);
    gradient.forEach((g, i) => expect(g).toBe(2 * values[i]));
    x.dispose();
  });

  test('add up over a fan-out and over several outputs', async () => {
    await checkGradients(device, [[4, 3]], ([x]) => {
      const h = ops.tanh(x);
      const branches = [ops.exp(h), ops.square(h), ops.scale(h, 3), h];
      return branches.reduce((sum, branch) => ops.add(sum, ops.mul(branch, h)));
    });
    const x = leaf([3], 2);
    const { result, tape } = record(() => [ops.scale(x, 2), ops.scale(x, 5)]);
    const cotangents = [device.tensor([1, 2, 3]), null];
    const gradients = tape.gradients(result, cotangents);
    expect(Array.from(await gradients.get(x)!.read())).toEqual([7, 9, 11]);
    for (const tensor of [...gradients.values(), ...result, cotangents[0]!, x]) tensor.dispose();
  });

  test('pass through views: reshape, rows and their mixtures', async () => {
    await checkGradients(device, [[6, 4]], ([x]) => {
      const tall = ops.reshape(x, [3, -1]);
      const top = ops.rows(tall, 0, 2);
      const bottom = ops.rows(tall, 1, 2);
      return ops.mul(ops.reshape(top, [16]), ops.reshape(ops.square(bottom), [16]));
    });
  });

  test('have memory of their own even where one gradient serves two leaves', async () => {
    const [a, b] = [leaf([2, 2], 3), leaf([2, 2], 4)];
    const flat = leaf([4], 5);
    const { result, tape } = record(() => scope(() => ops.add(ops.add(a, b), ops.reshape(flat, [2, 2]))));
    const cotangent = device.tensor([1, 2, 3, 4], [2, 2]);
    const gradients = tape.gradients([result], [cotangent]);
    for (const gradient of gradients.values()) ops.scaleInPlace(gradient, 10);
    for (const tensor of [a, b, flat]) expect(Array.from(await gradients.get(tensor)!.read())).toEqual([10, 20, 30, 40]);
    expect(Array.from(await cotangent.read())).toEqual([1, 2, 3, 4]);
    for (const tensor of [...gradients.values(), a, b, flat, result, cotangent]) tensor.dispose();
  });

  test('of intermediate tensors come when asked for', async () => {
    const x = leaf([3], 6);
    const { result, tape } = record(() => {
      const h = ops.scale(x, 3);
      return scope(() => ({ h, y: ops.sum(ops.square(h)) }));
    });
    const gradients = tape.gradients([result.y], [], [result.h]);
    const [h, dh, dx] = [await result.h.read(), await gradients.get(result.h)!.read(), await gradients.get(x)!.read()];
    h.forEach((value, i) => {
      expect(dh[i]).toBe(2 * value);
      expect(dx[i]).toBe(Math.fround(3 * dh[i]));
    });
    for (const tensor of [...gradients.values(), x, result.h, result.y]) tensor.dispose();
  });

  test('do not flow through noGrad, nor to tensors that want none', async () => {
    const x = leaf([3], 7);
    const constant = device.tensor([1, 2, 3]);
    const { result, tape } = record(() => scope(() => ops.sum(ops.mul(ops.add(x, constant), noGrad(() => ops.exp(x))))));
    const gradients = tape.gradients([result]);
    expect([...gradients.keys()]).toEqual([x]);
    const expected = numbers([3], 7).map(Math.exp);
    (await gradients.get(x)!.read()).forEach((g, i) => expect(Math.abs(g - expected[i])).toBeLessThan(1e-6));
    for (const tensor of [...gradients.values(), x, constant, result]) tensor.dispose();
  });

  test('a leaf that is itself the output has gradient one', async () => {
    const x = leaf([2], 8);
    const { tape } = record(() => x);
    const gradients = tape.gradients([x]);
    expect(Array.from(await gradients.get(x)!.read())).toEqual([1, 1]);
    for (const tensor of [...gradients.values(), x]) tensor.dispose();
  });

  test('a cotangent of the wrong size is a ShapeError and leaks nothing', () => {
    const x = leaf([2], 9);
    const { result, tape } = record(() => ops.exp(x));
    const wrong = device.tensor([1, 2, 3]);
    expect(() => tape.gradients([result], [wrong])).toThrow(ShapeError);
    for (const tensor of [x, result, wrong]) tensor.dispose();
  });

  test('an unused tape lets go of everything when disposed', () => {
    const x = leaf([2], 10);
    const { result, tape } = record(() => scope(() => ops.exp(ops.square(x))));
    tape.dispose();
    for (const tensor of [x, result]) tensor.dispose();
  });
});

describe('checkpoint', () => {
  function block(x: Tensor, w: Tensor): Tensor {
    return ops.add(x, ops.silu(ops.matmul(x, w)));
  }

  async function run(keep: boolean, nested = false): Promise<number[][]> {
    const x = leaf([3, 4], 11);
    const weights = [leaf([4, 4], 12), leaf([4, 4], 13), leaf([4, 4], 14)];
    const layer = (w: Tensor) => (input: Tensor): Tensor =>
      keep ? block(input, w) : checkpoint([input], ([inner]) => [block(inner, w)])[0];
    const values = await gradientsOf([x, ...weights], () => {
      const inside = (input: Tensor): Tensor => layer(weights[2])(layer(weights[1])(input));
      const first = layer(weights[0])(x);
      return ops.mean(nested ? checkpoint([first], ([h]) => [inside(h)])[0] : inside(first));
    });
    for (const tensor of [x, ...weights]) tensor.dispose();
    return values;
  }

  test('gives the gradients of the plain network, bit for bit', async () => {
    expect(await run(false)).toEqual(await run(true));
  });

  test('may be nested', async () => {
    expect(await run(false, true)).toEqual(await run(true));
  });

  test('counts an input listed twice once per use', async () => {
    const x = leaf([3], 15);
    const [gradient] = await gradientsOf([x], () => ops.sum(checkpoint([x, x], ([a, b]) => [ops.mul(a, b)])[0]));
    numbers([3], 15).forEach((value, i) => expect(gradient[i]).toBe(Math.fround(2 * Math.fround(value))));
    x.dispose();
  });

  test('takes several outputs of which some have no gradient', async () => {
    const x = leaf([3], 16);
    const [gradient] = await gradientsOf([x], () => {
      const [kept] = checkpoint([x], ([h]) => [ops.scale(h, 4), ops.exp(h)]);
      return ops.sum(kept);
    });
    expect(gradient).toEqual([4, 4, 4]);
    x.dispose();
  });
});

describe('scopes', () => {
  test('free what is not returned, through every level', async () => {
    const kept = scope(() => {
      const a = device.tensor([1, 2]);
      const { list, map } = scope(() => {
        ops.exp(a);
        return { list: [ops.scale(a, 2)], map: new Map([['b', ops.scale(a, 3)]]) };
      });
      return ops.add(list[0], map.get('b')!);
    });
    expect(device.memory().liveTensors).toBe(baseline + 1);
    expect(Array.from(await kept.read())).toEqual([5, 10]);
    kept.dispose();
  });

  test('free everything when the function throws', () => {
    expect(() => scope(() => ops.add(device.tensor([1, 2]), device.tensor([1, 2, 3])))).toThrow(ShapeError);
  });

  test('refuse async functions', () => {
    expect(() => scope(async () => Promise.resolve(1))).toThrow(UsageError);
  });

  test('a view keeps memory alive after its origin is disposed', async () => {
    const x = device.tensor([1, 2, 3, 4]);
    const view = ops.rows(x, 2, 2);
    x.dispose();
    expect(Array.from(await view.read())).toEqual([3, 4]);
    view.dispose();
  });
});

describe('disposed tensors', () => {
  test('cannot be used', async () => {
    const x = device.tensor([1, 2]);
    x.dispose();
    x.dispose();
    expect(() => ops.exp(x)).toThrow(DisposedError);
    expect(() => x.retain()).toThrow(DisposedError);
    await expect(x.read()).rejects.toThrow(DisposedError);
  });

  test('live on while a tape needs them', async () => {
    const x = leaf([3], 17);
    const h = device.tensor([2, 3, 4]);
    const { result, tape } = record(() => ops.mul(x, h));
    h.dispose();
    const gradients = tape.gradients([result]);
    expect(Array.from(await gradients.get(x)!.read())).toEqual([2, 3, 4]);
    expect(h.disposed).toBe(true);
    for (const tensor of [...gradients.values(), x, result]) tensor.dispose();
  });
});

describe('abort', () => {
  test('rejects pending reads with AbortError and leaves the device usable', async () => {
    const x = ops.full(device, [1024, 1024], 0.5);
    const last = scope(() => {
      let h = x;
      for (let i = 0; i < 200; i++) h = ops.softplus(h);
      return h;
    });
    const pending = last.read();
    device.abort();
    await expect(pending).rejects.toThrow(AbortError);
    const fresh = ops.scale(x, 2);
    expect((await fresh.read())[7]).toBe(1);
    for (const tensor of [x, last, fresh]) tensor.dispose();
  });

  test('a command that fails rejects the next read, and later work runs clean', async () => {
    const x = device.tensor([1, 2, 3, 4], [4, 1]);
    const ids = device.tensor(Int32Array.from([0, 9]));
    const bad = ops.indexRows(x, ids);
    await expect(bad.read()).rejects.toThrow(/ids\[1\] is 9/);
    const good = ops.scale(x, 2);
    expect(Array.from(await good.read())).toEqual([2, 4, 6, 8]);
    for (const tensor of [x, ids, bad, good]) tensor.dispose();
  });
});
