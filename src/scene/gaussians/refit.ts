/**
 * Refits a splat scene to edited views. Nine views leave most of a splat scene undetermined, so what is known is kept: colours alone move
 * for edits of appearance; for edits of shape new Gaussians are seeded and the old ones are held near where they were. How long to fit is
 * found by leaving views out: with an editor that disagrees with itself, more iterations make new views worse.
 */
import { ShapeError } from '../../binding/errors';
import type { Camera } from '../cameras';
import type { Image } from '../image';
import { mean } from '../vec3';
import type { GaussianCloud } from './cloud';
import { colourMap, mapColours, removeTint, tintsOf, withoutTint } from './colour-map';
import { editMasks, liftMasks } from './edit-mask';
import { evaluateViews, psnr } from './evaluate';
import { fit } from './fit';
import type { FitView } from './fit';
import { Gaussians, joinClouds, selectCloud } from './gaussians';
import { sceneExtent } from './initialise';
import { bestCheckpoint, leftOut } from './leave-one-out';
import type { RowScales } from './optimizer';
import { rasterize, renderImage } from './rasterize';
import { ssimWeight } from './recipe';
import type { FitRecipe } from './recipe';
import { seedCloud, unhidden } from './seeds';
import type { EditedSurface } from './seeds';
import type { Device } from '../../tensor/device';

export const refitPresets = ['appearance', 'geometry'] as const;
export type RefitPreset = (typeof refitPresets)[number];

/** An edited view. */
export interface RefitView {
  before: Image;
  after: Image;
  camera: Camera;
  /** [H, W] z-depth of the edited view in world units, 0 where unknown: edits of shape need it. */
  depth?: Float32Array;
}

export interface RefitOptions {
  preset: RefitPreset;
  seed: number;
  signal: AbortSignal;
  /** Views left out, one at a time, to find how long to fit; 0: the preset's length. */
  folds: number;
  /** Fits at most so long; default the preset's. */
  iterations?: number;
}

export interface RefitProgress {
  /** Of `steps` iterations over all fits. */
  step: number;
  steps: number;
}

export interface RefitResult {
  cloud: GaussianCloud;
  preset: RefitPreset;
  /** As chosen by leaving views out. */
  iterations: number;
  /** Mean PSNR in dB of the views left out at each checkpoint, before the first step first; empty without folds. */
  leaveOneOut: { iteration: number; psnr: number }[];
  /** PSNR of each edited view after the refit, dB. */
  fitPsnr: number[];
  /** Share of Gaussians that the edit touches, and of new ones. */
  editedShare: number;
  seeds: number;
}

const checkEvery = 25;
/** Lifted share from which a Gaussian belongs to the edit. */
const belongs = 0.5;

/** Colours alone (specs: the zeroth harmonic at five times its rate reaches in 300 steps what all parameters never do). */
const appearance: FitRecipe = {
  iterations: 300,
  rates: { means: 0, quats: 0, logScales: 0, opacityLogits: 0, sh0: 0.0125, shRest: 0 },
  decay: { sh0: 0.2 },
  ssimWeight,
  degreeEvery: 0,
  strategy: { kind: 'fixed' },
  regularise: { opacity: 0, scale: 0 },
  background: [0, 0, 0],
};

/** Everything may move: new Gaussians, which lie on their surface already, less than those of a fit from nothing, old ones hardly. */
const geometry: FitRecipe = {
  ...appearance,
  iterations: 1200,
  rates: { means: 8e-5, quats: 1e-3, logScales: 5e-3, opacityLogits: 0.05, sh0: 0.01, shRest: 0 },
  decay: { sh0: 0.05, means: 0.1 },
  sizes: { largest: 0.1, shrink: 0.4 },
  twoScales: true,
};
const oldRates = { means: 0.33, quats: 0.2, logScales: 0.2, opacityLogits: 0.2, sh0: 1 } as const;

