/** Where a fit starts: nearest neighbours, sparse points and random Gaussians. */
import { SceneError } from '../../src/binding/errors';
import { project } from '../../src/scene/cameras';
import type { Camera } from '../../src/scene/cameras';
import { SH_Y0 } from '../../src/scene/gaussians/cloud';
import { cloudAtRandom, cloudFromPoints, sceneExtent } from '../../src/scene/gaussians/initialise';
import { meanNeighbourDistance } from '../../src/scene/gaussians/nearest';
import { Rng } from '../../src/scene/procedural/rng';
import { orbitCamera } from './splat-scenes';
import { randomOf } from './splat-fixtures';

/** All distances, sorted. */
function bruteForce(positions: Float32Array, neighbours: number): number[] {
  const count = positions.length / 3;
  return Array.from({ length: count }, (_, i) => {
    const distances: number[] = [];
    for (let j = 0; j < count; j++) {
      if (j !== i) distances.push(Math.hypot(...[0, 1, 2].map((k) => positions[3 * i + k] - positions[3 * j + k])));
    }
    const nearest = distances.sort((a, b) => a - b).slice(0, neighbours);
    return nearest.length === 0 ? 0 : nearest.reduce((sum, x) => sum + x, 0) / nearest.length;
  });
}

function points(count: number, seed: number, make: (random: () => number, i: number) => [number, number, number]): Float32Array {
  const random = randomOf(seed);
  return Float32Array.from(Array.from({ length: count }, (_, i) => make(random, i)).flat());
}

describe('mean distance to the nearest', () => {
  const any = (random: () => number): [number, number, number] => [random(), random(), random()];
  const sets: [string, Float32Array][] = [
    ['random', points(400, 1, any)],
    ['far from the origin, flat and clustered', points(300, 2, (random, i) => [1000 + 10 * (i % 3) + random(), -500 + random() ** 6, 3])],
    ['on a grid', points(343, 3, (_, i) => [i % 7, Math.floor(i / 7) % 7, Math.floor(i / 49)])],
    ['on a line', points(300, 4, (random) => { const t = random(); return [t, 2 * t, -t]; })],
    ['along one axis, in order', points(300, 5, (_, i) => [i * i, 0, 0])],
    ['many twice or more', points(300, 6, (random) => [Math.floor(4 * random()), Math.floor(4 * random()), Math.floor(4 * random())])],
    ['all in one place', points(200, 7, () => [1, 2, 3])],
    ...[1, 2, 3, 4, 8, 9, 10].map((count): [string, Float32Array] => [`only ${count}`, points(count, 8, any)]),
  ];

  test.each(sets)('%s: as brute force has it', (_, positions) => {
    for (const neighbours of [1, 3, 5]) {
      const wanted = bruteForce(positions, neighbours);
      const got = meanNeighbourDistance(positions, neighbours);
      const worst = Math.max(...wanted.map((value, i) => Math.abs(got[i] - value) / (value + 1e-30)));
      // Rounding to f32.
      expect(worst).toBeLessThan(6e-8);
    }
  });

  test('none of none', () => expect(meanNeighbourDistance(new Float32Array())).toHaveLength(0));

  test('a hundred thousand on a line are no slower than elsewhere', () => {
    const begun = performance.now();
    meanNeighbourDistance(Float32Array.from({ length: 300_000 }, (_, i) => (i % 3 === 0 ? i : 0)));
    // 0.9 s; ten times that where splits do not cut the line.
    expect(performance.now() - begun).toBeLessThan(5000);
  });
});

