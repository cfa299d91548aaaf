/** From edited views to an edited splat scene: what the stage of an edit and `rl3dedit refit` share. */
import { performance } from 'node:perf_hooks';
import { ConfigError } from '../../binding/errors';
import { photometricLoss } from '../../rewards';
import type { Image, Scene } from '../../scene';
import type { Camera } from '../../scene';
import type { GaussianCloud } from '../../scene/gaussians/cloud';
import { editMasks, isColourMap } from '../../scene/gaussians/edit-mask';
import { evaluateViews, psnr } from '../../scene/gaussians/evaluate';
import { fit } from '../../scene/gaussians/fit';
import { Gaussians } from '../../scene/gaussians/gaussians';
import { cloudFromPoints, sceneExtent } from '../../scene/gaussians/initialise';
import { rasterize, renderImage } from '../../scene/gaussians/rasterize';
import { reconstructRecipe, usualCap } from '../../scene/gaussians/recipe';
import { refit } from '../../scene/gaussians/refit';
import type { RefitPreset } from '../../scene/gaussians/refit';
import { Rng } from '../../scene/procedural/rng';
import type { Device } from '../../tensor/device';
import type { AppEvent } from '../events';
import type { Verifier } from '../model';
import { verifierPoints } from '../reconstruct/verifier-points';
import { changesShape, seenDepth } from './depth';
import type { SeenDepth } from './depth';
import { backgroundColours, fittedSplats, ownSplats, photographs } from './source';
import type { Background } from './source';

export interface RefitInput {
  device: Device;
  scene: Scene;
  /** Distinct edited views; pictures of one size. */
  cameras: readonly Camera[];
  before: readonly Image[];
  after: readonly Image[];
  verifier?: Verifier;
  settings: {
    refit: 'source' | 'scratch';
    preset: 'auto' | RefitPreset;
    splats?: string;
    /** null: the splats are in the frame of the cameras. */
    dataparser?: string | null;
    background: Background;
    sourceIterations: number;
    refitIterations?: number;
    folds: number;
    seed: number;
  };
  signal: AbortSignal;
}

/** `refit` of edit.json. */
export interface RefitRecord {
  from: 'source' | 'scratch';
  preset: RefitPreset | 'scratch';
  gaussians: { source: number; edited: number; seeds: number };
  iterations: number;
  /** Mean PSNR in dB of edited views left out of the fit, at the iteration that was chosen, and before the first one. */
  leaveOneOut?: { psnr: number; start: number; curve: { iteration: number; psnr: number }[] };
  /** PSNR of the edited views after the refit, dB. */
  fitPsnr: number[];
  /** Share of the source's Gaussians that the edit touches. */
  editedShare: number;
  /**
   * Photometric loss between neighbouring views, warped by the source's depth under the given cameras: of the unedited views, of the
   * edited ones and of the refitted scene. Lower is more consistent; null where views do not overlap.
   */
  warp: { before: number | null; after: number | null; refit: number | null };
  seconds: number;
}

export interface RefitOutcome {
  /** The scene before; absent from scratch. */
  source?: GaussianCloud;
  edited: GaussianCloud;
  /** Renders of the edited scene at the views' cameras. */
  rendered: Image[];
  record: RefitRecord;
}

/** Iterations of a refit from scratch (RL3DEdit, 3,000). */
const scratchIterations = 3000;
const scratchDegree = 1;
const startStream = 205;

/** @throws SceneError, ConfigError, AbortError */
export async function* refitScene(input: RefitInput): AsyncGenerator<AppEvent, RefitOutcome> {
  const begun = performance.now();
  const { settings } = input;
  const outcome = settings.refit === 'source' ? yield* fromSource(input) : yield* fromScratch(input);
  const seconds = (performance.now() - begun) / 1000;
  return { ...outcome, record: { ...outcome.record, seconds } };
}

type Unfinished = Omit<RefitOutcome, 'record'> & { record: Omit<RefitRecord, 'seconds'> };

