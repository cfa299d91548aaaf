import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ShapeError } from '../../src/binding/errors';
import { Device } from '../../src/tensor/device';
import { allPairs, poseError, poseToExtrinsics } from '../../src/tensor/ops';
import { SafetensorsFile } from '../../src/tensor/safetensors';
import type { Tensor } from '../../src/tensor/tensor';

const device = Device.open('cpu');
const golden = join(__dirname, '..', 'golden', 'pose-error');

afterAll(() => device.dispose());

const pairTensor = (pairs: ArrayLike<number>): Tensor => device.tensor(Int32Array.from(pairs), [pairs.length / 2, 2]);
const DEG = Math.PI / 180;

/** Camera-from-world rotation by `deg` about y, with translation t. */
function about(deg: number, t: number[]): number[] {
  const [c, s] = [Math.cos(deg * DEG), Math.sin(deg * DEG)];
  return [c, 0, s, t[0], 0, 1, 0, t[1], -s, 0, c, t[2]];
}

async function errors(estimate: number[][], reference: number[][], ignoreSign = false): Promise<[number[], number[]]> {
  const shape = [estimate.length, 3, 4];
  const found = poseError(device.tensor(estimate.flat(), shape), device.tensor(reference.flat(), shape), pairTensor(allPairs(estimate.length)), { ignoreSign });
  return [Array.from(await found.rotationDeg.toFloat32()), Array.from(await found.translationDeg.toFloat32())];
}

describe('poseError', () => {
  test('matches the reference case', async () => {
    const { pairs } = JSON.parse(readFileSync(join(golden, 'case.json'), 'utf8')) as { pairs: number[][] };
    const inputs = new SafetensorsFile(device, join(golden, 'inputs.safetensors'));
    const expected = new SafetensorsFile(device, join(golden, 'expected.safetensors'));
    const found = poseError(inputs.load('estimate'), inputs.load('reference'), pairTensor(pairs.flat()));
    for (const [name, tensor] of [['rotation_deg', found.rotationDeg], ['translation_deg', found.translationDeg]] as const) {
      const want = await expected.load(name).toFloat32();
      const got = await tensor.toFloat32();
      const peak = Math.max(...want);
      // Measured worst 8e-6: the reference's arc cosines lose digits near 0.
      want.forEach((value, i) => expect(Math.abs(got[i] - value) / peak).toBeLessThan(2e-5));
    }
  });

  test('gives closed-form angles, exact down to small and up to half turns', async () => {
    const still = about(0, [0, 0, 0]);
    for (const angle of [1e-4, 0.5, 30, 90, 179.99]) {
      const [rotation, translation] = await errors([still, about(angle, [1, 0, 0])], [still, about(0, [Math.cos(angle * DEG), Math.sin(angle * DEG), 0])]);
      expect(Math.abs(rotation[0] - angle)).toBeLessThan(1e-5 + 1e-6 * angle);
      expect(Math.abs(translation[0] - angle)).toBeLessThan(1e-5 + 1e-6 * angle);
      const [, unsigned] = await errors([still, about(0, [1, 0, 0])], [still, about(0, [Math.cos(angle * DEG), Math.sin(angle * DEG), 0])], true);
      expect(Math.abs(unsigned[0] - Math.min(angle, 180 - angle))).toBeLessThan(1e-5 + 1e-6 * angle);
    }
  });

  test('does not see the world frame nor the scale', async () => {
    const poses = [about(0, [0, 0, 1]), about(20, [1, 0.5, 1]), about(-35, [-1, 0.2, 1.5])];
    // T' = T G^-1 with G a rotation about y and a shift; then translations times 7.
    const turned = poses.map((pose) => {
      const [c, s] = [Math.cos(0.4), Math.sin(0.4)];
      const out = [...pose];
      for (let r = 0; r < 3; r++) {
        const [a, b] = [pose[4 * r], pose[4 * r + 2]];
        out[4 * r] = a * c - b * s;
        out[4 * r + 2] = a * s + b * c;
        out[4 * r + 3] = 7 * (pose[4 * r + 3] + out[4 * r] * 2 - out[4 * r + 2]);
      }
      return out;
    });
    const [rotation, translation] = await errors(turned, poses);
    for (const value of [...rotation, ...translation]) expect(value).toBeLessThan(3e-5);
  });

  test('degenerate baselines: nothing to compare is 0, a vanished estimate is 90', async () => {
    const [here, turned, away] = [about(0, [1, 2, 3]), about(0, [1, 2, 3]), about(0, [2, 2, 3])];
    expect((await errors([here, away], [here, turned]))[1]).toEqual([0]);
    expect((await errors([here, turned], [here, away]))[1]).toEqual([90]);
    expect((await errors([here, turned], [here, turned]))[1]).toEqual([0]);
  });

  test('wrong shapes and indices are typed errors', async () => {
    const poses = device.tensor(new Float32Array(24), [2, 3, 4]);
    expect(() => poseError(poses, device.tensor(new Float32Array(12), [1, 3, 4]), pairTensor([0, 1]))).toThrow(ShapeError);
    expect(() => poseError(poses, poses, device.tensor(Int32Array.from([0, 1]), [2]))).toThrow(/pairs \[P,2\]/);
    await expect(poseError(poses, poses, pairTensor([0, 2])).rotationDeg.read()).rejects.toThrow(/views in \[0, 2\)/);
  });
});

describe('poseToExtrinsics', () => {
  test('turns by the quaternion, of any length', () => {
    const half = 30 * DEG;
    for (const length of [1, 5]) {
      const found = poseToExtrinsics([1, 2, 3, 0, length * Math.sin(half), 0, length * Math.cos(half)]);
      about(60, [1, 2, 3]).forEach((value, i) => expect(found[i]).toBeCloseTo(value, 12));
    }
  });
});
