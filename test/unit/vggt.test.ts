import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { run as runParity } from '../../src/app/parity/vggt';
import { ConfigError, ShapeError, WeightsError } from '../../src/binding/errors';
import {
  decodePoses, defaultDptLayers, encodePose, inferVggtConfig, loadVggt, originalIntrinsics, parseVggtConfig, planInput, preprocess, quaternion,
  roundHalfEven, Vggt, vggtParameters, vggtPresets,
} from '../../src/models/vggt';
import type { ListedSource, VggtConfig, VggtOutput } from '../../src/models/vggt';
import { planeEmbedding, ropeTable } from '../../src/models/vggt/positions';
import { Device } from '../../src/tensor/device';
import { add, mean, mul } from '../../src/tensor/ops';
import { RandomWeights } from '../../src/tensor/random-weights';
import { scope } from '../../src/tensor/scope';
import { record } from '../../src/tensor/tape';
import type { Shape, Tensor } from '../../src/tensor/tensor';
import { Weights } from '../../src/tensor/weights';
import { numbers } from '../gradients';
import { rigid, rotationAbout } from '../rigid';

const device = Device.open('cpu');

const small: VggtConfig = parseVggtConfig({
  img_size: 24,
  patch_size: 8,
  embed_dim: 16,
  depth: 2,
  num_heads: 2,
  num_register_tokens: 2,
  patch_embed: { depth: 1, num_heads: 2, num_register_tokens: 3 },
  camera_head: { trunk_depth: 1, num_heads: 2, iterations: 2 },
  dpt: { features: 8, out_channels: [4, 4, 8, 8], intermediate_layer_idx: [0, 0, 1, 1] },
});

/** A network in which nothing is zero or one: a part left out would show. */
function network(config: VggtConfig, seed = 3): Vggt {
  const rule = (name: string, shape: Shape): { kind: 'normal'; std: number } | undefined =>
    shape.length === 1 || /token|pos_embed/.test(name) ? { kind: 'normal', std: 0.4 } : undefined;
  return new Vggt(new Weights(new RandomWeights(device, { seed, dtype: 'f32', rule })), config);
}

function images(shape: number[], seed: number): Tensor {
  return device.tensor(numbers(shape, seed).map((value) => 0.5 + value / 2), shape);
}

/** Outputs as host arrays, by name. */
async function outputs(model: Vggt, input: Tensor): Promise<Record<string, Float32Array>> {
  const { poseEnc, depth, depthConf, worldPoints, worldPointsConf } = scope((): VggtOutput => model.forward(input));
  const named = { poseEnc, depth, depthConf, worldPoints, worldPointsConf };
  const entries = await Promise.all(Object.entries(named).map(async ([name, tensor]) => [name, await tensor.toFloat32()] as const));
  return Object.fromEntries(entries);
}

function relativeError(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  const scale = b.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6);
  return a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i])), 0) / scale;
}