/**
 * Standard errors by which a longer fit must look worse to be given up. Colours alone soon follow only what the views disagree in; new
 * Gaussians settle until the rates are down, which the middle of a schedule does not show.
 */
const standardErrors: Record<RefitPreset, number> = { appearance: 0, geometry: 2 };

interface Start {
  cloud: GaussianCloud;
  targets: FitView[];
  /** Which of the views show the edit. */
  shows: boolean[];
  rowScales: RowScales;
  editedShare: number;
  seeds: number;
}

/**
 * The scene that shows the edited views. `source` stays as it is.
 * @throws ShapeError, AbortError
 */
export async function* refit(
  device: Device, source: GaussianCloud, views: readonly RefitView[], options: RefitOptions,
): AsyncGenerator<RefitProgress, RefitResult> {
  if (views.length === 0) throw new ShapeError('refit: no edited views');
  views.forEach(checkView);
  const { preset } = options;
  const recipe = { ...(preset === 'appearance' ? appearance : geometry), ...(options.iterations ? { iterations: options.iterations } : {}) };
  const extent = sceneExtent(views.map(({ camera }) => camera));
  const all = await prepare(device, source, views, preset);
  const left = leftOut(all.shows, options.folds);
  const steps = (left.length + 1) * recipe.iterations;
  let done = 0;

  const curves: number[][] = [];
  for (const out of left) {
    const rest = views.filter((_, v) => v !== out);
    const start = await prepare(device, source, rest, preset);
    const curve = [compare((await rendersOf(device, start.cloud, [views[out].camera]))[0], all.targets[out].image)];
    using gaussians = Gaussians.fromCloud(device, start.cloud);
    for await (const { iteration } of fit(gaussians, start.targets, recipe, { ...options, extent, rowScales: start.rowScales, reportEvery: checkEvery })) {
      curve.push(compare(await renderImage(gaussians, views[out].camera), all.targets[out].image));
      yield { step: done + iteration, steps };
    }
    done += recipe.iterations;
    curves.push(curve);
  }
  const checkpoints = (curves[0] ?? []).map((_, k) => Math.min(recipe.iterations, k * checkEvery));
  const leaveOneOut = checkpoints.map((iteration, k) => ({ iteration, psnr: mean(curves.map((curve) => curve[k])) }));
  const iterations = curves.length > 0 ? checkpoints[bestCheckpoint(curves, standardErrors[preset])] : recipe.iterations;

  using gaussians = Gaussians.fromCloud(device, all.cloud);
  if (iterations > 0) {
    // Its rates fall to their end too: a longer schedule cut off would stop where steps are still large.
    const chosen = { ...recipe, iterations };
    for await (const { iteration } of fit(gaussians, all.targets, chosen, { ...options, extent, rowScales: all.rowScales, reportEvery: checkEvery })) {
      yield { step: done + iteration, steps };
    }
  }
  const figures = await evaluateViews(gaussians, all.targets);
  return {
    cloud: await gaussians.toCloud(),
    preset,
    iterations,
    leaveOneOut,
    fitPsnr: figures.map(({ psnr: value }) => value),
    editedShare: all.editedShare,
    seeds: all.seeds,
  };
}

function checkView({ before, after, camera: { width, height }, depth }: RefitView, v: number): void {
  for (const [name, image] of Object.entries({ before, after })) {
    if (image.width === width && image.height === height) continue;
    throw new ShapeError(`refit: view ${v} ${name} is ${image.width}x${image.height}, its camera is for ${width}x${height}`);
  }
  if (depth && depth.length !== width * height) throw new ShapeError(`refit: the depth of view ${v} has ${depth.length} pixels, the view is ${width}x${height}`);
}

/** PSNR of a rendered view and the edited one, whose own tint no fit of the others can know. */
function compare(rendered: Image, edited: Image): number {
  return psnr(rendered, removeTint(edited, tintsOf(edited, rendered)));
}

