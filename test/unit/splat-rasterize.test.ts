/** Rendering through the runtime: gradients of a whole loss, cameras, frames of reference, what is out of sight. */
import { cameraCentre, invertRigid, multiply, project } from '../../src/scene/cameras';
import type { Camera } from '../../src/scene/cameras';
import type { GaussianCloud } from '../../src/scene/gaussians/cloud';
import { createCloud } from '../../src/scene/gaussians/cloud';
import { Gaussians, joinClouds, parameterNames, selectCloud, withDegree } from '../../src/scene/gaussians/gaussians';
import { rasterize, renderImage } from '../../src/scene/gaussians/rasterize';
import { transformCloud } from '../../src/scene/gaussians/transform';
import { Device } from '../../src/tensor/device';
import { photometricLoss } from '../../src/tensor/ops';
import { rotationAbout } from '../rigid';
import { copyOf, orbitCamera, orbitCameras, solidCloud, tensorsOf } from './splat-scenes';
import { randomOf } from './splat-fixtures';

const device = Device.open('cpu');
let atStart: number;
beforeEach(async () => (atStart = await tensorsOf(device)));
afterEach(async () => expect(await tensorsOf(device)).toBe(atStart));
afterAll(() => device.dispose());

/** Off-centre principal point, unequal focal lengths. */
const lens = { width: 9, height: 7, fx: 11, fy: 10, cx: 5.3, cy: 2.9 };
const lopsided: Camera = { ...orbitCamera(30), ...lens };

/** Five Gaussians that cover every pixel: no pixel is near a threshold. */
function wideCloud(shDegree: number): GaussianCloud {
  const cloud = solidCloud(5, 3, shDegree);
  const random = randomOf(5);
  cloud.means.forEach((_, i) => (cloud.means[i] = 0.5 * random() - 0.25));
  cloud.logScales.forEach((_, i) => (cloud.logScales[i] = 0.1 + 0.3 * random()));
  cloud.opacityLogits.forEach((_, i) => (cloud.opacityLogits[i] = random() - 0.7));
  cloud.sh0.forEach((_, i) => (cloud.sh0[i] = random()));
  return cloud;
}

/** (1 − w) · L1 + w · (1 − SSIM) in float64, SSIM with an 11×11 Gaussian of σ 1.5 and zero padding. */
function lossOf(x: ArrayLike<number>, y: ArrayLike<number>, weight: number, { width, height } = lens): number {
  const taps = Array.from({ length: 11 }, (_, k) => Math.exp(-((k - 5) ** 2) / 4.5));
  const total = taps.reduce((sum, tap) => sum + tap, 0);
  const at = (image: ArrayLike<number>, c: number, px: number, py: number): number =>
    px < 0 || py < 0 || px >= width || py >= height ? 0 : image[(c * height + py) * width + px];
  let [l1, ssim] = [0, 0];
  for (let c = 0; c < 3; c++) {
    for (let py = 0; py < height; py++) {
      for (let px = 0; px < width; px++) {
        let [mx, my, xx, yy, xy] = [0, 0, 0, 0, 0];
        for (let i = 0; i < 11; i++) {
          for (let j = 0; j < 11; j++) {
            const tap = (taps[i] * taps[j]) / total ** 2;
            const [a, b] = [at(x, c, px + j - 5, py + i - 5), at(y, c, px + j - 5, py + i - 5)];
            [mx, my, xx, yy, xy] = [mx + tap * a, my + tap * b, xx + tap * a * a, yy + tap * b * b, xy + tap * a * b];
          }
        }
        ssim += ((2 * mx * my + 1e-4) * (2 * (xy - mx * my) + 9e-4)) / ((mx * mx + my * my + 1e-4) * (xx - mx * mx + yy - my * my + 9e-4));
        l1 += Math.abs(at(x, c, px, py) - at(y, c, px, py));
      }
    }
  }
  const values = 3 * width * height;
  return (1 - weight) * (l1 / values) + weight * (1 - ssim / values);
}

/** Worst errors of degrees 0 to 3, relative to the largest gradient, × 1.05: the differences' own, of steps of 1/64. */
const tolerance = { means: 1.2e-4, quats: 8.6e-4, logScales: 9e-5, opacityLogits: 4.3e-5, sh0: 8.8e-6, shRest: 7e-6 };

