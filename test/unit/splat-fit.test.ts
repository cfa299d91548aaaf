/** Fitting a splat scene: what it reaches, that it repeats itself, and that it leaves nothing behind. */
import { AbortError, ShapeError } from '../../src/binding/errors';
import { loadBinding } from '../../src/binding/load';
import { evaluateViews, meanFigures, psnr } from '../../src/scene/gaussians/evaluate';
import { fit } from '../../src/scene/gaussians/fit';
import type { FitOptions, FitProgress, FitView } from '../../src/scene/gaussians/fit';
import { Gaussians, parameterNames } from '../../src/scene/gaussians/gaussians';
import { cloudFromPoints, sceneExtent } from '../../src/scene/gaussians/initialise';
import { defaultRates, reconstructRecipe } from '../../src/scene/gaussians/recipe';
import type { FitRecipe } from '../../src/scene/gaussians/recipe';
import type { GaussianCloud } from '../../src/scene/gaussians/cloud';
import { Rng } from '../../src/scene/procedural/rng';
import { Device } from '../../src/tensor/device';
import { randomOf } from './splat-fixtures';
import { bytesOf, copyOf, fixedRecipe, orbitCamera, orbitCameras, perturbed, solidCloud, tensorsOf, viewsOf } from './splat-scenes';

const device = Device.open('cpu');
afterAll(() => device.dispose());

const truth = solidCloud(60, 5);
const cameras = orbitCameras(8);
const newCameras = [orbitCamera(22, 32, 25), orbitCamera(201, 32, 25)];
const extent = sceneExtent(cameras);
const start = perturbed(truth, 6, { means: 0.12, logScales: 0.4, quats: 0.3, opacityLogits: 1, sh0: 0.8 });
const signal = new AbortController().signal;
let views: FitView[];
let heldOut: FitView[];

beforeAll(async () => {
  views = await viewsOf(device, truth, cameras);
  heldOut = await viewsOf(device, truth, newCameras);
});

async function fitted(
  from: GaussianCloud, to: readonly FitView[], recipe: FitRecipe, options: Partial<FitOptions> = {},
): Promise<{ cloud: GaussianCloud; reports: FitProgress[] }> {
  using gaussians = Gaussians.fromCloud(device, from);
  const reports: FitProgress[] = [];
  for await (const report of fit(gaussians, to, recipe, { seed: 1, signal, extent, ...options })) reports.push(report);
  return { cloud: await gaussians.toCloud(), reports };
}

async function psnrOf(cloud: GaussianCloud, of: readonly FitView[] = heldOut): Promise<number> {
  using gaussians = Gaussians.fromCloud(device, cloud);
  return meanFigures(await evaluateViews(gaussians, of)).psnr;
}

describe('what a fit reaches', () => {
  test('perturbed Gaussians come back: new views gain', async () => {
    const before = await psnrOf(start);
    const { cloud, reports } = await fitted(start, views, fixedRecipe(300));
    const after = await psnrOf(cloud);
    // 23.6 and 40.7 dB.
    expect(before).toBeLessThan(24);
    expect(after).toBeGreaterThan(40.2);
    expect(reports.map(({ iteration }) => iteration)).toEqual([50, 100, 150, 200, 250, 300]);
    expect(reports.at(-1)!.l1).toBeLessThan(reports[0].l1);
    expect(reports.at(-1)!.ssim).toBeGreaterThan(reports[0].ssim);
  });

  test.each(['mcmc', 'densify'] as const)('%s finds the scene from points', async (strategy) => {
    const random = randomOf(4);
    const points = { count: 150, positions: Float32Array.from({ length: 450 }, () => 1.6 * random() - 0.8) };
    const from = cloudFromPoints(points, { shDegree: 0, most: 150, rng: new Rng(3, 1) });
    const before = await psnrOf(from);
    const recipe = reconstructRecipe({ iterations: 500, cap: 220, strategy });
    const { cloud } = await fitted(from, views, { ...recipe, rates: { ...recipe.rates, sh0: 0.02 } });
    const after = await psnrOf(cloud);
    // 19.2 dB before; 28.1 (mcmc) and 29.3 (densify) after.
    expect(before).toBeLessThan(19.6);
    expect(after).toBeGreaterThan(strategy === 'mcmc' ? 27.6 : 28.8);
    expect(cloud.count).toBeGreaterThan(150);
    expect(cloud.count).toBeLessThanOrEqual(220);
  });

  test('harmonics join by degree, and explain what depends on the direction', async () => {
    const shiny = solidCloud(40, 9, 1);
    const targets = await viewsOf(device, shiny, cameras);
    const from = perturbed(shiny, 10, { sh0: 0.3 });
    from.shRest.fill(0);
    const rates = { ...defaultRates, means: 0, quats: 0, logScales: 0, opacityLogits: 0, sh0: 0.02, shRest: 0.01 };
    const early = await fitted(from, targets, fixedRecipe(20, { rates, degreeEvery: 20 }));
    expect([...early.cloud.shRest].every((value) => value === 0)).toBe(true);
    const flat = await fitted(from, targets, fixedRecipe(200, { rates: { ...rates, shRest: 0 } }));
    const full = await fitted(from, targets, fixedRecipe(200, { rates, degreeEvery: 20 }));
    const [without, having] = [await psnrOf(flat.cloud, targets), await psnrOf(full.cloud, targets)];
    // 37.9 and 51.7 dB.
    expect(without).toBeLessThan(39);
    expect(having).toBeGreaterThan(51);
  });
});