describe('the network', () => {
  const goldens = [process.env.RL3DEDIT_GOLDENS ?? resolve(__dirname, '../../../shared/goldens'), resolve(__dirname, '../golden')];
  const golden = goldens.map((folder) => join(folder, 'vggt')).find((dir) => existsSync(dir));

  (golden ? it : it.skip)('gives what the reference gives', async () => {
    const { tensors } = await runParity(golden!, { device, dtype: 'f32', signal: new AbortController().signal });
    expect(tensors.map(({ name }) => name)).toEqual(expect.arrayContaining(['tokens.3', 'pose_enc', 'depth', 'depth_conf', 'world_points']));
    // Worst seen 4.1e-6 (depth_conf).
    for (const { name, relError } of tensors) expect({ name, good: relError <= 8e-6 }).toEqual({ name, good: true });
  });

  it('has positive depths, confidences of at least one and the shapes of its input', () => {
    const model = network(small);
    for (const leading of [[1], [3], [2, 3]]) {
      const { poseEnc, poseRounds, depth, depthConf, worldPoints, worldPointsConf, tokens } = model.forward(images([...leading, 3, 16, 32], 1), {
        returnTokens: [1],
      });
      expect(poseEnc.shape).toEqual([...leading, 9]);
      expect(poseRounds).toHaveLength(2);
      for (const map of [depth, depthConf, worldPointsConf]) expect(map.shape).toEqual([...leading, 16, 32]);
      expect(worldPoints.shape).toEqual([...leading, 16, 32, 3]);
      expect(tokens.get(1)!.shape).toEqual([...leading, 3 + 2 * 4, 32]);
    }
  });

  it('permutes its outputs when views other than the first are permuted', async () => {
    const model = network(small);
    const data = numbers([4, 3 * 16 * 16], 5).map((value) => 0.5 + value / 2);
    const order = [0, 3, 1, 2];
    const view = 3 * 16 * 16;
    const permuted = order.flatMap((v) => data.slice(v * view, (v + 1) * view));
    const straight = await outputs(model, device.tensor(data, [4, 3, 16, 16]));
    const turned = await outputs(model, device.tensor(permuted, [4, 3, 16, 16]));
    for (const [name, values] of Object.entries(straight)) {
      const size = values.length / 4;
      const expected = Float32Array.from(order.flatMap((v) => Array.from(values.subarray(v * size, (v + 1) * size))));
      // Worst seen 9e-7: sums over keys run in another order.
      expect({ name, error: relativeError(turned[name], expected) < 3e-6 }).toEqual({ name, error: true });
      const first = Float32Array.from([1, 0, 2, 3].flatMap((v) => Array.from(values.subarray(v * size, (v + 1) * size))));
      expect(relativeError(turned[name], first)).toBeGreaterThan(1e-3);
    }
  });

  it('treats the sets of a batch apart', async () => {
    const model = network(small);
    const data = numbers([2, 3 * 3 * 16 * 24], 8).map((value) => 0.5 + value / 2);
    const both = await outputs(model, device.tensor(data, [2, 3, 3, 16, 24]));
    for (const set of [0, 1]) {
      const size = data.length / 2;
      const alone = await outputs(model, device.tensor(data.slice(set * size, (set + 1) * size), [3, 3, 16, 24]));
      for (const [name, values] of Object.entries(alone)) {
        const found = both[name].subarray(set * values.length, (set + 1) * values.length);
        expect(relativeError(found, values)).toBeLessThan(3e-6);
      }
    }
  });

  it('refuses images it cannot cut into patches', () => {
    const model = network(small);
    expect(() => model.forward(images([2, 3, 16, 20], 1))).toThrow(/multiples of 8, got 16 x 20/);
    expect(() => model.forward(images([2, 1, 16, 16], 1))).toThrow(ShapeError);
    expect(() => model.forward(images([3, 16, 16], 1))).toThrow(ShapeError);
    expect(() => model.forward(images([1, 3, 16, 16], 1), { returnTokens: [2] })).toThrow(/pairs 0..1/);
  });

  it('has the gradients that differences show', async () => {
    // One round: what is fed back between rounds is a constant for the gradient.
    const model = network({ ...small, camera_head: { ...small.camera_head, iterations: 1 } }, 4);
    const input = images([1, 2, 3, 16, 24], 2);
    const weights = (shape: Shape, seed: number): Tensor => device.tensor(numbers(shape, seed), shape);
    const objective = (): Tensor => {
      const { poseEnc, depth, depthConf, worldPoints, worldPointsConf } = model.forward(input);
      const parts = [poseEnc, depth, depthConf, worldPoints, worldPointsConf].map((x, i) => mean(mul(x, weights(x.shape, 20 + i))));
      return parts.reduce((total, part) => add(total, part));
    };
    const { parameters } = model.weights;
    for (const parameter of parameters.values()) parameter.requiresGrad = true;
    const { result, tape } = scope(() => record(objective));
    const gradients = tape.gradients([result]);
    expect(gradients.size).toBe(parameters.size);
    const value = async (): Promise<number> => (await scope(() => objective()).toFloat32())[0];
    // Along a random direction through all parameters of a part: relative to the length of the gradient.
    for (const part of ['aggregator.patch_embed', 'aggregator.camera', 'aggregator.register', 'aggregator.frame', 'aggregator.global', 'camera_head', 'depth_head', 'point_head']) {
      const chosen = [...parameters].filter(([name]) => name.startsWith(part));
      const originals = await Promise.all(chosen.map(([, parameter]) => parameter.toFloat32()));
      const slopes = await Promise.all(chosen.map(([, parameter]) => gradients.get(parameter)!.toFloat32()));
      const length = Math.sqrt(slopes.reduce((total, slope) => total + slope.reduce((s, x) => s + x * x, 0), 0));
      expect(length).toBeGreaterThan(0);
      // A small gradient needs a long step to stand out of the rounding, a large one a short step to stay off the kinks.
      const step = length < 0.05 ? 1e-2 : 5e-4;
      const moved = async (sign: number): Promise<number> => {
        chosen.forEach(([, parameter], i) => parameter.write(originals[i].map((x, k) => x + (sign * step * slopes[i][k]) / length)));
        return value();
      };
      const difference = ((await moved(1)) - (await moved(-1))) / (2 * step);
      chosen.forEach(([, parameter], i) => parameter.write(originals[i]));
      // Worst seen 0.0052 (point_head).
      expect({ part, good: Math.abs(difference / length - 1) < 0.01 }).toEqual({ part, good: true });
    }
  });

  it('leaves no tensor behind', async () => {
    const before = device.memory().liveTensors;
    const model = network(small);
    const input = images([2, 3, 16, 24], 2);
    const { poseRounds, tokens, ...rest } = model.forward(input);
    for (const tensor of [input, ...poseRounds, ...tokens.values(), ...Object.values(rest)]) tensor.dispose();
    model.dispose();
    await device.sync();
    expect(device.memory().liveTensors).toBe(before);
  });
});

