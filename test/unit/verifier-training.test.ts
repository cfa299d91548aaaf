import { verifierRecipe, verifierTask, evaluateVerifier } from '../../src/app/pretrain/verifier';
import { disagreements, drawSet } from '../../src/app/pretrain/verifier-data';
import type { SetOptions, VerifierSet } from '../../src/app/pretrain/verifier-data';
import { decodePoses, inferVggtConfig, vggtPresets } from '../../src/models/vggt';
import { Rng, sampleScene, seedOf } from '../../src/scene/procedural';
import { nativeRenderer } from '../../src/scene/procedural/native';
import { Device } from '../../src/tensor/device';
import { AdamW } from '../../src/tensor/optim';
import { scope } from '../../src/tensor/scope';
import { record } from '../../src/tensor/tape';

const renderer = nativeRenderer();
const size = 32;
const pixels = size * size;

function set(seed: number, more: Partial<SetOptions> = {}): VerifierSet {
  return drawSet(seedOf('train', seed), new Rng(seed, 7), { renderer, size, views: 4, augment: false, ...more });
}

describe('training sets of the verifier', () => {
  it('hold points that lie where the cameras and depths say', () => {
    const { depth, points, poses } = set(11, { disagreement: 'none' });
    const cameras = decodePoses(poses, size, size);
    cameras[0].extrinsics.forEach((value, i) => expect(value).toBeCloseTo([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0][i], 6));
    let distance = 0;
    let near = 0;
    for (let i = 0; i < depth.length; i++) {
      const m = cameras[Math.floor(i / pixels)].extrinsics;
      const [x, y, z] = points.subarray(3 * i, 3 * i + 3);
      const inCamera = [0, 1, 2].map((k) => m[4 * k] * x + m[4 * k + 1] * y + m[4 * k + 2] * z + m[4 * k + 3]);
      expect(Math.abs(inCamera[2] - depth[i])).toBeLessThan(2e-6);
      expect(depth[i]).toBeGreaterThan(0);
      expect(depth[i]).toBeLessThanOrEqual(3);
      if (depth[i] < 3) {
        distance += Math.hypot(x, y, z);
        near += 1;
      }
    }
    // The unit is the mean distance of all that is not sky; what was cut at 3 is not in this mean.
    expect(distance / near).toBeGreaterThan(0.8);
    expect(distance / near).toBeLessThanOrEqual(1.000001);
  });

  it('see the same surface in different views at the same point', () => {
    const { depth, points, poses } = set(12, { disagreement: 'none' });
    const cameras = decodePoses(poses, size, size);
    const m = cameras[1].extrinsics;
    // All views of a scene share their lens; the encoding leaves out its principal point.
    const { fx, fy, cx, cy } = sampleScene(seedOf('train', 12)).cameras.views[0];
    let [agree, seen] = [0, 0];
    for (let i = 0; i < pixels; i++) {
      if (depth[i] >= 3) continue;
      const [x, y, z] = points.subarray(3 * i, 3 * i + 3);
      const c = [0, 1, 2].map((r) => m[4 * r] * x + m[4 * r + 1] * y + m[4 * r + 2] * z + m[4 * r + 3]);
      const [u, v] = [size * ((fx * c[0]) / c[2] + cx), size * ((fy * c[1]) / c[2] + cy)];
      if (!(u >= 1 && v >= 1 && u < size - 1 && v < size - 1)) continue;
      seen += 1;
      const around = [-1, 0, 1].flatMap((dy) => [-1, 0, 1].map((dx) => depth[pixels + Math.floor(v + dy) * size + Math.floor(u + dx)]));
      // Behind what view 1 sees: hidden there. In front of it: impossible.
      expect(c[2]).toBeGreaterThan(0.98 * Math.min(...around));
      if (c[2] < 1.02 * Math.max(...around)) agree += 1;
    }
    expect(seen).toBeGreaterThan(pixels / 4);
    expect(agree / seen).toBeGreaterThan(0.8);
  });

  it('keep exact targets, and doubt them where the views disagree', () => {
    for (const seed of [21, 22, 23]) {
      const doubted = (disagreement: SetOptions['disagreement']): { most: number; values: Float32Array } => {
        const [odd, plain] = [set(seed, { disagreement }), set(seed, { disagreement: 'none' })];
        for (const name of ['poses', 'depth', 'points'] as const) expect(odd[name]).toEqual(plain[name]);
        expect(plain.doubt.every((value) => value === 0)).toBe(true);
        const share = [0, 1, 2, 3].map((v) => odd.doubt.subarray(v * pixels, (v + 1) * pixels).filter((value) => value > 0).length / pixels);
        return { most: Math.max(...share), values: odd.doubt };
      };
      // All of a view differs under a filter, and only the floor under a new floor.
      expect(doubted('global').most).toBeGreaterThan(0.8);
      const floor = doubted('floor');
      expect(floor.most).toBeGreaterThan(0.1);
      expect(Math.max(...floor.values)).toBeLessThanOrEqual(0.4);
      const { weight } = set(seed, { disagreement: 'floor' });
      const sky = Array.from(weight.keys()).filter((i) => weight[i] === 0.5);
      // The rest are pixels at the horizon that mix both.
      expect(sky.filter((i) => floor.values[i] === 0).length).toBeGreaterThanOrEqual(0.75 * sky.length);
      const object = doubted('object');
      expect(object.most).toBeGreaterThan(0.005);
      expect(object.most).toBeLessThan(0.6);
    }
  });

  it('are the same set without its disagreement when they shall agree', () => {
    const agreeing = set(24, { disagreement: 'floor', agree: true });
    expect(agreeing.doubt.every((value) => value === 0)).toBe(true);
    expect(agreeing.depth).toEqual(set(24, { disagreement: 'floor' }).depth);
    expect(agreeing.images).not.toEqual(set(24, { disagreement: 'floor' }).images);
  });

  it('mask the camera of a view that shows something else', () => {
    for (const disagreement of disagreements) {
      const masked = set(31, { disagreement }).poseWeight.filter((weight) => weight === 0).length;
      expect(masked).toBe(disagreement === 'foreign' || disagreement === 'duplicate' ? 1 : 0);
    }
    expect(set(31, { disagreement: 'foreign' }).poseWeight[0]).toBe(1);
  });

  it('are the same for the same draw, finite and in range', () => {
    for (let seed = 40; seed < 50; seed++) {
      const one = set(seed, { augment: true, views: 3 });
      expect(set(seed, { augment: true, views: 3 })).toEqual(one);
      for (const values of Object.values(one) as Float32Array[]) expect(values.every(Number.isFinite)).toBe(true);
      expect(one.images.every((value) => value >= 0 && value <= 1)).toBe(true);
    }
  });
});

