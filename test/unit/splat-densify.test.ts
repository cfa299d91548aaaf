/** Where Gaussians come from and go to by picture-plane gradients: clone, split, prune, reset; and their moments. */
import { createCloud } from '../../src/scene/gaussians/cloud';
import type { GaussianCloud } from '../../src/scene/gaussians/cloud';
import { DensityStatistics, refineDensity, resetOpacities } from '../../src/scene/gaussians/densify';
import { Gaussians, joinClouds, parameterNames, selectCloud } from '../../src/scene/gaussians/gaussians';
import { SplatOptimizer } from '../../src/scene/gaussians/optimizer';
import type { Rendering } from '../../src/scene/gaussians/rasterize';
import type { DensifyStrategy } from '../../src/scene/gaussians/recipe';
import { Rng } from '../../src/scene/procedural/rng';
import { Device } from '../../src/tensor/device';
import { logit, remembering, rowOf, solidCloud, tensorsOf, warmUp } from './splat-scenes';

const device = Device.open('cpu');
let atStart: number;
beforeEach(async () => (atStart = await tensorsOf(device)));
afterEach(async () => expect(await tensorsOf(device)).toBe(atStart));
afterAll(() => device.dispose());

describe('densification', () => {
  const strategy: DensifyStrategy = {
    kind: 'densify', cap: 100, from: 0, until: 1, every: 1, gradient: 0.1, cloneSize: 0.05, pruneOpacity: 0.005, pruneSize: 0.5, resetEvery: 10,
  };

  /** Statistics of Gaussians with those gradients, in NDC units of a 20 × 10 picture; NaN for one out of sight. */
  function observe(statistics: DensityStatistics, norms: readonly number[]): void {
    const projected = new Float32Array(12 * norms.length);
    const gradients = new Float32Array(10 * norms.length);
    norms.forEach((norm, i) => {
      if (Number.isNaN(norm)) return;
      projected.set([5, 5, 1, 0, 1, 0.5, 0, 0, 0, 1, 3, 3], 12 * i);
      // 3-4-5: u counts half the width, v half the height.
      gradients.set([(0.6 * norm) / 10, (0.8 * norm) / 5], 10 * i);
    });
    const [p, d] = [device.tensor(projected, [norms.length, 12]), device.tensor(gradients, [norms.length, 10])];
    statistics.add({ projected: p } as Rendering, d, 20, 10);
    p.dispose();
    d.dispose();
  }

  /** Kept, cloned, split, faint, huge, and one that only sometimes shows. */
  function scene(): GaussianCloud {
    const cloud = solidCloud(6, 8);
    cloud.logScales.fill(Math.log(0.01));
    cloud.logScales.set([Math.log(0.2), Math.log(0.05), Math.log(0.01)], 6);
    cloud.opacityLogits[3] = logit(0.0049);
    cloud.logScales[12] = Math.log(1.1);
    return cloud;
  }
  const seen = [
    [0.09, 0.3, 0.2, 9, 0, 0.15],
    [0.1, 0.1, 0.3, 9, 0, NaN],
  ];

  async function refined(
    cloud: GaussianCloud, given: Partial<DensifyStrategy>, pruneHuge: boolean, norms = seen,
  ): Promise<{ cloud: GaussianCloud; remembers: boolean[] }> {
    using gaussians = Gaussians.fromCloud(device, cloud);
    const optimizer = new SplatOptimizer(device, gaussians.parameters);
    warmUp(gaussians, optimizer);
    const statistics = new DensityStatistics(gaussians);
    for (const row of norms) observe(statistics, row);
    await refineDensity(gaussians, optimizer, statistics, { ...strategy, ...given }, { extent: 2, pruneHuge, rng: new Rng(1, 2) });
    const after = await gaussians.toCloud();
    // Begun anew, at the new number.
    expect([...(await statistics.take())]).toEqual(new Array(after.count).fill(0));
    const remembers = await remembering(gaussians, optimizer);
    optimizer.dispose();
    statistics.dispose();
    return { cloud: after, remembers };
  }

  test('statistics are means over the views that show a Gaussian', async () => {
    using gaussians = Gaussians.fromCloud(device, scene());
    const statistics = new DensityStatistics(gaussians);
    for (const row of seen) observe(statistics, row);
    const norms = await statistics.take();
    [0.095, 0.2, 0.25, 9, 0, 0.15].forEach((norm, i) => expect(norms[i]).toBeCloseTo(norm, 6));
    expect([...(await statistics.take())]).toEqual([0, 0, 0, 0, 0, 0]);
    statistics.dispose();
  });

  test('clones the small, splits the large, drops the faint', async () => {
    const before = scene();
    const { cloud, remembers } = await refined(before, {}, false);
    // 0, 1, its clone, both halves of 2, 4, 5 and its clone.
    expect(cloud.count).toBe(8);
    expect(remembers).toEqual([true, true, false, false, false, true, true, false]);
    expect([0, 1, 2, 5, 6, 7].map((row) => rowOf(cloud.means, row))).toEqual([0, 1, 1, 4, 5, 5].map((i) => rowOf(before.means, i)));
    for (const row of [3, 4]) {
      expect(rowOf(cloud.means, row)).not.toEqual(rowOf(before.means, 2));
      for (let k = 0; k < 3; k++) {
        expect(cloud.logScales[3 * row + k]).toBeCloseTo(before.logScales[6 + k] - Math.log(1.6), 6);
        expect(Math.abs(cloud.means[3 * row + k] - before.means[6 + k])).toBeLessThan(1);
      }
      expect(rowOf(cloud.sh0, row)).toEqual(rowOf(before.sh0, 2));
      expect(cloud.opacityLogits[row]).toBe(before.opacityLogits[2]);
    }
    expect(rowOf(cloud.means, 3)).not.toEqual(rowOf(cloud.means, 4));
  });

  test('drops the huge once opacities were reset, and keeps to the cap', async () => {
    expect((await refined(scene(), {}, true)).cloud.count).toBe(7);
    for (const cap of [5, 6]) expect((await refined(scene(), { cap }, false)).cloud.count).toBe(5);
    expect((await refined(scene(), { cap: 7 }, false)).cloud.count).toBe(6);
    const none = scene();
    none.opacityLogits.fill(-9);
    expect((await refined(none, {}, false)).cloud.count).toBe(6);
  });

  test('halves of a split lie as the Gaussian did', async () => {
    const many = createCloud(4000, 0);
    const one = selectCloud(solidCloud(3, 8), [1]);
    one.logScales.set([Math.log(0.4), Math.log(0.2), Math.log(0.05)]);
    one.means.fill(0);
    for (const name of parameterNames) for (let i = 0; i < 4000; i++) many[name].set(one[name], one[name].length * i);
    const { cloud } = await refined(many, { cap: 8000 }, false, [new Array<number>(4000).fill(1)]);
    expect(cloud.count).toBe(8000);
    // Σ = R diag(s²) Rᵀ, R from the quaternion by rotating the axes: q a q*.
    const axes = [0, 1, 2].map((k) => turned([...one.quats], [0, 1, 2].map((j) => (j === k ? Math.exp(one.logScales[k]) : 0))));
    for (let a = 0; a < 3; a++) {
      for (let b = 0; b <= a; b++) {
        const wanted = axes.reduce((sum, axis) => sum + axis[a] * axis[b], 0);
        let got = 0;
        for (let i = 0; i < 8000; i++) got += (cloud.means[3 * i + a] * cloud.means[3 * i + b]) / 8000;
        // Four standard errors of a sample covariance of 8000.
        const spreadOf = (k: number): number => axes.reduce((sum, axis) => sum + axis[k] ** 2, 0);
        expect(Math.abs(got - wanted)).toBeLessThan(4 * Math.sqrt((wanted ** 2 + spreadOf(a) * spreadOf(b)) / 8000));
      }
    }
  });

  test('a reset cuts opacities to 0.01 and forgets their moments alone', async () => {
    const before = scene();
    using gaussians = Gaussians.fromCloud(device, before);
    const optimizer = new SplatOptimizer(device, gaussians.parameters);
    warmUp(gaussians, optimizer);
    resetOpacities(gaussians, optimizer);
    const after = await gaussians.toCloud();
    after.opacityLogits.forEach((value, i) => expect(value).toBeCloseTo(Math.min(before.opacityLogits[i], logit(0.01)), 5));
    expect(await remembering(gaussians, optimizer)).toEqual(new Array(6).fill(true));
    expect([...(await gaussians.toCloud()).opacityLogits]).toEqual([...after.opacityLogits]);
    optimizer.dispose();
  });
});