describe('gradients of L1 and SSIM against central differences', () => {
  test.each([0, 3])('harmonics of degree %i', async (shDegree) => {
    const cloud = wideCloud(shDegree);
    const random = randomOf(9);
    // Far from what is shown: |x − y| has no kink nearby.
    const target = Float32Array.from({ length: 3 * 63 }, () => 0.1 * random());
    const options = { background: [0.7, 0.8, 0.9] as const };
    const weight = 0.4;
    using gaussians = Gaussians.fromCloud(device, cloud);
    using rendering = await rasterize(gaussians, lopsided, options);
    const y = device.tensor(target, [3, 7, 9]);
    const { terms, gradient } = photometricLoss(rendering.image, y, undefined, weight);
    const [l1, ssim] = await terms.toFloat32();
    const image = await rendering.image.toFloat32();
    expect((1 - weight) * l1 + weight * (1 - ssim)).toBeCloseTo(lossOf(image, target, weight), 6);
    const { parameters, projected } = rendering.backward({ image: gradient });
    for (const name of parameterNames) {
      const analytic = await parameters[name].toFloat32();
      const values = cloud[name];
      const numeric: number[] = [];
      for (let k = 0; k < values.length; k++) {
        const moved = Float32Array.from(values);
        const losses: number[] = [];
        const ends: number[] = [];
        for (const step of [1 / 64, -1 / 64]) {
          moved[k] = values[k] + step;
          ends.push(moved[k]);
          gaussians.parameters[name].write(moved);
          using there = await rasterize(gaussians, lopsided, options);
          losses.push(lossOf(await there.image.toFloat32(), target, weight));
        }
        numeric.push((losses[0] - losses[1]) / (ends[0] - ends[1]));
      }
      gaussians.parameters[name].write(values);
      const largest = Math.max(1e-9, ...numeric.map(Math.abs));
      const worst = Math.max(0, ...numeric.map((value, k) => Math.abs(value - analytic[k]) / largest));
      expect(worst).toBeLessThan(tolerance[name]);
      if (values.length > 0) expect(largest).toBeGreaterThan(1e-4);
    }
    for (const tensor of [y, terms, gradient, projected, ...Object.values(parameters)]) tensor.dispose();
  });
});

test('centres lie where project() of the cameras puts them, with an off-centre principal point', async () => {
  const cloud = solidCloud(60, 4);
  using gaussians = Gaussians.fromCloud(device, cloud);
  for (const camera of [lopsided, { ...orbitCamera(200, 32, 50), cx: 3, cy: 40, fx: 60 }]) {
    using rendering = await rasterize(gaussians, camera);
    const rows = await rendering.projected.toFloat32();
    let shown = 0;
    for (let i = 0; i < 60; i++) {
      if (rows[12 * i + 10] === 0) continue;
      shown += 1;
      const { u, v, z } = project(camera, [cloud.means[3 * i], cloud.means[3 * i + 1], cloud.means[3 * i + 2]]);
      expect(Math.abs(rows[12 * i] - u)).toBeLessThan(2e-5);
      expect(Math.abs(rows[12 * i + 1] - v)).toBeLessThan(2e-5);
      expect(Math.abs(rows[12 * i + 9] - z)).toBeLessThan(2e-6);
    }
    expect(shown).toBeGreaterThanOrEqual(15);
  }
});

test('a dot is brightest at the pixel whose centre it is on, and its depth is there', async () => {
  const dot = createCloud(1, 0);
  dot.quats[0] = 1;
  dot.logScales.fill(Math.log(0.01));
  dot.opacityLogits.fill(4);
  dot.sh0.fill(1);
  const camera = { ...orbitCamera(77), cx: 20.5, cy: 9.5 };
  using gaussians = Gaussians.fromCloud(device, dot);
  using rendering = await rasterize(gaussians, camera);
  const [alpha, median] = [await rendering.alpha.toFloat32(), await rendering.medianDepth.toFloat32()];
  expect(alpha.indexOf(Math.max(...alpha))).toBe(9 * 32 + 20);
  expect(median[9 * 32 + 20]).toBeCloseTo(4, 5);
  expect(median[0]).toBe(0);
});

describe('the world has no preferred frame', () => {
  test.each([1, 2.5])('a scene and its cameras moved together, scale %d, give the same picture', async (scale) => {
    const cloud = solidCloud(60, 7, 3);
    const rotation = rotationAbout([1, -2, 0.5], 130);
    const translation = [3, -1, 2];
    const moved = transformCloud(cloud, { rotation, translation, scale });
    const frame = Float64Array.from([...[0, 1, 2].flatMap((i) => [...rotation.slice(3 * i, 3 * i + 3), translation[i]]), 0, 0, 0, 1]);
    using here = Gaussians.fromCloud(device, cloud);
    using there = Gaussians.fromCloud(device, moved);
    let worst = 0;
    let contrast = 0;
    for (const camera of orbitCameras(3)) {
      // x′ = s R x + t is seen at s times the depth: camera-from-world is that of x, its translation scaled, after the frame's inverse.
      const scaled = Float64Array.from(camera.worldToCam, (value, i) => (i % 4 === 3 && i < 12 ? scale * value : value));
      const worldToCam = multiply(scaled, invertRigid(frame));
      const [a, b] = [await renderImage(here, camera), await renderImage(there, { ...camera, worldToCam })];
      a.data.forEach((value, i) => (worst = Math.max(worst, Math.abs(value - b.data[i]))));
      contrast = Math.max(contrast, ...a.data);
    }
    expect(contrast).toBeGreaterThan(0.5);
    expect(worst).toBeLessThan(9.4e-7);
  });
});

