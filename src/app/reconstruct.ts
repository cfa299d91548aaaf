/** `rl3dedit reconstruct`: Gaussian splats from posed photographs, measured on views that were held out. */
import { performance } from 'node:perf_hooks';
import { ConfigError, SceneError } from '../binding/errors';
import type { ReconstructSettings } from '../config/reconstruct';
import { loadScene, loadView } from '../scene';
import type { Scene, ScenePoints } from '../scene';
import { evaluateViews, meanFigures } from '../scene/gaussians/evaluate';
import type { ViewFigures } from '../scene/gaussians/evaluate';
import { fit } from '../scene/gaussians/fit';
import type { FitView } from '../scene/gaussians/fit';
import { encodePly } from '../scene/gaussians/formats';
import { Gaussians } from '../scene/gaussians/gaussians';
import { cloudAtRandom, cloudFromPoints, sceneExtent } from '../scene/gaussians/initialise';
import { reconstructRecipe, usualCap } from '../scene/gaussians/recipe';
import type { GaussianCloud } from '../scene/gaussians/cloud';
import { throwIfAborted } from '../scene/image';
import { Rng } from '../scene/procedural/rng';
import type { Device } from '../tensor/device';
import type { AppContext, AppEvent } from './events';
import { loadEditor } from './model';
import { onDevice } from './on-device';
import { OutputFolder } from './output-folder';
import { verifierPoints } from './reconstruct/verifier-points';
import { encodeMosaic } from './mosaic';

export interface ReconstructRecord {
  scene: { name: string; path: string };
  settings: ReconstructSettings;
  width: number;
  height: number;
  views: { trained: number; heldOut: string[] };
  gaussians: number;
  /** Means over the views held out; absent where none was. */
  heldOut?: ViewFigures;
  train: ViewFigures;
  /** Seconds of the fit alone, and of everything. */
  fitSeconds: number;
  seconds: number;
}

export interface ReconstructResult extends ReconstructRecord {
  out: string;
  summary: string[];
  [key: string]: unknown;
}

/** Views whose pictures are kept beside the photographs. */
const shownViews = 6;
const initStream = 203;

/**
 * Fits and writes `scene.ply`, `heldout.png` and `reconstruct.json`. Bad input is found before anything is written; an aborted fit leaves
 * nothing.
 * @throws ConfigError, SceneError, OutputError, AbortError
 */
export async function* reconstruct(settings: ReconstructSettings, { signal }: AppContext): AsyncGenerator<AppEvent, ReconstructResult> {
  const begun = performance.now();
  const folderOptions = { command: 'reconstruct', settings: { ...settings }, overwrite: settings.overwrite };
  await OutputFolder.check(settings.out, folderOptions);
  yield { type: 'stage', name: 'load', index: 0, count: 3 };
  const scene = await loadScene(settings.scene);
  for (const message of scene.warnings) yield { type: 'warning', message };
  const views = yield* loadViews(scene, settings, signal);
  const { trained, heldOut } = split(scene, views, settings);
  return yield* onDevice(settings.device, signal, async function* (device) {
    const { gaussians, fitSeconds } = yield* fitted(device, scene, trained, settings, signal);
    try {
      yield { type: 'stage', name: 'measure', index: 2, count: 3 };
      const testViews = heldOut.map((v) => views[v]);
      const measured = await evaluateViews(gaussians, testViews);
      const onTrained = await evaluateViews(gaussians, trained.slice(0, Math.max(1, testViews.length)));
      throwIfAborted(signal);
      const folder = await OutputFolder.open(settings.out, folderOptions);
      await folder.write('scene.ply', encodePly(await gaussians.toCloud()));
      const shown = (measured.length > 0 ? measured : onTrained).slice(0, shownViews);
      const photographs = (measured.length > 0 ? testViews : trained).slice(0, shown.length);
      const picture = await folder.write('heldout.png', await encodeMosaic([photographs.map(({ image }) => image), shown.map(({ rendered }) => rendered)]));
      yield { type: 'image', name: 'photographs above, splats below', path: picture };
      const { width, height } = views[0].image;
      const record: ReconstructRecord = {
        scene: { name: scene.name, path: settings.scene },
        settings,
        width,
        height,
        views: { trained: trained.length, heldOut: heldOut.map((v) => scene.views[v].name) },
        gaussians: gaussians.count,
        ...(measured.length > 0 ? { heldOut: meanFigures(measured) } : {}),
        train: meanFigures(onTrained),
        fitSeconds,
        seconds: (performance.now() - begun) / 1000,
      };
      await folder.writeJson('reconstruct.json', record);
      await folder.finish();
      const result = { out: settings.out, summary: summaryOf(settings.out, record), ...record };
      yield { type: 'done', result };
      return result;
    } finally {
      gaussians.dispose();
    }
  });
}

