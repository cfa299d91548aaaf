/** Fits a splat scene to pictures, one view per step. */
import { affine, axpyInPlace, exp, full, maximum, minimum, mul, photometricLoss, scaleInPlace, sigmoid, sub } from '../../tensor/ops';
import type { SplatParameters } from '../../tensor/ops';
import { scope, unscoped } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { ShapeError } from '../../binding/errors';
import type { Camera } from '../cameras';
import { throwIfAborted } from '../image';
import type { Image } from '../image';
import { Rng } from '../procedural/rng';
import { DensityStatistics, refineDensity, resetOpacities } from './densify';
import { mapParameters, parameterNames } from './gaussians';
import type { Gaussians } from './gaussians';
import { exploreMcmc, refineMcmc } from './mcmc';
import { SplatOptimizer } from './optimizer';
import type { Rates, RowScales } from './optimizer';
import { rasterize } from './rasterize';
import type { FitRecipe } from './recipe';
import { halved, halvedBackward, twiceAsFine } from './two-scales';

/** A picture to be reached. */
export interface FitView {
  /** Of the size of the camera. */
  image: Image;
  camera: Camera;
  /** [H, W] 1 where the picture counts, 0 where it does not; default everywhere. */
  mask?: Float32Array;
  /** Factor on its loss beside those of the other views; default 1. */
  weight?: number;
}

export interface FitOptions {
  seed: number;
  signal: AbortSignal;
  /** Length that rates of centres and sizes are relative to, see sceneExtent. */
  extent: number;
  /** Factors on the learning rates of each Gaussian; only where their number stays. */
  rowScales?: RowScales;
  /** Iterations between reports. */
  reportEvery?: number;
}

export interface FitProgress {
  iteration: number;
  count: number;
  /** Means since the last report. */
  l1: number;
  ssim: number;
}

const stream = { order: 201, refine: 202 } as const;

/**
 * Changes the Gaussians in place, one step per view in shuffled epochs; yields now and then. The same seed gives the same bits on the
 * same device. What was done stays when it is aborted.
 * @throws AbortError, ShapeError
 */
export async function* fit(gaussians: Gaussians, views: readonly FitView[], recipe: FitRecipe, options: FitOptions): AsyncGenerator<FitProgress> {
  const { device } = gaussians;
  const { seed, signal, extent, reportEvery = 50 } = options;
  if (views.length === 0) throw new ShapeError('fit: no views to fit to');
  if (recipe.strategy.kind !== 'fixed' && (recipe.anchor || recipe.sizes)) {
    throw new ShapeError('fit: an anchor and bounds of sizes need a fixed number of Gaussians');
  }
  views.forEach(checkView);
  const targets = views.map((view) => upload(gaussians, view));
  const optimizer = new SplatOptimizer(device, gaussians.parameters, options.rowScales);
  const anchor = recipe.anchor ? unscoped(() => mapParameters(gaussians.parameters, (tensor) => affine(tensor, 1, 0))) : undefined;
  const bounds = recipe.sizes ? scaleBounds(gaussians, recipe.sizes, extent) : undefined;
  const statistics = recipe.strategy.kind === 'densify' ? new DensityStatistics(gaussians) : undefined;
  const order = new Rng(seed, stream.order);
  let epoch: number[] = [];
  let reports: Tensor[] = [];
  try {
    for (let t = 0; t < recipe.iterations; t++) {
      throwIfAborted(signal);
      if (epoch.length === 0) epoch = order.some(views.length);
      const v = epoch.pop()!;
      const { camera } = views[v];
      const degree = recipe.degreeEvery > 0 ? Math.min(gaussians.shDegree, Math.floor(t / recipe.degreeEvery)) : gaussians.shDegree;
      const rates = ratesAt(recipe, t, extent);
      {
        const fine = recipe.twoScales === true && t % 2 === 1;
        using rendering = await rasterize(gaussians, fine ? twiceAsFine(camera) : camera, { background: recipe.background, degree });
        scope(() => {
          const image = fine ? halved(rendering.image) : rendering.image;
          const { terms, gradient } = photometricLoss(image, targets[v].image, targets[v].mask, recipe.ssimWeight);
          reports.push(unscoped(() => affine(terms, 1, 0)));
          if (views[v].weight !== undefined) scaleInPlace(gradient, views[v].weight);
          const d = rendering.backward({ image: fine ? halvedBackward(gradient) : gradient });
          regularise(gaussians.parameters, d.parameters, recipe, anchor);
          optimizer.step(gaussians.parameters, d.parameters, rates);
          statistics?.add(rendering, d.projected, camera.width, camera.height);
        });
      }
      if (bounds) cutScales(gaussians, bounds);
      await refine(gaussians, optimizer, recipe, t, { statistics, extent, meansRate: rates.means, seed });
      if ((t + 1) % reportEvery === 0 || t + 1 === recipe.iterations) {
        const [l1, ssim] = await meanOf(reports);
        reports = [];
        yield { iteration: t + 1, count: gaussians.count, l1, ssim };
      }
    }
  } finally {
    optimizer.dispose();
    statistics?.dispose();
    if (anchor) mapParameters(anchor, (tensor) => tensor.dispose());
    for (const tensor of [bounds?.low, bounds?.high, ...reports, ...targets.flatMap(({ image, mask }) => [image, mask])]) tensor?.dispose();
  }
}

