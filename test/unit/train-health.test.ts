import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkpoints, restoreCheckpoint, saveCheckpoint, withAverages } from '../../src/app/train/checkpoint';
import type { RunState, Trained } from '../../src/app/train/checkpoint';
import { editHealth, guard } from '../../src/app/train/health';
import type { GuardState } from '../../src/app/train/health';
import { OutputError, WeightsError } from '../../src/binding/errors';
import { createLora } from '../../src/models/lora';
import { createImage } from '../../src/scene';
import type { Image } from '../../src/scene';
import { laplacianVariance } from '../../src/scene/sharpness';
import { Device } from '../../src/tensor/device';
import { AdamW, Ema } from '../../src/tensor/optim';
import { temporaryFolder } from '../scene-fixtures';
import { normals, smallModel } from './flux-fixtures';

const [width, height] = [7, 5];

function picture(value: (x: number, y: number, channel: number) => number): Image {
  const image = createImage(width, height);
  image.data.forEach((_, i) => {
    image.data[i] = value(i % width, Math.floor(i / width) % height, Math.floor(i / (width * height)));
  });
  return image;
}

describe('figures of health', () => {
  test('the Laplacian of a plane is 0, of a chessboard known', () => {
    const variance = (value: (x: number, y: number) => number): number =>
      laplacianVariance(Float64Array.from({ length: width * height }, (_, i) => value(i % width, Math.floor(i / width))), width, height);
    expect(variance((x, y) => 0.1 * x - 0.05 * y)).toBeCloseTo(0, 12);
    // Each neighbour differs by 1: ±4 inside the border, 8 of 15 of one sign.
    const [a, b] = [8 / 15, 7 / 15];
    expect(variance((x, y) => (x + y) % 2)).toBeCloseTo(16 - (4 * (a - b)) ** 2, 10);
  });

  test('strength, sharpness and diversity are those of the edited views alone', () => {
    const chess = (scale: number, shift = 0): Image => picture((x, y) => shift + scale * ((x + y) % 2));
    const before = [chess(1), chess(1)];
    // View 1 is given and equal in all rollouts; view 0 is half as sharp and lies 0.2 or 0.4 higher.
    const rollouts = [0.2, 0.4].map((shift) => [chess(0.5, shift), before[1]]);
    const { editStrength, sharpness, diversity } = editHealth(before, rollouts, [1]);
    const odd = Math.floor((width * height) / 2) / (width * height);
    const strength = (shift: number): number => (1 - odd) * shift + odd * Math.abs(shift - 0.5);
    expect(editStrength).toBeCloseTo((strength(0.2) + strength(0.4)) / 2, 6);
    expect(sharpness).toBeCloseTo(0.25, 6);
    expect(diversity).toBeCloseTo(0.1, 5);
    expect(editHealth(before, [before, before], []).editStrength).toBe(0);
  });
});

describe('guards', () => {
  const limits = { editStrength: 0.5, sharpness: 0.5, diversity: 0.5, patience: 3 };
  const well = { editStrength: 1, sharpness: 1, diversity: 1, loss: 0.1, gradientNorm: 2 };

  test.each(['editStrength', 'sharpness', 'diversity'] as const)('%s below its share of the first updates stops after the given updates in a row', (name) => {
    const state: GuardState = { strikes: {} };
    const bad = { ...well, [name]: 0.49 };
    // Their mean is 1, whatever a single one shows.
    for (const value of [0.2, 1.7, 1.1]) expect(guard(state, { ...well, [name]: value }, limits)).toBeUndefined();
    for (const update of [bad, bad, { ...well, [name]: 0.5 }, bad, bad]) expect(guard(state, update, limits)).toBeUndefined();
    // What the guards remember survives a checkpoint.
    const restored = JSON.parse(JSON.stringify(state)) as GuardState;
    expect(guard(restored, bad, limits)).toMatch(new RegExp(`^${name} 0.490 stayed below 0.500 for 3 updates: `));
  });

  test.each([NaN, Infinity])('%d stops at once', (value) => {
    for (const name of Object.keys(well)) {
      const reason = guard({ strikes: {} }, { ...well, [name]: value }, limits);
      expect(reason).toBe(`${name} is ${value}: the run has no numbers any more; lower optimizer.learningRate or noiseLevel`);
    }
  });
});

