/**
 * Training sets of the verifier: views of a procedural scene along an arc with exact cameras, depths and points; in some sets the
 * views disagree in appearance, and there the targets are made unpredictable.
 *
 * A network trained on consistent sets alone is blind to disagreement in colour: geometry stays predictable. With VGGT's loss the
 * best confidence is about alpha / E[error]. Targets with log-normal noise as strong as the disagreement would teach a confidence
 * that falls with it; the loss takes the expectation of that noise instead (see `doubt`), so that the best depth stays the truth.
 */
import {
  applyGlobalEdit, colourNames, floorNames, globalEditNames, Rng, sampleScene, shadeViews, skyNames, traceViews, withFloor,
  withObjectColour, withSky,
} from '../../scene/procedural';
import type { GlobalEditName, ProceduralScene, RenderSize, TracedViews } from '../../scene/procedural';
import { selectTraced } from '../../scene/procedural/measures';
import type { NativeRenderer } from '../../scene/procedural/native';
import { doubt, exactTruth, firstObjectId, fullDifference, pixelWeights } from './verifier-truth';
import type { Truth } from './verifier-truth';

/** How views of a set disagree. `object` … `tint` change the appearance of some views, `foreign` and `duplicate` replace one. */
export const disagreements = ['object', 'floor', 'sky', 'global', 'tint', 'foreign', 'duplicate'] as const;
export type Disagreement = (typeof disagreements)[number];
type AppearanceDisagreement = Exclude<Disagreement, 'foreign' | 'duplicate'>;
/** Objects are small and what they show is seen last: they come most often. */
const frequencies = [14, 4, 1, 1.2, 1.2, 0.6, 0.3];

/** A set in host memory; S views of H × W pixels. */
export interface VerifierSet extends Truth {
  /** [S, 3, H, W] in [0, 1] */
  images: Float32Array;
  /** Standard deviation of the noise to be put on each view's pixels: [S]. */
  noise: Float32Array;
  /** [S, H, W] expected relative error that disagreement adds to the targets. */
  doubt: Float32Array;
  /** [S, H, W] weight of a pixel in the loss. */
  weight: Float32Array;
  /** [S] 0 where the picture does not show the scene from its camera. */
  poseWeight: Float32Array;
}

export interface SetOptions {
  renderer: NativeRenderer;
  size: number;
  views: number;
  /** The disagreement; `none` for a consistent set; drawn when absent. */
  disagreement?: Disagreement | 'none';
  /** All views show the first of the looks that would otherwise disagree: the same set without its disagreement. */
  agree?: boolean;
  /** As many views, drawn, have a look of their own each; the others share one (floor and object). */
  independent?: number;
  /** Noise, blur and gains that training pictures get. */
  augment: boolean;
  /** Keeps what was traced: tracing a scene costs more than drawing it once more under another look. */
  traces?: TraceCache;
}

/** Scenes with the G-buffers of all their views, by seed. */
export class TraceCache {
  private readonly known = new Map<number, { scene: ProceduralScene; traced: TracedViews }>();

  get(seed: number, frame: RenderSize, { trace }: NativeRenderer): { scene: ProceduralScene; traced: TracedViews } {
    let found = this.known.get(seed);
    if (!found) {
      const scene = sampleScene(seed);
      found = { scene, traced: traceViews(scene, scene.cameras.views, frame, trace) };
      this.known.set(seed, found);
    }
    return found;
  }
}

/** Share of sets whose views agree. */
const consistentShare = 0.45;
/** Samples per pixel. */
const samples = 4;

/** A way the scene may look. */
interface Look {
  scene: ProceduralScene;
  filter?: GlobalEditName;
  gain?: readonly number[];
  /** Share of this look in the picture, the rest being the first look. */
  blend: number;
}

/** One set of the scene `sceneSeed`, everything else drawn from `rng`. */
export function drawSet(sceneSeed: number, rng: Rng, options: SetOptions): VerifierSet {
  const { size, views, renderer } = options;
  const frame: RenderSize = { width: size, height: size, spp: samples };
  const kept = options.traces?.get(sceneSeed, frame, renderer);
  const scene = kept?.scene ?? sampleScene(sceneSeed);
  const total = scene.cameras.views.length;
  const indices = pickInOrder(scene.cameras.views.map((_, i) => i), views, rng);
  const cameras = indices.map((i) => scene.cameras.views[i]);
  const traced = kept ? selectTraced(kept.traced, total, indices) : traceViews(scene, cameras, frame, renderer.trace);
  const kind = options.disagreement ?? (rng.chance(consistentShare) ? 'none' : disagreements[rng.weighted(frequencies)]);
  const { pictures, difference } = draw(scene, traced, kind, frame, rng, options);
  const poseWeight = new Float32Array(views).fill(1);
  if (kind === 'foreign' || kind === 'duplicate') poseWeight[replaceView(kind, sceneSeed, pictures, difference, frame, rng, options)] = 0;
  const truth = exactTruth(cameras, traced, size);
  const images = new Float32Array(views * 3 * size * size);
  pictures.forEach((picture, v) => images.set(picture, v * picture.length));
  const noise = new Float32Array(views);
  if (options.augment) augment(images, noise, size, rng);
  return { images, noise, ...truth, doubt: doubt(difference), weight: pixelWeights(traced.ids), poseWeight };
}

