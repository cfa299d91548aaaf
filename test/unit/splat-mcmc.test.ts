/** Where Gaussians go under MCMC: relocation, growth and noise. */
import { createCloud } from '../../src/scene/gaussians/cloud';
import type { GaussianCloud } from '../../src/scene/gaussians/cloud';
import { psnr } from '../../src/scene/gaussians/evaluate';
import { Gaussians, parameterNames } from '../../src/scene/gaussians/gaussians';
import { exploreMcmc, refineMcmc } from '../../src/scene/gaussians/mcmc';
import { SplatOptimizer } from '../../src/scene/gaussians/optimizer';
import { renderImage } from '../../src/scene/gaussians/rasterize';
import type { McmcStrategy } from '../../src/scene/gaussians/recipe';
import { Rng } from '../../src/scene/procedural/rng';
import { Device } from '../../src/tensor/device';
import { copyOf, logit, orbitCameras, remembering, rowOf, solidCloud, tensorsOf, warmUp } from './splat-scenes';

const device = Device.open('cpu');
let atStart: number;
beforeEach(async () => (atStart = await tensorsOf(device)));
afterEach(async () => expect(await tensorsOf(device)).toBe(atStart));
afterAll(() => device.dispose());

describe('MCMC', () => {
  const strategy: McmcStrategy = { kind: 'mcmc', cap: 100, from: 0, until: 1, every: 1, growth: 1.05, deadOpacity: 0.005, noise: 5e5 };

  /** Solid Gaussians; every `nth` is too faint to live. */
  function withDead(count: number, nth: number): GaussianCloud {
    const cloud = solidCloud(count, 3);
    for (let i = 0; i < count; i += nth) cloud.opacityLogits[i] = logit(0.004);
    return cloud;
  }

  interface Refined {
    cloud: GaussianCloud;
    moved: number;
    added: number;
    remembers: boolean[];
  }

  async function refined(cloud: GaussianCloud, given: Partial<McmcStrategy> = {}): Promise<Refined> {
    using gaussians = Gaussians.fromCloud(device, cloud);
    const optimizer = new SplatOptimizer(device, gaussians.parameters);
    warmUp(gaussians, optimizer);
    const { moved, added } = await refineMcmc(gaussians, optimizer, { ...strategy, ...given }, new Rng(1, 1));
    const after = await gaussians.toCloud();
    const remembers = await remembering(gaussians, optimizer);
    optimizer.dispose();
    return { cloud: after, moved, added, remembers };
  }

  test('the faint move to where the visible are, and nothing else moves', async () => {
    const before = withDead(60, 10);
    const { cloud, moved, added, remembers } = await refined(before, { growth: 1 });
    expect([moved, added, cloud.count]).toEqual([6, 0, 60]);
    expect(Math.min(...cloud.opacityLogits)).toBeGreaterThanOrEqual(logit(0.005) - 1e-5);
    const places = Array.from({ length: 60 }, (_, i) => rowOf(before.means, i).join());
    const copied = new Set<number>();
    for (let i = 0; i < 60; i++) {
      const from = places.indexOf(rowOf(cloud.means, i).join());
      expect(from % 10 === 0).toBe(false);
      if (i % 10 === 0) copied.add(from);
      else expect(from).toBe(i);
    }
    for (let i = 0; i < 60; i++) {
      const touched = i % 10 === 0 || copied.has(i);
      expect(remembers[i]).toBe(!touched);
      if (touched) continue;
      for (const name of parameterNames.filter((name) => name !== 'shRest')) {
        const width = before[name].length / 60;
        expect(rowOf(cloud[name], i, width)).toEqual(rowOf(before[name], i, width));
      }
    }
    // Each copy and its original share opacity and size, smaller than before.
    for (const from of copied) {
      const group = Array.from({ length: 60 }, (_, i) => i).filter((i) => rowOf(cloud.means, i).join() === places[from]);
      const o = 1 / (1 + Math.exp(-before.opacityLogits[from]));
      for (const i of group) {
        expect(1 / (1 + Math.exp(-cloud.opacityLogits[i]))).toBeCloseTo(1 - (1 - o) ** (1 / group.length), 5);
        expect(rowOf(cloud.logScales, i)).toEqual(rowOf(cloud.logScales, from));
        expect(cloud.logScales[3 * i]).not.toBe(before.logScales[3 * from]);
      }
    }
  });

  test('the picture stays nearly the same', async () => {
    const before = withDead(60, 10);
    const { cloud } = await refined(before, { growth: 1.05 });
    expect(cloud.count).toBe(63);
    // What moved without the new opacities and sizes: the copies show twice.
    const naive = copyOf(cloud);
    for (let i = 0; i < 63; i++) {
      const from = Array.from({ length: 60 }, (_, k) => k).find((k) => rowOf(before.means, k).join() === rowOf(cloud.means, i).join())!;
      naive.opacityLogits[i] = before.opacityLogits[from];
      naive.logScales.set(rowOf(before.logScales, from), 3 * i);
    }
    const same: number[] = [];
    const doubled: number[] = [];
    for (const camera of orbitCameras(4)) {
      const [a, b, c] = await Promise.all([before, cloud, naive].map(async (one) => {
        using gaussians = Gaussians.fromCloud(device, one);
        return renderImage(gaussians, camera);
      }));
      same.push(psnr(a, b));
      doubled.push(psnr(a, c));
    }
    // 48.6 dB at least; the copies alone are 34.1 dB off at most.
    expect(Math.min(...same)).toBeGreaterThan(48);
    expect(Math.max(...doubled)).toBeLessThan(36);
  });

  test('the number grows by its share to the cap and no further, from any start', async () => {
    for (const [count, cap, wanted] of [[60, 100, 63], [98, 100, 100], [100, 100, 100], [100, 80, 100], [3, 100, 4], [1, 2, 2]]) {
      const { cloud, added } = await refined(solidCloud(count, 2), { cap });
      expect([cloud.count, added]).toEqual([wanted, wanted - count]);
    }
  });

  test('places are drawn in proportion to opacity', async () => {
    const cloud = solidCloud(3000, 4);
    cloud.opacityLogits.fill(logit(0.001));
    cloud.opacityLogits[7] = logit(0.9);
    cloud.opacityLogits[11] = logit(0.3);
    const { cloud: after, moved } = await refined(cloud, { growth: 1 });
    expect(moved).toBe(2998);
    const atFirst = Array.from({ length: 3000 }, (_, i) => i).filter((i) => after.means[3 * i] === cloud.means[21]).length;
    // 0.9 / 1.2 = 0.75 of 2998 draws; four standard deviations are 95.
    expect(Math.abs(atFirst - 0.75 * 2998)).toBeLessThan(96);
    expect(after.opacityLogits.every(Number.isFinite) && after.logScales.every(Number.isFinite)).toBe(true);
  });

  test('a scene of faint Gaussians alone stays, as does an opaque one', async () => {
    const faint = solidCloud(10, 1);
    faint.opacityLogits.fill(-9);
    expect(await refined(faint)).toMatchObject({ moved: 0, added: 0, cloud: { count: 10 } });
    const opaque = solidCloud(10, 1);
    opaque.opacityLogits.fill(40);
    opaque.opacityLogits[0] = -40;
    const { cloud } = await refined(opaque);
    for (const name of parameterNames) expect(cloud[name].every(Number.isFinite)).toBe(true);
  });

  test('noise moves the faint, along their own shape, and is none without a rate', async () => {
    const cloud = createCloud(4000, 0);
    for (let i = 0; i < 4000; i++) {
      cloud.quats[4 * i] = 1;
      cloud.logScales.set([Math.log(0.3), Math.log(0.1), Math.log(0.02)], 3 * i);
      cloud.opacityLogits[i] = i < 2000 ? -12 : logit(0.9);
    }
    using gaussians = Gaussians.fromCloud(device, cloud);
    exploreMcmc(gaussians, { ...strategy, noise: 0 }, 1, { seed: 1, offset: 0 });
    expect((await gaussians.toCloud()).means.every((x) => x === 0)).toBe(true);
    exploreMcmc(gaussians, { ...strategy, noise: 50 }, 0.02, { seed: 1, offset: 0 });
    const { means } = await gaussians.toCloud();
    const deviation = (k: number, from: number, to: number): number =>
      Math.sqrt(Array.from({ length: to - from }, (_, i) => means[3 * (from + i) + k] ** 2).reduce((sum, x) => sum + x, 0) / (to - from));
    // Noise is Σ n: deviations of the squares of the sizes, times σ(100 · 0.005) for an opacity of 0.
    const weight = 1 / (1 + Math.exp(-0.5));
    [0.09, 0.01, 0.0004].forEach((square, k) => expect(deviation(k, 0, 2000) / (weight * square)).toBeCloseTo(1, 1));
    expect(deviation(0, 2000, 4000)).toBeLessThan(1e-6);
  });
});
