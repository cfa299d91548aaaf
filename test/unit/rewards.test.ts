import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SceneError, ShapeError } from '../../src/binding/errors';
import { confidenceReward, poseReward, rotationErrorPerView } from '../../src/rewards';
import { rotationAbout, rigid, transformed } from '../rigid';

describe('confidenceReward', () => {
  it('takes means over pixels, then over views, and the worst view', () => {
    const e = Math.E;
    const reward = confidenceReward([1, e, e ** 2, 3, 3, 3], 2);
    expect(reward.views[0].mean).toBeCloseTo((1 + e + e * e) / 3, 12);
    expect(reward.views[0].meanLog).toBeCloseTo(1, 12);
    expect(reward.views[0].lowShare).toBeCloseTo(1 / 3, 12);
    expect(reward.views[1].meanLog).toBeCloseTo(Math.log(3), 12);
    expect(reward.mean).toBeCloseTo(((1 + e + e * e) / 3 + 3) / 2, 12);
    expect(reward.meanLog).toBeCloseTo((1 + Math.log(3)) / 2, 12);
    expect(reward.minMean).toBe(3);
    expect(reward.minMeanLog).toBeCloseTo(1, 12);
    expect(reward.invalid).toBe(0);
  });

  it('is never NaN: what is no confidence counts as the lowest, and is counted', () => {
    const reward = confidenceReward([NaN, 0.5, -Infinity, 4, Infinity, 4, 4, 4], 2);
    expect(reward.views[0]).toEqual({ mean: 7 / 4, meanLog: Math.log(4) / 4, lowShare: 3 / 4, invalid: 3 });
    expect(reward.views[1].invalid).toBe(0);
    expect(Number.isFinite(reward.mean) && Number.isFinite(reward.meanLog)).toBe(true);
  });

  it('looks at the masked pixels only', () => {
    const reward = confidenceReward([1, 5, 2, 9], 2, [0, 1, 1, 0]);
    expect(reward.views.map((view) => view.mean)).toEqual([5, 2]);
    expect(() => confidenceReward([1, 5, 2, 9], 2, [0, 0, 1, 0])).toThrow(/no pixel of view 0/);
    expect(() => confidenceReward([1, 5, 2, 9], 2, [1])).toThrow(ShapeError);
  });

  it('refuses sizes that do not fit', () => {
    expect(() => confidenceReward([1, 2, 3], 2)).toThrow(/3 confidences do not divide into 2 views/);
    expect(() => confidenceReward([], 2)).toThrow(ShapeError);
    expect(() => confidenceReward([1], 0)).toThrow(ShapeError);
  });
});