describe('checkpoints', () => {
  class Held implements ListedSource {
    constructor(readonly shapes: Map<string, Shape>) {}
    names(): string[] {
      return [...this.shapes.keys()];
    }
    has(name: string): boolean {
      return this.shapes.has(name);
    }
    shapeOf(name: string): Shape | undefined {
      return this.shapes.get(name);
    }
    get(_: string, shape: Shape): Tensor {
      return device.empty(shape);
    }
  }

  it('of the published network have 1,402 tensors that are used, and tell its dimensions', () => {
    const shapes = vggtParameters(vggtPresets['vggt-1b']);
    expect(shapes.size).toBe(1402);
    expect(shapes.get('camera_head.poseLN_modulation.1.weight')).toEqual([6144, 2048]);
    expect(shapes.get('depth_head.resize_layers.3.weight')).toEqual([1024, 1024, 3, 3]);
    const count = [...shapes.values()].reduce((total, shape) => total + shape.reduce((product, size) => product * size, 1), 0);
    // All of the file, without the tracker and the mask token.
    expect(count).toBe(1_256_537_516 - 65_941_396 - 1024);
    expect(inferVggtConfig(new Held(shapes))).toEqual(vggtPresets['vggt-1b']);
  });

  it('tell the dimensions of the shipped preset too', () => {
    const held = new Held(vggtParameters(vggtPresets.tinyVerifier));
    expect(inferVggtConfig(held)).toEqual(vggtPresets.tinyVerifier);
    expect(defaultDptLayers(6)).toEqual([1, 2, 4, 5]);
  });

  it('may hold a tracker and a mask token', () => {
    const shapes = vggtParameters(small);
    const held = new Held(new Map([...shapes, ['track_head.x', [1]], ['aggregator.patch_embed.mask_token', [1, 16]]]));
    expect(loadVggt(held, small).weights.parameters.size).toBe(shapes.size);
  });

  it('are refused with every tensor that is missing, misshaped or unexpected', () => {
    const shapes = new Map(vggtParameters(small));
    shapes.delete('camera_head.trunk_norm.bias');
    shapes.delete('aggregator.register_token');
    shapes.set('depth_head.norm.weight', [31]);
    shapes.set('aggregator.frame_blocks.0.attn.rope', [1]);
    const attempt = (): unknown => loadVggt(new Held(shapes), small);
    expect(attempt).toThrow(WeightsError);
    expect(attempt).toThrow(/4 tensors/);
    expect(attempt).toThrow(/missing 'camera_head.trunk_norm.bias' \[32\]/);
    expect(attempt).toThrow(/missing 'aggregator.register_token'/);
    expect(attempt).toThrow(/'depth_head.norm.weight' is \[31\], expected \[32\]/);
    expect(attempt).toThrow(/unexpected 'aggregator.frame_blocks.0.attn.rope'/);
    expect(() => loadVggt(new Held(new Map([['x', [1]]])))).toThrow(/no VGGT checkpoint/);
  });

  it('configs are checked', () => {
    expect(() => parseVggtConfig({ ...small, num_heads: 3 })).toThrow(ConfigError);
    expect(() => parseVggtConfig({ ...small, dpt: { ...small.dpt, intermediate_layer_idx: [0, 1, 2, 3] } })).toThrow(/below depth 2, got 2/);
  });
});