async function* fromSource(input: RefitInput): AsyncGenerator<AppEvent, Unfinished> {
  const { device, scene, cameras, before, after, settings, signal } = input;
  const { width, height } = before[0];
  const views = await photographs(scene, { width, height }, signal);
  const source =
    settings.splats === undefined
      ? yield* fittedSplats(device, scene, views, { ...settings, iterations: settings.sourceIterations, signal })
      : yield* ownSplats(device, scene, settings.splats, views, { ...settings, signal });
  const colour = backgroundColours[settings.background];
  const { depth, transmittance } = await looks(device, source, cameras);
  const { preset, seen } = await choosePreset(input, depth);
  yield { type: 'note', message: `refit: ${preset === 'appearance' ? 'colours move, shape stays' : 'shape moves too, new Gaussians where the edit put something'}` };
  const black = (images: readonly Image[]): readonly Image[] => overBlack(images, transmittance, colour, editMasks(before, after));
  const [dark, darkEdited] = [black(before), black(after)];
  const refitViews = cameras.map((camera, v) => ({
    before: dark[v], after: darkEdited[v], camera, depth: preset === 'geometry' ? seen?.after[v] : undefined,
  }));
  const options = { preset, seed: settings.seed, signal, folds: settings.folds, iterations: settings.refitIterations };
  const work = refit(device, source, refitViews, options);
  let next = await work.next();
  while (!next.done) {
    yield { type: 'step', stage: 'refit', ...next.value };
    next = await work.next();
  }
  const { cloud: edited, iterations, leaveOneOut, editedShare, seeds } = next.value;
  const chosen = leaveOneOut.find((point) => point.iteration === iterations);
  const rendered = await renders(device, edited, cameras, colour);
  return {
    source,
    edited,
    rendered,
    record: {
      from: 'source',
      preset,
      gaussians: { source: source.count, edited: edited.count, seeds },
      iterations,
      leaveOneOut: chosen && { psnr: chosen.psnr, start: leaveOneOut[0].psnr, curve: leaveOneOut },
      // Against the edited views as they are: what a refit aims at leaves out what it takes for noise of the editor.
      fitPsnr: rendered.map((image, v) => psnr(image, after[v])),
      editedShare,
      warp: {
        before: warpLoss(before, cameras, depth),
        after: warpLoss(after, cameras, depth),
        refit: warpLoss(rendered, cameras, depth),
      },
    },
  };
}

/** What may move: as asked, or by what the verifier sees. */
async function choosePreset(
  { before, after, verifier, settings, signal }: RefitInput, depth: readonly Float32Array[],
): Promise<{ preset: RefitPreset; seen?: SeenDepth }> {
  // What one map of colours explains is no change of shape, whatever a small verifier makes of the new colours.
  const recoloured = settings.preset === 'auto' && isColourMap(before, after);
  if (settings.preset === 'appearance' || recoloured || !verifier) return { preset: settings.preset === 'geometry' ? 'geometry' : 'appearance' };
  const masks = editMasks(before, after);
  const seen = await seenDepth(verifier, before, after, depth, masks, signal);
  if (settings.preset === 'geometry') return { preset: 'geometry', seen };
  return { preset: changesShape(seen, masks) ? 'geometry' : 'appearance', seen };
}

