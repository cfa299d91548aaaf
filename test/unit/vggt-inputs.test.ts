import { ShapeError } from '../../src/binding/errors';
import { decodePoses, encodePose, originalIntrinsics, planInput, preprocess, quaternion, roundHalfEven } from '../../src/models/vggt';
import { planeEmbedding, ropeTable } from '../../src/models/vggt/positions';
import { Device } from '../../src/tensor/device';
import { rigid, rotationAbout } from '../rigid';

const device = Device.open('cpu');

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