/** `count` of the views, in their order along the arc. */
function pickInOrder<T>(all: readonly T[], count: number, rng: Rng): T[] {
  const left = all.map((_, i) => i);
  const picked = Array.from({ length: count }, () => left.splice(rng.int(left.length), 1)[0]);
  return picked.sort((a, b) => a - b).map((i) => all[i]);
}

/** Every view under the look drawn for it, and per pixel its mean difference to the looks of the other views: [S][H W]. */
function draw(
  scene: ProceduralScene,
  traced: TracedViews,
  kind: Disagreement | 'none',
  frame: RenderSize,
  rng: Rng,
  { renderer, views, agree = false, independent }: SetOptions,
): { pictures: Float32Array[]; difference: Float32Array[] } {
  const pixels = frame.width * frame.height;
  const { ids } = traced;
  const same = kind === 'none' || kind === 'foreign' || kind === 'duplicate';
  const looks = same ? commonLook(scene, ids, rng) : drawLooks(scene, kind, ids, rng, independent === undefined ? undefined : Infinity);
  const assigned =
    independent !== undefined
      ? someIndependent(looks.length, views, independent, rng)
      : agree
        ? new Array<number>(views).fill(0)
        : assignLooks(looks.length, views, rng);
  const bytes = traced.samples.length / views;
  const difference: Float32Array[] = [];
  const pictures = assigned.map((own, v) => {
    const view = { samples: traced.samples.subarray(v * bytes, (v + 1) * bytes) };
    const drawn = new Map<number, Float32Array>();
    const under = (look: number): Float32Array => {
      const known = drawn.get(look) ?? render(looks, look, view, frame, renderer);
      drawn.set(look, known);
      return known;
    };
    const picture = under(own);
    const sum = new Float32Array(pixels);
    assigned.forEach((other, u) => {
      if (u !== v && other !== own) addDifference(sum, picture, under(other), 1 / (3 * (views - 1)));
    });
    difference.push(sum);
    return picture;
  });
  return { pictures, difference };
}

/** All views share one look, in half of the sets an edited one: an edit that all views agree on is consistent. */
function commonLook(scene: ProceduralScene, ids: Int32Array, rng: Rng): Look[] {
  if (rng.chance(0.5)) return [{ scene, blend: 1 }];
  const kind = (['object', 'floor', 'sky', 'global', 'tint'] as const)[rng.weighted([3, 2, 1, 3, 1])];
  return [rng.pick(changedLooks(scene, kind, ids, rng))];
}

/** Two to four looks that differ in one respect, the original among them in half of the sets. */
function drawLooks(scene: ProceduralScene, kind: AppearanceDisagreement, ids: Int32Array, rng: Rng, all?: number): Look[] {
  const count = all ?? 2 + rng.weighted([3, 1, 1]);
  const blend = all === undefined && rng.chance(0.2) ? rng.range(0.3, 1) : 1;
  const changed = shuffled(changedLooks(scene, kind, ids, rng), rng);
  const first = rng.chance(0.5) ? { scene, blend: 1 } : changed.pop()!;
  return [first, ...changed.slice(0, count - 1).map((look) => ({ ...look, blend }))];
}

/** Looks that all differ from the original and from each other. */
function changedLooks(scene: ProceduralScene, kind: AppearanceDisagreement, ids: Int32Array, rng: Rng): Look[] {
  const object = shownObject(scene, ids, rng);
  const others = <T>(names: readonly T[], present: T): T[] => names.filter((name) => name !== present);
  switch (kind) {
    case 'object':
      return others(colourNames, scene.objects[object].colour).map((name) => ({ scene: withObjectColour(scene, object, name), blend: 1 }));
    case 'floor':
      return others(floorNames, scene.floor.name).map((name) => ({ scene: withFloor(scene, name), blend: 1 }));
    case 'sky':
      return others(skyNames, scene.sky.name).map((name) => ({ scene: withSky(scene, name), blend: 1 }));
    case 'global':
      return globalEditNames.map((filter) => ({ scene, filter, blend: 1 }));
    case 'tint':
      return [0, 1, 2, 3, 4].map(() => ({ scene, gain: [0, 1, 2].map(() => rng.range(0.55, 1.35)), blend: 1 }));
  }
}

/** An object in proportion to the pixels it covers; the scene's target when none is met. */
function shownObject(scene: ProceduralScene, ids: Int32Array, rng: Rng): number {
  for (let tries = 0; tries < 100; tries++) {
    const id = ids[rng.int(ids.length)];
    if (id >= firstObjectId) return id - firstObjectId;
  }
  return scene.target;
}