test('rows of an optimiser follow their Gaussians', async () => {
  const cloud = joinClouds(solidCloud(2, 1), solidCloud(2, 2));
  using gaussians = Gaussians.fromCloud(device, cloud);
  const optimizer = new SplatOptimizer(device, gaussians.parameters, { sh0: Float32Array.of(0, 1, 0, 1) });
  warmUp(gaussians, optimizer);
  const order = Int32Array.of(3, 2, 1, 1, 0);
  gaussians.gather(order);
  optimizer.gather(order, (row) => row === 3);
  const gathered = await gaussians.toCloud();
  expect([...gathered.means]).toEqual([...selectCloud(cloud, order).means]);
  // Factors of 0 move with their Gaussians too.
  expect(await remembering(gaussians, optimizer)).toEqual([true, false, true, false, false]);
  expect(() => gaussians.gather(new Int32Array())).toThrow(/none would be left/);
  optimizer.dispose();
});

/** v turned by a quaternion (w, x, y, z) of any length. */
function turned(q: number[], v: number[]): number[] {
  const times = (a: number[], b: number[]): number[] => [
    a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
    a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
    a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
    a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
  ];
  const square = q.reduce((sum, x) => sum + x * x, 0);
  return times(times(q, [0, ...v]), [q[0], -q[1], -q[2], -q[3]]).slice(1).map((x) => x / square);
}
