/** Rendering at twice the resolution and averaging: what a fit by it gains in views from nearer by. */
import { evaluateViews, meanFigures } from '../../src/scene/gaussians/evaluate';
import { fit } from '../../src/scene/gaussians/fit';
import { Gaussians } from '../../src/scene/gaussians/gaussians';
import { sceneExtent } from '../../src/scene/gaussians/initialise';
import { renderImage } from '../../src/scene/gaussians/rasterize';
import { halved, halvedBackward, twiceAsFine } from '../../src/scene/gaussians/two-scales';
import { project } from '../../src/scene/cameras';
import { Device } from '../../src/tensor/device';
import { scope } from '../../src/tensor/scope';
import { randomOf } from './splat-fixtures';
import { fixedRecipe, orbitCamera, orbitCameras, perturbed, solidCloud, tensorsOf, viewsOf } from './splat-scenes';

const device = Device.open('cpu');
let atStart: number;
beforeEach(async () => (atStart = await tensorsOf(device)));
afterEach(async () => expect(await tensorsOf(device)).toBe(atStart));
afterAll(() => device.dispose());

test('a pixel is the mean of its four; the gradient is the adjoint', async () => {
  const random = randomOf(3);
  const [height, width] = [3, 5];
  const fine = Float32Array.from({ length: 3 * 4 * height * width }, random);
  const coarse = Float32Array.from({ length: 3 * height * width }, random);
  const [means, spreadOut] = scope(() => [
    halved(device.tensor(fine, [3, 2 * height, 2 * width])),
    halvedBackward(device.tensor(coarse, [3, height, width])),
  ]);
  expect([means.shape, spreadOut.shape]).toEqual([[3, height, width], [3, 2 * height, 2 * width]]);
  const [m, s] = [await means.toFloat32(), await spreadOut.toFloat32()];
  for (let c = 0; c < 3; c++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const at = (dy: number, dx: number): number => fine[(c * 2 * height + 2 * y + dy) * 2 * width + 2 * x + dx];
        expect(m[(c * height + y) * width + x]).toBeCloseTo((at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4, 6);
      }
    }
  }
  const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, value, i) => sum + value * b[i], 0);
  expect(dot(s, fine)).toBeCloseTo(dot(coarse, m), 4);
  means.dispose();
  spreadOut.dispose();
});

test('the finer camera sees the same at doubled coordinates', () => {
  const camera = orbitCamera(40, 32, 20);
  const [a, b] = [camera, twiceAsFine(camera)].map((one) => project(one, [0.3, -0.2, 0.1]));
  expect([b.u, b.v, b.z]).toEqual([2 * a.u, 2 * a.v, a.z].map((x) => expect.closeTo(x, 10) as number));
});

test('a fit to both resolutions shows more in views from nearer by', async () => {
  const truth = solidCloud(60, 5);
  const cameras = orbitCameras(8);
  // What a camera's pixel sees: the mean over a fine picture.
  using exact = Gaussians.fromCloud(device, truth);
  const views = [];
  for (const camera of cameras) {
    let fine = camera;
    for (let k = 0; k < 3; k++) fine = twiceAsFine(fine);
    const { width, height, data } = await renderImage(exact, fine);
    const small = scope(() => halved(halved(halved(device.tensor(data, [3, height, width])))));
    views.push({ camera, image: { width: width / 8, height: height / 8, data: await small.toFloat32() } });
    small.dispose();
  }
  const near = await viewsOf(device, truth, [0, 1, 2].map((k) => orbitCamera(30 + 110 * k, 96, 25, 2)));
  const start = perturbed(truth, 6, { means: 0.05, logScales: 0.3, quats: 0.2, opacityLogits: 0.5, sh0: 0.5 });
  const reached: number[] = [];
  for (const twoScales of [false, true]) {
    using gaussians = Gaussians.fromCloud(device, start);
    const recipe = fixedRecipe(300, { twoScales });
    for await (const _ of fit(gaussians, views, recipe, { seed: 1, signal: new AbortController().signal, extent: sceneExtent(cameras) }));
    reached.push(meanFigures(await evaluateViews(gaussians, near)).psnr);
  }
  // 28.3 and 31.0 dB.
  expect(reached[1]).toBeGreaterThan(reached[0] + 2.2);
});