describe('checkpoints', () => {
  const device = Device.open('cpu');
  const run = temporaryFolder();
  const { model } = smallModel(device, 1);
  const state = (update: number): RunState => ({ update, elapsedSec: 1.5, optimizerUpdates: update, guards: { strikes: { sharpness: 2 } } });

  function trained(seed: number): Trained {
    const lora = createLora(device, model.weights.registered(), { rank: 2, seed });
    const parameters = lora.parameters();
    const all: Trained = { device, lora, optimizer: new AdamW(parameters), ema: new Ema(parameters, 0.9) };
    let next = 100 * seed;
    for (const tensors of [parameters, all.ema.averages, all.optimizer.state()]) {
      for (const tensor of tensors.values()) tensor.write(normals(tensor.size, next++));
    }
    return all;
  }

  function dispose({ lora, optimizer, ema }: Trained): void {
    for (const part of [lora, optimizer, ema]) part.dispose();
  }

  async function bitsOf({ lora, optimizer, ema }: Trained): Promise<string> {
    const all = [lora.parameters(), ema.averages, optimizer.state()].flatMap((tensors) => [...tensors.values()]);
    const arrays = await Promise.all(all.map((tensor) => tensor.toFloat32()));
    return Buffer.concat(arrays.map(({ buffer }) => Buffer.from(buffer))).toString('base64');
  }

  afterAll(() => {
    model.dispose();
    device.dispose();
  });

  test('come back with every bit of adapter, average, moments and state; the last ones are kept', async () => {
    const one = trained(1);
    const live = device.memory().liveTensors;
    for (const update of [8, 9, 10]) await saveCheckpoint(run, one, state(update), 2);
    expect(await checkpoints(run)).toEqual(['000009', '000010']);
    expect(device.memory().liveTensors).toBe(live);
    const other = trained(2);
    expect(await bitsOf(other)).not.toBe(await bitsOf(one));
    expect(await restoreCheckpoint(run, other)).toEqual(state(10));
    expect(await bitsOf(other)).toBe(await bitsOf(one));
    expect(other.optimizer.updates).toBe(10);
    dispose(one);
    dispose(other);
  });

  test('that were not finished do not count, and the millionth comes after the one before', async () => {
    mkdirSync(join(run, 'checkpoints', '000011'));
    mkdirSync(join(run, 'checkpoints', '000012.tmp'));
    expect(await checkpoints(run)).toEqual(['000009', '000010']);
    for (const name of ['999999', '1000000']) {
      mkdirSync(join(run, 'checkpoints', name));
      writeFileSync(join(run, 'checkpoints', name, 'state.json'), '{"update":');
    }
    expect((await checkpoints(run)).at(-1)).toBe('1000000');
    const one = trained(1);
    await expect(restoreCheckpoint(run, one)).rejects.toThrow(OutputError);
    expect(await restoreCheckpoint(join(run, 'nothing'), one)).toBeUndefined();
    dispose(one);
  });

  test('of an adapter of another shape are refused', async () => {
    const folder = join(run, 'other');
    const one = trained(1);
    await saveCheckpoint(folder, one, state(1), 1);
    dispose(one);
    const lora = createLora(device, model.weights.registered(), { rank: 3, seed: 1 });
    const wider: Trained = { device, lora, optimizer: new AdamW(lora.parameters()), ema: new Ema(lora.parameters(), 0.9) };
    await expect(restoreCheckpoint(folder, wider)).rejects.toThrow(WeightsError);
    dispose(wider);
    expect(existsSync(join(folder, 'checkpoints', '000001', 'lora.safetensors'))).toBe(true);
    expect(readFileSync(join(folder, 'checkpoints', '000001', 'lora.safetensors')).length).toBeGreaterThan(0);
  });

  test('the average is in place while it is evaluated, and goes back out even when that fails', async () => {
    const one = trained(1);
    const before = await bitsOf(one);
    const live = device.memory().liveTensors;
    const valuesOf = async (tensors: ReadonlyMap<string, { toFloat32(): Promise<Float32Array> }>): Promise<Float32Array[]> =>
      Promise.all([...tensors.values()].map((tensor) => tensor.toFloat32()));
    await withAverages(one, async () => expect(await valuesOf(one.lora.parameters())).toEqual(await valuesOf(one.ema.averages)));
    expect(await bitsOf(one)).toBe(before);
    await expect(
      withAverages(one, () => {
        // What is queued is dropped, as an abort of the sampler does it.
        device.abort();
        return Promise.reject(new Error('stopped'));
      }),
    ).rejects.toThrow('stopped');
    expect(await bitsOf(one)).toBe(before);
    expect(device.memory().liveTensors).toBe(live);
    dispose(one);
  });
});