async function prepare(device: Device, source: GaussianCloud, views: readonly RefitView[], preset: RefitPreset): Promise<Start> {
  const masks = editMasks(views.map(({ before }) => before), views.map(({ after }) => after));
  using gaussians = Gaussians.fromCloud(device, source);
  const cameras = views.map(({ camera }) => camera);
  const renders = await rendersOf(device, source, cameras);
  const lifted = masks ? await liftMasks(gaussians, cameras, masks) : new Float32Array(source.count).fill(1);
  const weights = masks && preset === 'geometry' ? viewWeights(masks) : [];
  const targetsOf = (pictures: readonly Image[]): FitView[] =>
    cameras.map((camera, v) => ({ camera, weight: weights[v], image: masks ? composite(pictures[v], renders[v], masks[v]) : pictures[v] }));
  const after = views.map((view) => view.after);
  const shows = masks ? masks.map((mask) => mask.some((x) => x > 0)) : views.map(() => true);
  const edited = lifted.map((share) => (share >= belongs ? 1 : 0));
  const editedShare = edited.reduce((sum, x) => sum + x, 0) / Math.max(1, source.count);
  if (preset === 'appearance') {
    // What one map of colours explains needs no fit, and reaches what these views do not show.
    const recoloured = mapColours(source, colourMap(renders, after, masks), lifted);
    const targets = targetsOf(withoutTint(after, await rendersOf(device, recoloured, cameras), masks));
    return { cloud: recoloured, targets, shows, rowScales: masks ? { sh0: lifted } : {}, editedShare, seeds: 0 };
  }
  const surfaces = await editedSurfaces(gaussians, views, masks);
  const seeds = seedCloud(surfaces, source.shDegree);
  const kept = unhidden(source, surfaces);
  const cloud = joinClouds(selectCloud(source, kept), seeds);
  const rowScales = Object.fromEntries(
    Object.entries(oldRates).map(([name, rate]) => [
      name,
      Float32Array.from({ length: cloud.count }, (_, i) => (i < kept.length ? rate * Math.max(lifted[kept[i]], masks ? 0 : 1) : 1)),
    ]),
  );
  return { cloud, targets: targetsOf(after), shows, rowScales, editedShare, seeds: seeds.count };
}

/** Share of its pixels below which a view of an edit weighs no more: it shows next to nothing of it. */
const leastArea = 0.005;

/** Views from near by would outdo the others by their pixels alone: the weight is the root of how much smaller the edit is. */
function viewWeights(masks: readonly Float32Array[]): number[] {
  const areas = masks.map((mask) => Math.max(leastArea, mean(mask)));
  const largest = Math.max(...areas);
  return areas.map((area) => Math.sqrt(largest / area));
}

async function editedSurfaces(gaussians: Gaussians, views: readonly RefitView[], masks: Float32Array[] | undefined): Promise<EditedSurface[]> {
  const surfaces: EditedSurface[] = [];
  for (const [v, { after, camera, depth }] of views.entries()) {
    if (!depth) continue;
    using rendering = await rasterize(gaussians, camera);
    const sourceDepth = await rendering.medianDepth.toFloat32();
    surfaces.push({ after, camera, depth, sourceDepth, mask: masks?.[v] ?? new Float32Array(depth.length).fill(1) });
  }
  return surfaces;
}

async function rendersOf(device: Device, cloud: GaussianCloud, cameras: readonly Camera[]): Promise<Image[]> {
  using gaussians = Gaussians.fromCloud(device, cloud);
  const images: Image[] = [];
  for (const camera of cameras) images.push(await renderImage(gaussians, camera));
  return images;
}

/** `edited` where the mask is 1, `source` where it is 0. */
function composite(edited: Image, source: Image, mask: Float32Array): Image {
  const pixels = mask.length;
  return { ...edited, data: edited.data.map((value, i) => mask[i % pixels] * value + (1 - mask[i % pixels]) * source.data[i]) };
}