describe('training the verifier', () => {
  const device = Device.open('cpu');

  it('lowers the loss on what it sees, and reads figures on what it does not', async () => {
    const task = verifierTask({ device, seed: 3, recipe: verifierRecipe, scenes: 100, batch: 4 });
    expect(task.parameters.get('depth_head.scratch.output_conv2.2.bias')).toBeDefined();
    for (const parameter of task.parameters.values()) parameter.requiresGrad = true;
    const optimizer = new AdamW(task.parameters, { beta2: 0.98 });
    const losses: number[] = [];
    for (let i = 0; i < 8; i++) {
      const batch = await task.prepare(5);
      const { result, tape } = scope(() => record(() => task.loss(batch, 5)));
      const gradients = tape.gradients([result.loss]);
      expect(gradients.size).toBe(task.parameters.size);
      optimizer.step(gradients, 2e-3);
      losses.push((await result.loss.toFloat32())[0]);
      for (const tensor of [result.loss, ...Object.values(result.metrics ?? {}), ...gradients.values()]) tensor.dispose();
    }
    expect(losses.every(Number.isFinite)).toBe(true);
    expect(losses[7]).toBeLessThan(0.75 * losses[0]);
    for (const parameter of task.parameters.values()) parameter.requiresGrad = false;
    const figures = await evaluateVerifier(task.model, device, { scenes: 1 });
    expect(Object.keys(figures)).toEqual(expect.arrayContaining(['depthAbsRel', 'rotationDeg', 'auc.floor', 'auc.object', 'auc.global']));
    expect(Object.values(figures).every(Number.isFinite)).toBe(true);
  });

  it('is of the preset that a checkpoint tells', () => {
    const task = verifierTask({ device, seed: 3, recipe: verifierRecipe, scenes: 100 });
    const { parameters } = task.model.weights;
    const source = { has: (name: string) => parameters.has(name), shapeOf: (name: string) => parameters.get(name)?.shape, get: () => { throw new Error(); } };
    expect(inferVggtConfig(source)).toEqual(vggtPresets.tinyVerifier);
    const count = [...parameters.values()].reduce((total, parameter) => total + parameter.size, 0);
    expect(2 * count).toBeLessThan(6e6);
    const muon = [...parameters].filter(([name, parameter]) => task.usesMuon!(name, parameter));
    // Four matrices in each of two encoder blocks and three pairs.
    expect(muon).toHaveLength(4 * (2 + 6));
    task.model.dispose();
  });
});