function checkView({ image, camera, mask }: FitView, v: number): void {
  const [picture, size] = [`${image.width}x${image.height}`, `${camera.width}x${camera.height}`];
  if (picture !== size) throw new ShapeError(`fit: view ${v} is ${picture}, its camera is for ${size}`);
  if (mask && mask.length !== image.width * image.height) throw new ShapeError(`fit: the mask of view ${v} has ${mask.length} pixels, the view is ${picture}`);
}

function upload({ device }: Gaussians, { image: { width, height, data }, mask }: FitView): { image: Tensor; mask?: Tensor } {
  return unscoped(() => ({
    image: device.tensor(data, [3, height, width]),
    mask: mask ? device.tensor(mask, [height, width]) : undefined,
  }));
}

/** Rates of a step: exponential from the start to `decay` of it; those of the centres in world units. */
function ratesAt({ rates, decay = {}, iterations }: FitRecipe, t: number, extent: number): Rates {
  const progress = iterations > 1 ? t / (iterations - 1) : 0;
  const entries = parameterNames.map((name) => {
    const rate = rates[name] * (decay[name] ?? 1) ** progress;
    return [name, name === 'means' ? rate * extent : rate] as const;
  });
  return Object.fromEntries(entries) as Rates;
}

/** Adds the gradients of the regularisers to those of the picture. */
function regularise(
  parameters: SplatParameters, gradients: SplatParameters, { regularise: weights, anchor = {} }: FitRecipe, start: SplatParameters | undefined,
): void {
  const count = parameters.means.dim(0);
  if (weights.opacity > 0) {
    const o = sigmoid(parameters.opacityLogits);
    axpyInPlace(gradients.opacityLogits, mul(o, affine(o, -1, 1)), weights.opacity / count);
  }
  if (weights.scale > 0) axpyInPlace(gradients.logScales, exp(parameters.logScales), weights.scale / (3 * count));
  if (!start) return;
  for (const name of parameterNames) {
    const weight = anchor[name] ?? 0;
    if (weight > 0) axpyInPlace(gradients[name], sub(parameters[name], start[name]), (2 * weight) / parameters[name].size);
  }
}

/** [N, 3] bounds of logScales; what is larger at the start, as the sky of a source scene, may stay so. */
function scaleBounds({ device, parameters: { logScales } }: Gaussians, { largest, shrink }: NonNullable<FitRecipe['sizes']>, extent: number): Bounds {
  return unscoped(() =>
    scope(() => ({ low: affine(logScales, 1, Math.log(shrink)), high: maximum(logScales, full(device, [1], Math.log(largest * extent))) })),
  );
}

interface Bounds {
  low: Tensor;
  high: Tensor;
}

function cutScales({ parameters: { logScales } }: Gaussians, { low, high }: Bounds): void {
  scope(() => {
    const cut = maximum(low, minimum(logScales, high));
    scaleInPlace(logScales, 0);
    axpyInPlace(logScales, cut, 1);
  });
}

interface Refinement {
  statistics?: DensityStatistics;
  extent: number;
  meansRate: number;
  seed: number;
}

async function refine(
  gaussians: Gaussians, optimizer: SplatOptimizer, { strategy }: FitRecipe, t: number, { statistics, extent, meansRate, seed }: Refinement,
): Promise<void> {
  if (strategy.kind === 'fixed') return;
  const due = t >= strategy.from && t < strategy.until && (t + 1) % strategy.every === 0;
  const rng = new Rng(seed, stream.refine, t);
  if (strategy.kind === 'mcmc') {
    if (due) await refineMcmc(gaussians, optimizer, strategy, rng);
    exploreMcmc(gaussians, strategy, meansRate, { seed, offset: t * 3 * strategy.cap });
    return;
  }
  if (due) await refineDensity(gaussians, optimizer, statistics!, strategy, { extent, pruneHuge: t > strategy.resetEvery, rng });
  if (t > 0 && t < strategy.until && t % strategy.resetEvery === 0) resetOpacities(gaussians, optimizer);
}

async function meanOf(reports: readonly Tensor[]): Promise<[number, number]> {
  let [l1, ssim] = [0, 0];
  for (const report of reports) {
    const [first, second] = await report.toFloat32();
    l1 += first / reports.length;
    ssim += second / reports.length;
    report.dispose();
  }
  return [l1, ssim];
}