describe('what a recipe holds back', () => {
  test('a parameter of rate 0, and a Gaussian of factor 0, keep their bits', async () => {
    const rates = { ...defaultRates, means: 0, quats: 0 };
    const sh0 = new Float32Array(60).fill(1);
    sh0.fill(0, 0, 20);
    const { cloud } = await fitted(start, views, fixedRecipe(20, { rates }), { rowScales: { sh0 } });
    expect([...cloud.means]).toEqual([...start.means]);
    expect([...cloud.quats]).toEqual([...start.quats]);
    expect([...cloud.sh0.subarray(0, 60)]).toEqual([...start.sh0.subarray(0, 60)]);
    // Colours at the edge of what can be shown have no gradient; all others move.
    expect([...cloud.sh0.subarray(60)].filter((value, i) => value !== start.sh0[60 + i]).length).toBeGreaterThan(100);
    expect([...cloud.logScales]).not.toEqual([...start.logScales]);
  });

  test('an anchor holds parameters near where they started', async () => {
    const moved = async (anchor?: FitRecipe['anchor']): Promise<number> => {
      const { cloud } = await fitted(start, views, fixedRecipe(60, { anchor }));
      return cloud.means.reduce((sum, x, i) => sum + (x - start.means[i]) ** 2, 0);
    };
    expect(await moved({ means: 1e4 })).toBeLessThan(0.1 * (await moved()));
    const strategy = { kind: 'mcmc', cap: 80, from: 0, until: 9, every: 1, growth: 1.05, deadOpacity: 0.005, noise: 0 } as const;
    await expect(fitted(start, views, fixedRecipe(2, { anchor: { means: 1 }, strategy }))).rejects.toThrow(ShapeError);
  });

  test('pixels without weight teach nothing', async () => {
    const mask = Float32Array.from({ length: 32 * 32 }, (_, i) => (i % 32 < 20 ? 1 : 0));
    const spoiled = (value: number): FitView[] =>
      views.map(({ image, camera }) => ({
        image: { ...image, data: image.data.map((x, i) => (mask[i % 1024] === 1 ? x : value)) }, camera, mask,
      }));
    const [black, white] = [await fitted(start, spoiled(0), fixedRecipe(20)), await fitted(start, spoiled(1), fixedRecipe(20))];
    expect(bytesOf(black.cloud).equals(bytesOf(white.cloud))).toBe(true);
    expect(await psnrOf(black.cloud, spoiled(0))).toBe(await psnrOf(black.cloud, spoiled(1)));
    expect(psnr(views[0].image, spoiled(1)[0].image, mask)).toBe(Infinity);
    expect(psnr(views[0].image, spoiled(1)[0].image)).toBeLessThan(20);
  });

  test('a view of more weight is met better than one that contradicts it', async () => {
    const toned = (value: number, weight: number): FitView => ({ ...views[0], image: { ...views[0].image, data: views[0].image.data.map((x) => x * value) }, weight });
    const favouring = async (dark: number, bright: number): Promise<number> => {
      const contradicting = [toned(0.5, dark), toned(1, bright)];
      const { cloud } = await fitted(start, contradicting, fixedRecipe(60));
      const [toDark, toBright] = [await psnrOf(cloud, [contradicting[0]]), await psnrOf(cloud, [contradicting[1]])];
      return toDark - toBright;
    };
    const [one, equal, other] = [await favouring(3, 1), await favouring(1, 1), await favouring(1, 3)];
    // 13.8, -1.4 and -17.0 dB.
    expect(one).toBeGreaterThan(10);
    expect(Math.abs(equal)).toBeLessThan(4);
    expect(other).toBeLessThan(-12);
  });

  test('axes do not grow beyond the largest, and those that were longer stay', async () => {
    const from = copyOf(start);
    from.logScales.set([Math.log(0.9), Math.log(0.02), Math.log(0.5)]);
    const largest = 0.1 / extent;
    const rates = { ...defaultRates, logScales: 0.05 };
    const logScales = new Float32Array(60).fill(1);
    logScales[0] = 0;
    const { cloud } = await fitted(from, views, fixedRecipe(40, { rates, sizes: { largest, shrink: 0.01 } }), { rowScales: { logScales } });
    expect([...cloud.logScales.subarray(0, 3)]).toEqual([...from.logScales.subarray(0, 3)]);
    const grown = cloud.logScales.map((value, i) => value - Math.max(from.logScales[i], Math.log(0.1)));
    expect(Math.max(...grown)).toBeLessThan(1e-6);
    const free = (await fitted(from, views, fixedRecipe(40, { rates }), { rowScales: { logScales } })).cloud;
    expect(Math.max(...free.logScales.map((value, i) => value - Math.max(from.logScales[i], Math.log(0.1))))).toBeGreaterThan(0.1);
  });

  test('regularisers shrink what no picture asks for', async () => {
    const blind = views.map(({ image, camera }) => ({ image, camera, mask: new Float32Array(1024) }));
    const { cloud } = await fitted(start, blind, fixedRecipe(50, { regularise: { opacity: 0.01, scale: 0.01 } }));
    expect(Math.max(...cloud.opacityLogits.map((value, i) => value - start.opacityLogits[i]))).toBeLessThan(-0.5);
    expect(Math.max(...cloud.logScales.map((value, i) => value - start.logScales[i]))).toBeLessThan(-0.1);
    expect([...cloud.sh0]).toEqual([...start.sh0]);
  });
});