function shuffled<T>(items: readonly T[], rng: Rng): T[] {
  const left = [...items];
  return items.map(() => left.splice(rng.int(left.length), 1)[0]);
}

/** The look of each view: with two looks a random split, with more an independent draw; never all the same. */
function assignLooks(count: number, views: number, rng: Rng): number[] {
  const all = new Array<number>(views).fill(0);
  if (count === 1 || views === 1) return all;
  if (count === 2) {
    const odd = 1 + rng.int(Math.max(1, views - 1));
    for (const v of pickInOrder(all.map((_, i) => i), odd, rng)) all[v] = 1;
    return all;
  }
  const drawn = all.map(() => rng.int(count));
  if (drawn.every((look) => look === drawn[0])) drawn[rng.int(views)] = (drawn[0] + 1) % count;
  return drawn;
}

/** `count` of the views show a look drawn for each, the others the first. */
function someIndependent(looks: number, views: number, count: number, rng: Rng): number[] {
  const order = shuffled(Array.from({ length: views }, (_, v) => v), rng);
  const assigned = new Array<number>(views).fill(0);
  order.slice(0, count).forEach((v) => (assigned[v] = 1 + rng.int(looks - 1)));
  return assigned;
}

function render(
  looks: readonly Look[],
  index: number,
  view: Pick<TracedViews, 'samples'>,
  frame: RenderSize,
  renderer: NativeRenderer,
): Float32Array {
  const { scene, filter, gain, blend } = looks[index];
  let picture = shadeViews(scene, view, 1, frame, renderer.shade);
  if (filter) picture = applyGlobalEdit(filter, picture, frame.width, frame.height);
  if (gain) {
    const pixels = frame.width * frame.height;
    picture = picture.map((value, i) => Math.min(1, value * gain[Math.floor(i / pixels)]));
  }
  if (blend === 1) return picture;
  const base = render([{ ...looks[0], blend: 1 }], 0, view, frame, renderer);
  return picture.map((value, i) => base[i] + blend * (value - base[i]));
}

function addDifference(sum: Float32Array, a: Float32Array, b: Float32Array, factor: number): void {
  const pixels = sum.length;
  for (let i = 0; i < pixels; i++) {
    sum[i] += factor * (Math.abs(a[i] - b[i]) + Math.abs(a[pixels + i] - b[pixels + i]) + Math.abs(a[2 * pixels + i] - b[2 * pixels + i]));
  }
}

/** Puts another scene's picture, or another view's, in place of one view, not the first. Returns which. */
function replaceView(
  kind: 'foreign' | 'duplicate',
  sceneSeed: number,
  pictures: Float32Array[],
  difference: Float32Array[],
  frame: RenderSize,
  rng: Rng,
  { renderer, views }: SetOptions,
): number {
  const at = views > 1 ? 1 + rng.int(views - 1) : 0;
  if (kind === 'duplicate') pictures[at] = pictures[views > 1 ? (at + 1 + rng.int(views - 1)) % views : 0];
  else {
    // The other half of each thousand seeds: of the same split, and never the scene itself.
    const other = sampleScene(sceneSeed - (sceneSeed % 1000) + ((sceneSeed % 1000) + 500) % 1000);
    const traced = traceViews(other, [rng.pick(other.cameras.views)], frame, renderer.trace);
    pictures[at] = shadeViews(other, traced, 1, frame, renderer.shade);
  }
  difference.forEach((sum, v) => sum.fill(v === at ? fullDifference : fullDifference / (2 * Math.max(1, views - 1))));
  return at;
}

/** Gains and blur of the whole set, so that neither says anything about consistency; noise of its own for every view. */
function augment(images: Float32Array, noise: Float32Array, size: number, rng: Rng): void {
  const pixels = size * size;
  const gains = [0, 1, 2].map(() => rng.range(0.8, 1.2));
  for (let i = 0; i < images.length; i++) images[i] = Math.min(1, images[i] * gains[Math.floor(i / pixels) % 3]);
  if (rng.chance(0.25)) for (let from = 0; from < images.length; from += pixels) blur(images.subarray(from, from + pixels), size);
  const most = rng.range(0, 0.04);
  noise.forEach((_, v) => (noise[v] = rng.range(0, most)));
}

/** The binomial filter (1, 2, 1)/4 in both directions, in place. */
function blur(plane: Float32Array, size: number): void {
  for (const [step, stride] of [[1, size], [size, 1]]) {
    for (let line = 0; line < size; line++) {
      let before = plane[line * stride];
      for (let k = 0; k < size; k++) {
        const at = line * stride + k * step;
        const here = plane[at];
        const behind = k + 1 < size ? plane[at + step] : here;
        plane[at] = (before + 2 * here + behind) / 4;
        before = here;
      }
    }
  }
}