/** As the paper: from points, on the edited views alone. */
async function* fromScratch({ device, scene, cameras, before, after, verifier, settings, signal }: RefitInput): AsyncGenerator<AppEvent, Unfinished> {
  const views = cameras.map((camera, v) => ({ image: after[v], camera }));
  const { width, height } = after[0];
  const cap = usualCap(width, height);
  const iterations = settings.refitIterations ?? scratchIterations;
  const points = scene.points && scene.points.count > 0 ? scene.points : verifier && (await verifierPoints(verifier, views, signal));
  if (!points) throw new ConfigError('refit: scratch starts from points: the scene has none and the model no verifier; give one with --verifier');
  const start = cloudFromPoints(points, { shDegree: scratchDegree, most: cap, rng: new Rng(settings.seed, startStream) });
  using gaussians = Gaussians.fromCloud(device, start);
  const background = backgroundColours[settings.background];
  const recipe = { ...reconstructRecipe({ iterations, cap, strategy: 'mcmc' }), background };
  for await (const { iteration } of fit(gaussians, views, recipe, { seed: settings.seed, signal, extent: sceneExtent(cameras), reportEvery: 100 })) {
    yield { type: 'step', stage: 'refit', step: iteration, steps: iterations };
  }
  const figures = await evaluateViews(gaussians, views, { background });
  const edited = await gaussians.toCloud();
  const { depth } = await looks(device, edited, cameras);
  const rendered = figures.map((figure) => figure.rendered);
  return {
    edited,
    rendered,
    record: {
      from: 'scratch',
      preset: 'scratch',
      gaussians: { source: start.count, edited: edited.count, seeds: 0 },
      iterations,
      fitPsnr: figures.map((figure) => figure.psnr),
      editedShare: 1,
      warp: {
        before: warpLoss(before, cameras, depth),
        after: warpLoss(after, cameras, depth),
        refit: warpLoss(rendered, cameras, depth),
      },
    },
  };
}

/** Median depth of each view, and the share of the background in each pixel. */
async function looks(device: Device, cloud: GaussianCloud, cameras: readonly Camera[]): Promise<{ depth: Float32Array[]; transmittance: Float32Array[] }> {
  using gaussians = Gaussians.fromCloud(device, cloud);
  const [depth, transmittance]: Float32Array[][] = [[], []];
  for (const camera of cameras) {
    using rendering = await rasterize(gaussians, camera);
    depth.push(await rendering.medianDepth.toFloat32());
    transmittance.push((await rendering.alpha.toFloat32()).map((alpha) => 1 - alpha));
  }
  return { depth, transmittance };
}

async function renders(
  device: Device, cloud: GaussianCloud, cameras: readonly Camera[], background: readonly [number, number, number],
): Promise<Image[]> {
  using gaussians = Gaussians.fromCloud(device, cloud);
  const images: Image[] = [];
  for (const camera of cameras) images.push(await renderImage(gaussians, camera, { background }));
  return images;
}

/** From here on a pixel is background, and an edit there is a thing of its own. */
const nothingThere = 0.9;

/**
 * The pictures as they would be over black, which is what a refit works on: the source's share of the background is taken out. Where an edit
 * put something before the bare background it stays whole.
 * @param masks [V][H W] where the edit is, undefined for one of whole pictures
 */
function overBlack(
  images: readonly Image[], transmittance: readonly Float32Array[], colour: readonly [number, number, number], masks: readonly Float32Array[] | undefined,
): readonly Image[] {
  if (colour.every((value) => value === 0)) return images;
  return images.map((image, v) => {
    const data = Float32Array.from(image.data);
    const pixels = image.width * image.height;
    transmittance[v].forEach((share, i) => {
      if (share >= nothingThere && masks && masks[v][i] > 0) return;
      for (let c = 0; c < 3; c++) data[c * pixels + i] = Math.max(0, data[c * pixels + i] - share * colour[c]);
    });
    return { ...image, data };
  });
}

function warpLoss(images: readonly Image[], cameras: readonly Camera[], depth: readonly Float32Array[]): number | null {
  if (images.length < 2) return null;
  const [{ width, height }] = images;
  const data = new Float32Array(images.length * width * height);
  depth.forEach((plane, v) => data.set(plane, v * width * height));
  const worldToCam = cameras.map((camera) => [...camera.worldToCam].slice(0, 12));
  // Equal cameras on both sides: the depths are in world units already.
  const reading = { depth: { mean: [], meanLog: [] }, point: { mean: [], meanLog: [] }, worldToCam, depthMap: { data, width, height } };
  const { loss } = photometricLoss(images, cameras, reading);
  return Number.isFinite(loss) ? loss : null;
}
