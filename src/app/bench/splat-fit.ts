/** Bench `splat-fit`: one iteration of fitting Gaussian splats to pictures, and the time of its ops. */
import { performance } from 'node:perf_hooks';
import type { BenchCase } from '../../report/bench-report';
import type { Camera } from '../../scene/cameras';
import { cloudFromPoints, fit, Gaussians, rasterize, reconstructRecipe, renderImage, sceneExtent } from '../../scene/gaussians';
import type { FitView, GaussianCloud } from '../../scene/gaussians';
import { pixelCamera, sampleCameras } from '../../scene/procedural';
import { Rng } from '../../scene/procedural/rng';
import type { Device } from '../../tensor/device';
import type { Bench, BenchContext } from './cases';
import { quantiles, timesOf } from './measure';

export interface SplatFitSize {
  /** Side of a view in pixels. */
  side: number;
  count: number;
  views: number;
}

const small: SplatFitSize = { side: 128, count: 20_000, views: 9 };
/** For cards: a processor takes a second an iteration. */
const large: SplatFitSize = { side: 512, count: 200_000, views: 9 };

const shDegree = 3;
/** Iterations of one sample: single ones depend on the view. */
const perSample = 9;
/** Length of the published schedule; a bench ends long before. */
const iterations = 30_000;
const streams = { scene: 211, camera: 0 } as const;

/** Ops by the part of an iteration they belong to, in its order; whatever else takes time is `other`. */
const partOfOp: Record<string, string> = {
  splat_project: 'project',
  splat_tile_counts: 'bin',
  splat_bin: 'bin',
  splat_blend: 'blend',
  photometric_loss: 'loss',
  splat_blend_backward: 'blend backward',
  splat_project_backward: 'project backward',
  splat_adam: 'adam',
  mcmc_noise: 'noise',
};

/** A ball over a floor, world z up: sizes as a fit starts with, shapes, opacities and colours as it leaves them. */
function syntheticCloud({ count }: SplatFitSize, seed: number): GaussianCloud {
  const rng = new Rng(seed, streams.scene);
  const positions = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) {
    const height = rng.range(-1, 1);
    const ring = Math.sqrt(1 - height ** 2);
    const angle = rng.range(0, 2 * Math.PI);
    const far = 3 * Math.sqrt(rng.range());
    const [x, y, z] = i % 2 === 0 ? [ring, ring, 1 + height] : [far, far, 0];
    positions.set([x * Math.cos(angle), y * Math.sin(angle), z], 3 * i);
  }
  const cloud = cloudFromPoints({ count, positions }, { shDegree, most: count, rng });
  const spread = { quats: 0.5, logScales: 0.4, opacityLogits: 1.5, sh0: 0.8, shRest: 0.1 } as const;
  for (const [name, deviation] of Object.entries(spread) as [keyof typeof spread, number][]) {
    cloud[name].forEach((value, i) => (cloud[name][i] = value + deviation * rng.normal()));
  }
  // Most Gaussians of a fitted scene are opaque.
  cloud.opacityLogits.forEach((logit, i) => (cloud.opacityLogits[i] = logit + 2.5));
  return cloud;
}

function syntheticCameras({ side, views }: SplatFitSize, seed: number): Camera[] {
  return sampleCameras(seed, streams.camera, [0, 0, 1], views, 0).views.map((view) => {
    const [fx, fy, cx, cy, ...pose] = pixelCamera(view, side, side);
    return { width: side, height: side, fx, fy, cx, cy, worldToCam: Float64Array.from([...pose, 0, 0, 0, 1]) };
  });
}

/** Pictures of the cloud with other colours, so that there is something to fit. */
async function picturesOf(device: Device, cloud: GaussianCloud, cameras: readonly Camera[]): Promise<FitView[]> {
  using other = Gaussians.fromCloud(device, { ...cloud, sh0: cloud.sh0.map((value) => -value) });
  const views: FitView[] = [];
  for (const camera of cameras) views.push({ image: await renderImage(other, camera), camera });
  return views;
}

/** Milliseconds by part since the last call; empty on cards, which do not time ops. */
function takeParts(device: Device): Map<string, number> {
  const parts = new Map(Object.values(partOfOp).map((part) => [part, 0]));
  const times = device.opTimes();
  if (times.length === 0) return new Map();
  for (const { op, seconds } of times) {
    const part = partOfOp[op];
    if (part !== undefined) parts.set(part, parts.get(part)! + 1000 * seconds);
  }
  return parts;
}

/** Times a fit with all harmonics and MCMC at its cap, as `reconstruct` spends most of its iterations. */
export async function splatFitCase({ device, settings, signal }: BenchContext, size: SplatFitSize): Promise<BenchCase> {
  const { side, count, views } = size;
  const cloud = syntheticCloud(size, settings.seed);
  const cameras = syntheticCameras(size, settings.seed);
  const pictures = await picturesOf(device, cloud, cameras);
  using gaussians = Gaussians.fromCloud(device, cloud);
  const pairs = await pairsOf(gaussians, cameras);
  const recipe = { ...reconstructRecipe({ iterations, cap: count, strategy: 'mcmc' }), degreeEvery: 0 };
  const options = { seed: settings.seed, signal, extent: sceneExtent(cameras), reportEvery: perSample };
  const run = fit(gaussians, pictures, recipe, options);
  const samples: { total: number; parts: Map<string, number> }[] = [];
  try {
    const sample = async (): Promise<number> => {
      takeParts(device);
      const begun = performance.now();
      await run.next();
      await device.sync();
      const total = (performance.now() - begun) / perSample;
      samples.push({ total, parts: takeParts(device) });
      return total;
    };
    const times = await timesOf(sample, settings.seconds, signal);
    const ms = quantiles(times);
    // The parts of one sample, the median one, so that they add up.
    const { parts } = samples.find(({ total }) => total === ms.p50)!;
    const entries = [...parts].map(([part, value]) => [part, value / perSample] as const);
    const other = entries.reduce((left, [, value]) => left - value, ms.p50);
    return {
      name: `splat-fit ${side} px, ${count / 1000}k`,
      dtype: 'f32',
      shape: `${views} views of ${side}×${side}, ${count} Gaussians of degree ${shDegree}`,
      ms,
      samples: times.length,
      figures: { 'tile pairs': pairs },
      ...(entries.length > 0 ? { parts: Object.fromEntries([...entries, ['other', other]]) } : {}),
    };
  } finally {
    await run.return(undefined);
  }
}

/** Mean number of pairs of tiles and Gaussians in a view: what binning and blending cost depends on it. */
async function pairsOf(gaussians: Gaussians, cameras: readonly Camera[]): Promise<number> {
  let sum = 0;
  for (const camera of cameras) {
    using rendering = await rasterize(gaussians, camera);
    sum += rendering.pairs;
  }
  return Math.round(sum / cameras.length);
}

export const splatFitBench: Bench = {
  name: 'splat-fit',
  describe: 'one iteration of fitting Gaussian splats',
  run: async (context) => {
    const cases: BenchCase[] = [];
    for (const size of context.device.kind === 'cuda' ? [small, large] : [small]) cases.push(await splatFitCase(context, size));
    return cases;
  },
};