describe('from points', () => {
  const positions = points(30, 1, (random) => [random(), random(), random()]);
  const colors = Uint8Array.from({ length: 90 }, (_, i) => (i * 37) % 256);

  test('a round, faint Gaussian of its colour at each', () => {
    const cloud = cloudFromPoints({ count: 30, positions, colors }, { shDegree: 2, most: 30, rng: new Rng(1, 1) });
    expect([cloud.count, cloud.shDegree]).toEqual([30, 2]);
    expect([...cloud.means]).toEqual([...positions]);
    cloud.sh0.forEach((value, i) => expect(0.5 + SH_Y0 * value).toBeCloseTo(colors[i] / 255, 6));
    bruteForce(positions, 3).forEach((distance, i) => {
      for (let k = 0; k < 3; k++) expect(Math.exp(cloud.logScales[3 * i + k]) / distance).toBeCloseTo(1, 5);
      expect([...cloud.quats.subarray(4 * i, 4 * i + 4)]).toEqual([1, 0, 0, 0]);
      expect(1 / (1 + Math.exp(-cloud.opacityLogits[i]))).toBeCloseTo(0.1, 6);
    });
    expect(cloud.shRest.every((value) => value === 0)).toBe(true);
  });

  test('without colours grey; coinciding points get a size', () => {
    const twice = Float32Array.from([...positions, ...positions, ...positions, ...positions]);
    for (const of of [twice, positions.slice(0, 3), new Float32Array(60)]) {
      const cloud = cloudFromPoints({ count: of.length / 3, positions: of }, { shDegree: 0, most: 1000, rng: new Rng(1, 1) });
      expect(cloud.sh0.every((value) => value === 0)).toBe(true);
      expect(cloud.logScales.every((value) => Number.isFinite(value) && value > -15)).toBe(true);
    }
  });

  test('at most so many, each once, the same for the same seed', () => {
    const many = { count: 3000, positions: points(3000, 2, (random) => [random(), random(), random()]) };
    const draw = (seed: number): Float32Array => cloudFromPoints(many, { shDegree: 0, most: 500, rng: new Rng(seed, 1) }).means;
    const xs = [...draw(1)].filter((_, i) => i % 3 === 0);
    expect(new Set(xs).size).toBe(500);
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
    // Drawn from all of them: each tenth gets its share, 50 ± 5 standard deviations.
    const order = new Map([...many.positions].flatMap((x, i) => (i % 3 === 0 ? [[x, i / 3] as const] : [])));
    const shares = new Array<number>(10).fill(0);
    for (const x of xs) shares[Math.floor(order.get(x)! / 300)] += 1;
    for (const share of shares) expect(Math.abs(share - 50)).toBeLessThan(32);
  });

  test('a few of very many in little time', () => {
    const million = { count: 1_000_000, positions: Float32Array.from({ length: 3_000_000 }, (_, i) => Math.sin(i)) };
    const begun = performance.now();
    expect(cloudFromPoints(million, { shDegree: 0, most: 20_000, rng: new Rng(1, 1) }).count).toBe(20_000);
    // 0.6 s; 3.2 s where each draw moves all that are left.
    expect(performance.now() - begun).toBeLessThan(2500);
  });

  test('no points are an error that names the ways out', () => {
    const none = { count: 0, positions: new Float32Array() };
    expect(() => cloudFromPoints(none, { shDegree: 0, most: 9, rng: new Rng(1, 1) })).toThrow(SceneError);
    expect(() => cloudFromPoints(none, { shDegree: 0, most: 9, rng: new Rng(1, 1) })).toThrow(/--init random or --init verifier/);
  });
});

describe('at random', () => {
  const cameras = [0, 60, 120].map((azimuth) => orbitCamera(azimuth, 32, 20, 4));

  test('each Gaussian stands in front of a camera, within its picture, and all depths occur', () => {
    const cloud = cloudAtRandom(cameras, { count: 500, shDegree: 1, rng: new Rng(1, 1) });
    const distance = 1.5 * sceneExtent(cameras);
    const meanOf = (i: number): [number, number, number] => [cloud.means[3 * i], cloud.means[3 * i + 1], cloud.means[3 * i + 2]];
    const inView = (camera: Camera, i: number): boolean => {
      const { u, v, z } = project(camera, meanOf(i));
      return z > 0.0999 * distance && z < 2.001 * distance && u > -0.01 && v > -0.01 && u < 32.01 && v < 32.01;
    };
    for (let i = 0; i < 500; i++) expect(cameras.some((camera) => inView(camera, i))).toBe(true);
    const depths = Array.from({ length: 500 }, (_, i) => Math.min(...cameras.map((camera) => Math.abs(project(camera, meanOf(i)).z))));
    expect(Math.min(...depths)).toBeLessThan(0.6 * distance);
    expect(Math.max(...depths)).toBeGreaterThan(1.2 * distance);
    cloud.sh0.forEach((value) => expect(Math.abs(SH_Y0 * value)).toBeLessThanOrEqual(0.5));
    expect(cloud.logScales.every(Number.isFinite)).toBe(true);
  });

  test('the same seed, the same Gaussians', () => {
    const draw = (seed: number): Float32Array => cloudAtRandom(cameras, { count: 50, shDegree: 0, rng: new Rng(seed, 1) }).means;
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
  });
});

test('the extent of a scene is 1.1 times the largest distance of a camera to their mean', () => {
  const at = (x: number): Camera => ({ ...orbitCamera(0), worldToCam: Float64Array.from([1, 0, 0, -x, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]) });
  expect(sceneExtent([at(0), at(1), at(5)])).toBeCloseTo(1.1 * 3, 12);
  expect(sceneExtent([at(7)])).toBe(1);
  expect(sceneExtent([at(7), at(7)])).toBe(1);
});