describe('the same seed gives the same bits', () => {
  const growing: FitRecipe[] = (['mcmc', 'densify'] as const).map((strategy) => reconstructRecipe({ iterations: 150, cap: 100, strategy }));
  const { binding } = loadBinding();
  afterEach(() => binding.setThreads(2));

  test.each(growing.map((recipe) => [recipe.strategy.kind, recipe] as const))('%s, on any number of threads', async (_, recipe) => {
    const bits: Buffer[] = [];
    for (const threads of [2, 1, 3]) {
      binding.setThreads(threads);
      bits.push(bytesOf((await fitted(start, views, recipe, { seed: 11 })).cloud));
    }
    expect(bits[1].equals(bits[0])).toBe(true);
    expect(bits[2].equals(bits[0])).toBe(true);
    expect(bytesOf((await fitted(start, views, recipe, { seed: 12 })).cloud).equals(bits[0])).toBe(false);
  });
});

describe('nothing is left behind', () => {
  const recipes: [string, FitRecipe][] = [
    ['fixed', fixedRecipe(60, { anchor: { means: 1 }, sizes: { largest: 0.1, shrink: 0.8 } })],
    ['mcmc', reconstructRecipe({ iterations: 60, cap: 100, strategy: 'mcmc' })],
    ['densify', reconstructRecipe({ iterations: 60, cap: 100, strategy: 'densify' })],
  ];

  test.each(recipes)('%s: by a whole fit, one that is left, and one that is aborted', async (_, recipe) => {
    const masked = views.map((view) => ({ ...view, mask: new Float32Array(1024).fill(1) }));
    const before = await tensorsOf(device);
    using gaussians = Gaussians.fromCloud(device, start);
    for await (const _report of fit(gaussians, masked, recipe, { seed: 1, signal, extent }));
    expect(await tensorsOf(device)).toBe(before + parameterNames.length);
    for await (const _report of fit(gaussians, masked, recipe, { seed: 1, signal, extent, reportEvery: 7 })) break;
    expect(await tensorsOf(device)).toBe(before + parameterNames.length);
    const controller = new AbortController();
    let reports = 0;
    const work = (async () => {
      for await (const _report of fit(gaussians, masked, recipe, { seed: 1, signal: controller.signal, extent, reportEvery: 7 })) {
        reports += 1;
        if (reports === 3) controller.abort();
      }
    })();
    await expect(work).rejects.toThrow(AbortError);
    expect(reports).toBe(3);
    expect(await tensorsOf(device)).toBe(before + parameterNames.length);
    expect((await gaussians.toCloud()).means.every(Number.isFinite)).toBe(true);
  });

  test('by views that do not fit', async () => {
    const before = await tensorsOf(device);
    const wrong = { ...views[3], camera: { ...views[3].camera, width: 31 } };
    await expect(fitted(start, [...views.slice(0, 3), wrong], fixedRecipe(2))).rejects.toThrow(/view 3 is 32x32, its camera is for 31x32/);
    await expect(fitted(start, [views[0], { ...views[1], mask: new Float32Array(5) }], fixedRecipe(2))).rejects.toThrow(ShapeError);
    await expect(fitted(start, [], fixedRecipe(2))).rejects.toThrow(/no views/);
    expect(await tensorsOf(device)).toBe(before);
  });
});