describe('positions', () => {
  it('turn half of the head by the row and half by the column, special tokens not at all', () => {
    const [h, w, special, headDim] = [2, 3, 5, 8];
    const { cos, sin, length } = ropeTable(2, special, h, w, headDim, 100);
    expect(length).toBe(2 * (special + h * w));
    const at = (view: number, token: number, j: number): [number, number] => {
      const i = (view * (special + h * w) + token) * 4 + j;
      return [cos[i], sin[i]];
    };
    for (const view of [0, 1]) {
      for (let j = 0; j < 4; j++) expect(at(view, 4, j)).toEqual([1, 0]);
      // Patch (1, 2) lies at (2, 3); frequencies 1 and 100^(−1/2).
      const angles = [2, 0.2, 3, 0.3];
      angles.forEach((angle, j) => {
        expect(at(view, special + 5, j)[0]).toBeCloseTo(Math.cos(angle), 6);
        expect(at(view, special + 5, j)[1]).toBeCloseTo(Math.sin(angle), 6);
      });
    }
  });

  it('of the plane run symmetrically, over the longer side of the image further', () => {
    const [channels, h, w] = [8, 3, 4];
    const table = planeEmbedding(channels, h, w, 2, 1);
    const value = (c: number, y: number, x: number): number => table[(c * h + y) * w + x];
    const spanX = 2 / Math.sqrt(5);
    const spanY = 1 / Math.sqrt(5);
    expect(value(0, 0, 0)).toBeCloseTo(Math.sin((-spanX * 3) / 4), 6);
    expect(value(1, 0, 3)).toBeCloseTo(Math.sin((spanX * 3) / 4 / 10), 6);
    expect(value(2, 1, 1)).toBeCloseTo(Math.cos(spanX / 4), 6);
    expect(value(4, 2, 0)).toBeCloseTo(Math.sin((spanY * 2) / 3), 6);
    expect(value(4, 1, 2)).toBeCloseTo(0, 6);
    expect(value(7, 0, 2)).toBeCloseTo(Math.cos((spanY * 2) / 3 / 10), 6);
    expect(Array.from(planeEmbedding(4, 1, 1, 1, 1))).toEqual([0, 1, 0, 1]);
  });
});

describe('pose encodings', () => {
  it('come back from their cameras, whichever component of the quaternion is largest', () => {
    for (const [axis, degrees] of [[[1, 2, 3], 20], [[1, 0.1, 0], 179], [[0, 1, 0.2], 178], [[0.1, 0, -1], 175], [[0, 1, 0], 180]] as const) {
      const camera = rigid(rotationAbout(axis, degrees), [0.5, -2, 3]);
      const [decoded] = decodePoses(encodePose(camera, 400, 300, 200, 320), 200, 320);
      decoded.extrinsics.forEach((value, i) => expect(value).toBeCloseTo(camera[i], 12));
      expect(decoded.intrinsics[0]).toBeCloseTo(400, 9);
      expect(decoded.intrinsics[4]).toBeCloseTo(300, 9);
      expect([decoded.intrinsics[2], decoded.intrinsics[5]]).toEqual([160, 100]);
    }
  });

  it('are scalar-last with a non-negative scalar, and the vertical field of view first', () => {
    const q = quaternion(rotationAbout([0, 0, 1], 90));
    [0, 0, Math.SQRT1_2, Math.SQRT1_2].forEach((value, i) => expect(q[i]).toBeCloseTo(value, 12));
    expect(quaternion(rotationAbout([0, 0, 1], -90))[3]).toBeGreaterThan(0);
    const encoding = encodePose(rigid([1, 0, 0, 0, 1, 0, 0, 0, 1], [0, 0, 0]), 160, 50, 100, 320);
    expect(encoding[7]).toBeCloseTo(Math.PI / 2, 12);
    expect(encoding[8]).toBeCloseTo(Math.PI / 2, 12);
    // Unnormalised quaternions give the same rotation.
    const [one, two] = decodePoses([0, 0, 0, ...q, 1, 1, 0, 0, 0, ...q.map((x) => 3 * x), 1, 1], 10, 10);
    one.extrinsics.forEach((value, i) => expect(two.extrinsics[i]).toBeCloseTo(value, 12));
    expect(decodePoses([0, 0, 0, 0, 0, 0, 1, 0, 1], 10, 10)[0].intrinsics[4]).toBe(Infinity);
    expect(() => decodePoses([1, 2], 10, 10)).toThrow(ShapeError);
  });
});