async function* loadViews(
  scene: Scene,
  { resolution }: ReconstructSettings,
  signal: AbortSignal,
): AsyncGenerator<AppEvent, FitView[]> {
  if (scene.views.length === 0) throw new SceneError(`scene ${scene.name}: has no photographs to reconstruct from`);
  const views: FitView[] = [];
  for (const [i, view] of scene.views.entries()) {
    const { width, height } = view.camera;
    const factor = Math.min(1, resolution / Math.max(width, height));
    const size = { width: Math.max(1, Math.round(width * factor)), height: Math.max(1, Math.round(height * factor)) };
    views.push(await loadView(view, { ...size, signal }));
    yield { type: 'step', stage: 'load', step: i + 1, steps: scene.views.length };
  }
  return views;
}

/** Every n-th view by name is held out, the first among them, as in Mip-NeRF 360. */
function split(scene: Scene, views: readonly FitView[], { testEvery }: ReconstructSettings): { trained: FitView[]; heldOut: number[] } {
  const heldOut = testEvery > 0 ? views.map((_, v) => v).filter((v) => v % testEvery === 0) : [];
  const trained = views.filter((_, v) => !heldOut.includes(v));
  if (trained.length === 0) {
    throw new ConfigError(`testEvery: ${testEvery} holds out all ${scene.views.length} views of the scene; use a larger number or 0`);
  }
  return { trained, heldOut };
}

/** The splat scene of the views, which the caller owns, and the seconds of the fit alone. */
async function* fitted(
  device: Device, scene: Scene, views: readonly FitView[], settings: ReconstructSettings, signal: AbortSignal,
): AsyncGenerator<AppEvent, { gaussians: Gaussians; fitSeconds: number }> {
  const { width, height } = views[0].image;
  const cap = settings.cap ?? usualCap(width, height);
  const extent = sceneExtent(views.map(({ camera }) => camera));
  yield { type: 'stage', name: 'fit', index: 1, count: 3 };
  const gaussians = Gaussians.fromCloud(device, yield* start(device, scene, views, cap, settings, signal));
  const recipe = reconstructRecipe({ iterations: settings.iterations, cap, strategy: settings.strategy });
  const since = performance.now();
  try {
    for await (const { iteration, count, l1, ssim } of fit(gaussians, views, recipe, { seed: settings.seed, signal, extent })) {
      const etaSec = ((performance.now() - since) / 1000 / iteration) * (recipe.iterations - iteration);
      yield { type: 'step', stage: 'fit', step: iteration, steps: recipe.iterations, etaSec };
      for (const [name, value] of Object.entries({ l1, ssim, gaussians: count })) yield { type: 'metric', name: `fit.${name}`, value };
    }
    await device.sync();
    return { gaussians, fitSeconds: (performance.now() - since) / 1000 };
  } catch (error) {
    gaussians.dispose();
    throw error;
  }
}

async function* start(
  device: Device, scene: Scene, views: readonly FitView[], cap: number, settings: ReconstructSettings, signal: AbortSignal,
): AsyncGenerator<AppEvent, GaussianCloud> {
  const { shDegree } = settings;
  const rng = new Rng(settings.seed, initStream);
  const from = settings.init ?? (scene.points && scene.points.count > 0 ? 'points' : 'random');
  yield { type: 'note', message: `starting from ${from === 'random' ? 'random Gaussians' : from === 'verifier' ? 'depths of the verifier' : 'the points of the scene'}` };
  if (from === 'random') {
    return cloudAtRandom(views.map(({ camera }) => camera), { count: Math.max(1, Math.round(cap / 2)), shDegree, rng });
  }
  const points = from === 'verifier' ? await pointsSeen(device, views, settings, signal) : scene.points;
  return cloudFromPoints(points ?? { count: 0, positions: new Float32Array() }, { shDegree, most: cap, rng });
}

async function pointsSeen(
  device: Device, views: readonly FitView[], { model, verifier: file }: ReconstructSettings, signal: AbortSignal,
): Promise<ScenePoints> {
  using editor = await loadEditor(model, device, { verifier: file, signal });
  const verifier = await editor.verifier();
  if (!verifier) throw new ConfigError(`init: model ${editor.name} has no verifier; give one with --verifier`);
  return verifierPoints(verifier, views, signal);
}

function summaryOf(out: string, { gaussians, heldOut, views, seconds }: ReconstructRecord): string[] {
  const quality = heldOut
    ? `held-out PSNR ${heldOut.psnr.toFixed(2)} dB, SSIM ${heldOut.ssim.toFixed(3)} (${views.heldOut.length} views)`
    : 'no view was held out';
  return [`${out}/scene.ply: ${gaussians} Gaussians from ${views.trained} views in ${seconds.toFixed(0)} s; ${quality}`];
}