describe('what is not seen', () => {
  test('a scene behind the camera, beside it or of no Gaussians shows the background', async () => {
    const background = [0.25, 0.5, 0.75] as const;
    const camera = orbitCamera(0);
    const centre = cameraCentre(camera);
    const behind = copyOf(solidCloud(20, 1));
    behind.means.forEach((x, i) => (behind.means[i] = 0.1 * x + 2 * centre[i % 3]));
    for (const cloud of [behind, createCloud(0, 1)]) {
      using gaussians = Gaussians.fromCloud(device, cloud);
      using rendering = await rasterize(gaussians, camera, { background });
      const image = await rendering.image.toFloat32();
      expect(rendering.pairs).toBe(0);
      image.forEach((value, i) => expect(value).toBe(background[Math.floor(i / 1024)]));
      const ones = device.tensor(new Float32Array(3072).fill(1), [3, 32, 32]);
      const { parameters, projected } = rendering.backward({ image: ones });
      for (const tensor of [...Object.values(parameters), projected]) {
        expect((await tensor.toFloat32()).every((value: number) => value === 0)).toBe(true);
        tensor.dispose();
      }
      ones.dispose();
    }
  });

  test('what is hidden has no say: an opaque wall in front', async () => {
    const wall = createCloud(30, 0);
    const camera = orbitCamera(0);
    const centre = cameraCentre(camera);
    for (let i = 0; i < 30; i++) {
      wall.quats[4 * i] = 1;
      wall.means.set(centre.map((x, k) => 0.5 * x + [0, 0.01 * i, 0][k]), 3 * i);
      wall.logScales.fill(0.5, 3 * i, 3 * i + 3);
      wall.opacityLogits[i] = 6;
    }
    const seen: Float32Array[] = [];
    for (const cloud of [wall, joinClouds(wall, solidCloud(40, 2))]) {
      using gaussians = Gaussians.fromCloud(device, cloud);
      seen.push((await renderImage(gaussians, camera)).data);
    }
    expect(seen[1]).toEqual(seen[0]);
  });

  test('a view that cannot be rendered leaves nothing', async () => {
    using gaussians = Gaussians.fromCloud(device, solidCloud(5, 1));
    await expect(rasterize(gaussians, { ...orbitCamera(0), width: 0 })).rejects.toThrow();
    gaussians.parameters.means.write(new Float32Array(15).fill(NaN));
    using rendering = await rasterize(gaussians, orbitCamera(0));
    expect((await rendering.image.toFloat32()).every((value) => value === 0)).toBe(true);
  });
});

describe('clouds', () => {
  test('are joined at the larger degree, selected and cut', async () => {
    const [a, b] = [solidCloud(4, 1, 1), solidCloud(3, 2, 3)];
    const joined = joinClouds(a, b);
    expect([joined.count, joined.shDegree]).toEqual([7, 3]);
    expect([...joined.shRest.subarray(45, 54)]).toEqual([...a.shRest.subarray(9, 18)]);
    expect([...joined.shRest.subarray(54, 90)].every((value) => value === 0)).toBe(true);
    const back = withDegree(selectCloud(joined, [0, 1, 2, 3]), 1);
    for (const name of parameterNames) expect([...back[name]]).toEqual([...a[name]]);
    const turned = selectCloud(joined, [6, 4, 5]);
    for (const name of parameterNames) {
      const width = b[name].length / 3;
      expect([...turned[name].subarray(width)]).toEqual([...b[name].subarray(0, 2 * width)]);
    }
    expect(selectCloud(createCloud(0, 2), []).count).toBe(0);
    using gaussians = Gaussians.fromCloud(device, b);
    const roundTrip = await gaussians.toCloud();
    for (const name of parameterNames) expect(roundTrip[name]).toEqual(b[name]);
    // Degrees beyond those stored are those stored.
    const image = await renderImage(gaussians, orbitCamera(0), { degree: 9 });
    expect(image.data).toEqual((await renderImage(gaussians, orbitCamera(0))).data);
    expect(image.data).not.toEqual((await renderImage(gaussians, orbitCamera(0), { degree: 0 })).data);
  });
});