describe('poseReward', () => {
  const arc = [0, 1, 2, 3, 4].map((i) => rigid(rotationAbout([0, 1, 0], 12 * i), [0.2 * i, 0.1 * i * i, 3 - 0.3 * i]));

  it('is 1 for the same cameras, whatever world frame and scale they come in', () => {
    expect(poseReward(arc, arc).reward).toBe(1);
    const frame = rigid(rotationAbout([1, 2, -1], 77), [4, -2, 7]);
    const moved = arc.map((camera) => transformed(camera, frame, 3.7));
    const { reward, all } = poseReward(moved, arc);
    expect(reward).toBeGreaterThan(1 - 1e-12);
    expect(all).toHaveLength(10);
    for (const pair of all) expect(Math.max(pair.rotationDeg, pair.translationDeg ?? 0)).toBeLessThan(1e-5);
  });

  it('gives the closed form exp(−8 sin²(θ/2) − 2(1 − cos φ)) of uniform errors', () => {
    // Cameras without rotation along x; the estimate turns by θ about its own axis per step and moves at an angle φ.
    const [theta, phi] = [5, 10];
    const given = [0, 1, 2, 3].map((i) => rigid(rotationAbout([0, 0, 1], 0), [-i, 0, 0]));
    const estimate: number[][] = [given[0]];
    for (let i = 1; i < 4; i++) {
      const step = rigid(rotationAbout([0.3, -0.5, 0.8], theta), rotate(rotationAbout([0, 1, 0], phi), [-2, 0, 0]));
      estimate.push(transformed(step, estimate[i - 1], 1));
    }
    const { reward, adjacent } = poseReward(estimate, given);
    for (const pair of adjacent) {
      expect(pair.rotationDeg).toBeCloseTo(theta, 9);
      expect(pair.translationDeg).toBeCloseTo(phi, 9);
    }
    const [t, p] = [(theta * Math.PI) / 180, (phi * Math.PI) / 180];
    expect(reward).toBeCloseTo(Math.exp(-8 * Math.sin(t / 2) ** 2 - 2 * (1 - Math.cos(p))), 12);
    expect(reward).toBeCloseTo(0.955, 2);
  });

  it('reaches exp(−12) at the worst', () => {
    const given = [rigid(rotationAbout([0, 0, 1], 0), [0, 0, 0]), rigid(rotationAbout([0, 0, 1], 0), [1, 0, 0])];
    const opposite = [given[0], rigid(rotationAbout([0, 1, 0], 180), [-1, 0, 0])];
    expect(poseReward(opposite, given).reward).toBeCloseTo(Math.exp(-12), 15);
    const broken = [given[0], given[1].map((x, i) => (i === 5 ? NaN : x))];
    const { reward, adjacent } = poseReward(broken, given);
    expect(reward).toBeCloseTo(Math.exp(-12), 15);
    expect(adjacent[0]).toEqual({ first: 0, second: 1, rotationDeg: 180, translationDeg: 180 });
  });

  it('drops the translation where the given baseline has no direction', () => {
    const turned = (i: number): number[] => rotationAbout([0, 1, 0], 10 * i);
    // Views 1 and 2 share a centre to a 10⁻⁵ of the usual baseline.
    const centres = [[0, 0, 0], [1, 0, 0], [1.00001, 0, 0], [2, 0.1, 0]];
    const cameras = (positions: number[][]): number[][] =>
      positions.map((c, i) => rigid(turned(i), rotate(turned(i), c).map((x) => -x)));
    const estimate = cameras([[0, 0, 0], [1, 0, 0], [1, 0, 0.5], [2, 0.1, 0]]);
    const { adjacent, reward } = poseReward(estimate, cameras(centres));
    expect(adjacent[1].translationDeg).toBeNull();
    expect(adjacent[0].translationDeg).toBeLessThan(1e-9);
    const last = (2 * adjacent.reduce((sum, pair) => sum + 1 - Math.cos(((pair.translationDeg ?? 0) * Math.PI) / 180), 0)) / 3;
    expect(reward).toBeCloseTo(Math.exp(-last), 12);
  });

  it('counts an estimate that stands still as an undirected 90°: repeated views get no free pass', () => {
    const still = arc.map(() => arc[0]);
    for (const pair of poseReward(still, arc).adjacent) expect(pair.translationDeg).toBe(90);
  });

  it('takes 4x4 matrices, one view, and refuses what does not fit', () => {
    const square = arc.map((camera) => [...camera, 0, 0, 0, 1]);
    expect(poseReward(square, arc).reward).toBe(1);
    expect(poseReward([arc[0]], [arc[0]])).toEqual({ reward: 1, adjacent: [], all: [] });
    expect(() => poseReward(arc, arc.slice(1))).toThrow(ShapeError);
    expect(() => poseReward([], [])).toThrow(ShapeError);
    expect(() => poseReward([[1, 2]], [arc[0]])).toThrow(/estimated camera 0 has 2 numbers/);
    expect(() => poseReward([arc[0]], [arc[0].map(() => NaN)])).toThrow(SceneError);
  });

  it('averages pairs per view', () => {
    const pairs = [
      { first: 0, second: 1, rotationDeg: 2, translationDeg: 0 },
      { first: 1, second: 2, rotationDeg: 4, translationDeg: 0 },
    ];
    expect(rotationErrorPerView(pairs, 3)).toEqual([2, 3, 4]);
  });
});

describe('reference case pose-error', () => {
  it('has the same errors over all pairs', () => {
    const dir = join(__dirname, '../golden/pose-error');
    const inputs = readFloats(join(dir, 'inputs.safetensors'));
    const expected = readFloats(join(dir, 'expected.safetensors'));
    const cameras = (name: string): Float32Array[] => {
      const data = inputs.get(name)!;
      return Array.from({ length: data.length / 12 }, (_, i) => data.subarray(12 * i, 12 * i + 12));
    };
    const { all } = poseReward(cameras('estimate'), cameras('reference'));
    expect(all).toHaveLength(expected.get('rotation_deg')!.length);
    all.forEach((pair, i) => {
      expect(pair.rotationDeg).toBeCloseTo(expected.get('rotation_deg')![i], 3);
      expect(pair.translationDeg).toBeCloseTo(expected.get('translation_deg')![i], 3);
    });
  });
});

function rotate(r: readonly number[], v: readonly number[]): number[] {
  return [0, 1, 2].map((i) => r[3 * i] * v[0] + r[3 * i + 1] * v[1] + r[3 * i + 2] * v[2]);
}

function readFloats(file: string): Map<string, Float32Array> {
  const bytes = readFileSync(file);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<string, { data_offsets: [number, number] }>;
  return new Map(
    Object.entries(header)
      .filter(([name]) => name !== '__metadata__')
      .map(([name, { data_offsets: [from, to] }]) => {
        const slice = Uint8Array.prototype.slice.call(bytes, 8 + length + from, 8 + length + to);
        return [name, new Float32Array(slice.buffer)];
      }),
  );
}