describe('preprocess', () => {
  it('rounds halves to the even neighbour', () => {
    expect([0.5, 1.5, 2.5, 3.5, 2.4999, 2.5001].map(roundHalfEven)).toEqual([0, 2, 2, 4, 2, 3]);
  });

  it('plans the published sizes', () => {
    const sizes = (width: number, height: number, mode: 'crop' | 'pad'): number[] => {
      const plan = planInput(width, height, { mode });
      return [plan.width, plan.height, plan.resizedWidth, plan.resizedHeight, plan.top, plan.padLeft, plan.padTop];
    };
    expect(sizes(1024, 1024, 'crop')).toEqual([518, 518, 518, 518, 0, 0, 0]);
    expect(sizes(768, 512, 'crop')).toEqual([518, 350, 518, 350, 0, 0, 0]);
    expect(sizes(512, 768, 'crop')).toEqual([518, 518, 518, 784, 133, 0, 0]);
    expect(sizes(512, 768, 'pad')).toEqual([518, 518, 350, 518, 0, 84, 0]);
    expect(sizes(768, 512, 'pad')).toEqual([518, 518, 518, 350, 0, 0, 84]);
    expect(() => planInput(100, 99, { mode: 'native', patch: 8 })).toThrow(/multiples of 8/);
    expect(() => planInput(100, 99, { size: 100 })).toThrow(ShapeError);
  });

  it('resizes, cuts rows and surrounds with white', async () => {
    const tall = device.tensor(Array.from({ length: 3 * 24 * 8 }, (_, i) => (Math.floor(i / 8) % 24) / 24), [3, 24, 8]);
    const { input } = preprocess([tall], { size: 8, patch: 8 });
    expect(input.shape).toEqual([1, 3, 8, 8]);
    // The middle third of a ramp by rows.
    expect(await input.toFloat32()).toEqual(Float32Array.from({ length: 192 }, (_, i) => (8 + (Math.floor(i / 8) % 8)) / 24));
    const wide = device.tensor(new Float32Array(3 * 8 * 16), [3, 8, 16]);
    const mixed = preprocess([wide, device.tensor(new Float32Array(3 * 16 * 16), [3, 16, 16])], { mode: 'native', patch: 8 });
    expect(mixed.input.shape).toEqual([2, 3, 16, 16]);
    const rowsOfFirst = Array.from((await mixed.input.toFloat32()).subarray(0, 256)).filter((_, i) => i % 16 === 5);
    expect(rowsOfFirst).toEqual([...new Array<number>(4).fill(1), ...new Array<number>(8).fill(0), ...new Array<number>(4).fill(1)]);
    const enlarged = preprocess([device.tensor(new Float32Array(3 * 9).fill(0.25), [3, 3, 3])], { size: 16, patch: 8 });
    for (const value of await enlarged.input.toFloat32()) expect(value).toBeCloseTo(0.25, 6);
    expect(() => preprocess([])).toThrow(ShapeError);
  });

  it('leads back to the pixels of the original', () => {
    const plan = planInput(512, 768, { mode: 'crop' });
    const back = originalIntrinsics({ fx: 518, fy: 518, cx: 259, cy: 259 }, plan, 512, 768);
    expect(back.fx).toBeCloseTo(512, 9);
    expect(back.cx).toBeCloseTo(256, 9);
    expect(back.cy).toBeCloseTo(384, 9);
    const padded = planInput(512, 768, { mode: 'pad' });
    expect(originalIntrinsics({ fx: 1, fy: 1, cx: 259, cy: 259 }, padded, 512, 768).cx).toBeCloseTo(256, 9);
  });
});
