/** The splats that a refit starts from: the user's own, checked against the photographs, or fitted to them. */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { SceneError } from '../../binding/errors';
import { loadView, scaleCamera } from '../../scene';
import type { Image, Scene } from '../../scene';
import type { GaussianCloud } from '../../scene/gaussians/cloud';
import { evaluateViews, meanFigures } from '../../scene/gaussians/evaluate';
import { fit } from '../../scene/gaussians/fit';
import type { FitView } from '../../scene/gaussians/fit';
import { readSplats } from '../../scene/gaussians/formats';
import { Gaussians } from '../../scene/gaussians/gaussians';
import { cloudAtRandom, cloudFromPoints, sceneExtent } from '../../scene/gaussians/initialise';
import { reconstructRecipe, usualCap } from '../../scene/gaussians/recipe';
import { inverseOfDataparser, transformCloud } from '../../scene/gaussians/transform';
import { Rng } from '../../scene/procedural/rng';
import type { Device } from '../../tensor/device';
import type { AppEvent } from '../events';

/** Renders of splats that fit the cameras lie well above this, those in another frame below, dB. */
const leastPsnr = 15;
/** Pictures of little contrast come near each other in any frame: splats must also show more than the mean colour of each does, by so many dB. */
const aboveFlat = 1;
/** Photographs that splats are compared with. */
const checkedViews = 9;
const initStream = 204;

/** `--background`: display-referred RGB. */
export const backgroundColours = { black: [0, 0, 0], white: [1, 1, 1] } as const;
export type Background = keyof typeof backgroundColours;

/** The file that nerfstudio leaves beside the splats that it trains. */
export async function dataparserFile(splats: string): Promise<string | undefined> {
  const beside = path.join(path.dirname(splats), 'dataparser_transforms.json');
  return (await fs.stat(beside).catch(() => undefined)) ? beside : undefined;
}

/**
 * The user's splats, in the frame of the scene's cameras.
 * @param views photographs with cameras to check them against
 * @param dataparser nerfstudio's transform; default the one beside the file, null for none
 * @throws SceneError when their renders do not look like the photographs
 */
export async function* ownSplats(
  device: Device, scene: Scene, file: string, views: readonly FitView[],
  { dataparser, background, signal }: { dataparser?: string | null; background: Background; signal: AbortSignal },
): AsyncGenerator<AppEvent, GaussianCloud> {
  const { cloud, warnings } = await readSplats(file, { signal });
  for (const message of warnings) yield { type: 'warning', message };
  if (cloud.count === 0) throw new SceneError(`${file}: holds no Gaussians`);
  const transform = dataparser === undefined ? await dataparserFile(file) : (dataparser ?? undefined);
  const placed = transform === undefined ? cloud : transformCloud(cloud, inverseOfDataparser(await readJson(transform), await appliedOf(scene), transform));
  using gaussians = Gaussians.fromCloud(device, placed);
  const step = Math.max(1, Math.floor(views.length / checkedViews));
  const checked = views.filter((_, v) => v % step === 0);
  const { psnr } = meanFigures(await evaluateViews(gaussians, checked, { background: backgroundColours[background] }));
  yield { type: 'metric', name: 'source.psnr', value: psnr };
  const flat = checked.reduce((sum, { image }) => sum + psnrOfMean(image), 0) / checked.length;
  const least = Math.max(leastPsnr, flat + aboveFlat);
  if (psnr >= least) return placed;
  throw new SceneError(
    `${file}: does not show what the scene's photographs show (${psnr.toFixed(1)} dB, expected at least ${least.toFixed(1)}): its frame is not that of ` +
      `the cameras${transform ? ` even after ${transform}` : '; for splats exported by nerfstudio give --dataparser dataparser_transforms.json'}`,
  );
}

/** PSNR in dB of a picture in its own mean colour against it: what knows nothing of the scene's shape reaches that at best. */
function psnrOfMean({ width, height, data }: Image): number {
  const pixels = width * height;
  let squares = 0;
  for (let c = 0; c < 3; c++) {
    const plane = data.subarray(c * pixels, (c + 1) * pixels);
    const mean = plane.reduce((sum, value) => sum + value, 0) / pixels;
    squares += plane.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  }
  return -10 * Math.log10(squares / (3 * pixels));
}

/** Fits splats to all photographs of the scene at the size of the edited views. */
export async function* fittedSplats(
  device: Device, scene: Scene, views: readonly FitView[],
  { iterations, background, seed, signal }: { iterations: number; background: Background; seed: number; signal: AbortSignal },
): AsyncGenerator<AppEvent, GaussianCloud> {
  const { width, height } = views[0].image;
  const cap = usualCap(width, height);
  const rng = new Rng(seed, initStream);
  const cameras = views.map(({ camera }) => camera);
  const start =
    scene.points && scene.points.count > 0
      ? cloudFromPoints(scene.points, { shDegree: 1, most: cap, rng })
      : cloudAtRandom(cameras, { count: Math.round(cap / 2), shDegree: 1, rng });
  using gaussians = Gaussians.fromCloud(device, start);
  const colour = backgroundColours[background];
  const recipe = { ...reconstructRecipe({ iterations, cap, strategy: 'mcmc' }), background: colour };
  for await (const { iteration, l1 } of fit(gaussians, views, recipe, { seed, signal, extent: sceneExtent(cameras), reportEvery: 100 })) {
    yield { type: 'step', stage: 'refit', step: iteration, steps: iterations };
    yield { type: 'metric', name: 'source.l1', value: l1 };
  }
  const figures = meanFigures(await evaluateViews(gaussians, views.slice(0, checkedViews), { background: colour }));
  yield { type: 'metric', name: 'source.psnr', value: figures.psnr };
  return gaussians.toCloud();
}

/** All photographs of a scene, brought to one size. */
export async function photographs(scene: Scene, size: { width: number; height: number }, signal: AbortSignal): Promise<FitView[]> {
  const views: FitView[] = [];
  for (const view of scene.views) {
    const { image, camera } = await loadView(view, { ...size, signal });
    views.push({ image, camera: scaleCamera(camera, size.width, size.height) });
  }
  return views;
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await fs.readFile(file, 'utf8')) as unknown;
  } catch (error) {
    throw new SceneError(`${file}: cannot be read as JSON (${(error as Error).message})`, { cause: error });
  }
}

/** What the exporter of transforms.json has done to its poses already. */
async function appliedOf({ root, format }: Scene): Promise<{ transform?: unknown; scale?: unknown }> {
  if (format !== 'nerfstudio') return {};
  const json = (await readJson(path.join(root, 'transforms.json'))) as Record<string, unknown>;
  return { transform: json['applied_transform'], scale: json['applied_scale'] };
}
