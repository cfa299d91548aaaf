/**
 * Training sets of the verifier: views of a procedural scene along an arc with exact cameras, depths and points; in some sets the
 * views disagree in appearance, and there the targets are made unpredictable.
 *
 * A network trained on consistent sets alone is blind to disagreement in colour: geometry stays predictable. With VGGT's loss the
 * best confidence is about alpha / E[error], so log-normal noise on the targets, as strong as the disagreement, teaches a
 * confidence that falls with it, while the best depth stays the median: the truth.
 */
import { encodePose } from '../../models/vggt/pose-encoding';
import {
  applyGlobalEdit, colourNames, farDepth, floorNames, globalEditNames, pixelCamera, Rng, sampleScene, shadeViews, skyNames, traceViews,
  withFloor, withObjectColour, withSky,
} from '../../scene/procedural';
import type { GlobalEditName, ProceduralCamera, ProceduralScene, RenderSize, TracedViews } from '../../scene/procedural';
import type { NativeRenderer } from '../../scene/procedural/native';

/** How views of a set disagree. `object` … `tint` change the appearance of some views, `foreign` and `duplicate` replace one. */
export const disagreements = ['object', 'floor', 'sky', 'global', 'tint', 'foreign', 'duplicate'] as const;
export type Disagreement = (typeof disagreements)[number];
const frequencies = [5, 4, 1.5, 3, 2, 1, 0.7];

/** A set in host memory; S views of H × W pixels. */
export interface VerifierSet {
  /** [S, 3, H, W] in [0, 1] */
  images: Float32Array;
  /** Standard deviation of the noise to be put on each view's pixels: [S]. */
  noise: Float32Array;
  /** [S, H, W] z-depth and [S, H, W, 3] points in the first camera's frame, over the mean distance of the scene's points. */
  depth: Float32Array;
  points: Float32Array;
  /** [S, H, W] weight of a pixel in the loss. */
  weight: Float32Array;
  /** [S, 9] pose encodings. */
  poses: Float32Array;
  /** [S] 0 where the picture does not show the scene from its camera. */
  poseWeight: Float32Array;
}

export interface SetOptions {
  renderer: NativeRenderer;
  size: number;
  views: number;
  /** The disagreement; `none` for a consistent set; drawn when absent. */
  disagreement?: Disagreement | 'none';
  /** Noise, blur and gains that training pictures get. */
  augment: boolean;
}

/** Share of sets whose views agree. */
const consistentShare = 0.45;
/** Samples per pixel. */
const samples = 4;
/** Depths are cut here, in mean distances: the sky too must be something a network can predict. */
const farthest = 3;
/** Mean difference of a channel at which targets are as noisy as they get, and the logarithm's deviation there. */
const fullDifference = 0.25;
const fullNoise = 0.35;
/** Side of the blocks that share one draw of target noise. */
const block = 8;

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
  const scene = sampleScene(sceneSeed);
  const cameras = pickInOrder(scene.cameras.views, views, rng);
  const frame: RenderSize = { width: size, height: size, spp: samples };
  const traced = traceViews(scene, cameras, frame, renderer.trace);
  const kind = options.disagreement ?? (rng.chance(consistentShare) ? 'none' : disagreements[rng.weighted(frequencies)]);
  const { pictures, difference } = draw(scene, traced, kind, frame, rng, options);
  const poseWeight = new Float32Array(views).fill(1);
  if (kind === 'foreign' || kind === 'duplicate') poseWeight[replaceView(kind, sceneSeed, pictures, difference, frame, rng, options)] = 0;
  const truth = geometry(cameras, traced, size);
  corrupt(truth, difference, size, rng);
  const images = new Float32Array(views * 3 * size * size);
  pictures.forEach((picture, v) => images.set(picture, v * picture.length));
  const noise = new Float32Array(views);
  if (options.augment) augment(images, noise, size, rng);
  return { images, noise, ...truth, weight: pixelWeights(traced.ids), poseWeight };
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
  { renderer, views }: SetOptions,
): { pictures: Float32Array[]; difference: Float32Array[] } {
  const pixels = frame.width * frame.height;
  const looks = kind === 'none' || kind === 'foreign' || kind === 'duplicate' ? commonLook(scene, rng) : drawLooks(scene, kind, rng);
  const assigned = assignLooks(looks.length, views, rng);
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
function commonLook(scene: ProceduralScene, rng: Rng): Look[] {
  if (rng.chance(0.5)) return [{ scene, blend: 1 }];
  const [, edited] = drawLooks(scene, (['object', 'floor', 'sky', 'global', 'tint'] as const)[rng.weighted([3, 2, 1, 3, 1])], rng);
  return [{ ...edited, blend: 1 }];
}

/** Two to four looks that differ in one respect, the original among them in half of the sets. */
function drawLooks(scene: ProceduralScene, kind: Exclude<Disagreement, 'foreign' | 'duplicate'>, rng: Rng): Look[] {
  const count = 2 + rng.weighted([3, 1, 1]);
  const object = rng.chance(0.6) ? scene.target : rng.int(scene.objects.length);
  const one = (): Look => {
    switch (kind) {
      case 'object':
        return { scene: withObjectColour(scene, object, rng.pick(colourNames)), blend: 1 };
      case 'floor':
        return { scene: withFloor(scene, rng.pick(floorNames)), blend: 1 };
      case 'sky':
        return { scene: withSky(scene, rng.pick(skyNames)), blend: 1 };
      case 'global':
        return { scene, filter: rng.pick(globalEditNames), blend: 1 };
      case 'tint':
        return { scene, gain: [0, 1, 2].map(() => rng.range(0.55, 1.35)), blend: 1 };
    }
  };
  const blend = rng.chance(0.3) ? rng.range(0.3, 1) : 1;
  const first = rng.chance(0.5) ? { scene, blend: 1 } : one();
  return [first, ...Array.from({ length: count - 1 }, () => ({ ...one(), blend }))];
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

function render(looks: readonly Look[], index: number, view: Pick<TracedViews, 'samples'>, frame: RenderSize, renderer: NativeRenderer): Float32Array {
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

/** Exact targets of the views, in the first camera's frame and unit scale. */
function geometry(cameras: readonly ProceduralCamera[], traced: TracedViews, size: number): Pick<VerifierSet, 'depth' | 'points' | 'poses'> {
  const pixels = size * size;
  const relative = cameras.map((camera) => compose(camera.worldToCam, cameras[0].worldToCam));
  const rays = cameras.map((camera) => pixelCamera(camera, size, size));
  const points = new Float32Array(3 * cameras.length * pixels);
  const depth = Float32Array.from(traced.depth);
  const place = (i: number): number => {
    const v = Math.floor(i / pixels);
    const [fx, fy, cx, cy] = rays[v];
    const z = depth[i];
    const x = (((i % size) + 0.5 - cx) / fx) * z - relative[v][3];
    const y = ((Math.floor((i % pixels) / size) + 0.5 - cy) / fy) * z - relative[v][7];
    const w = z - relative[v][11];
    const m = relative[v];
    points[3 * i] = m[0] * x + m[4] * y + m[8] * w;
    points[3 * i + 1] = m[1] * x + m[5] * y + m[9] * w;
    points[3 * i + 2] = m[2] * x + m[6] * y + m[10] * w;
    return Math.hypot(points[3 * i], points[3 * i + 1], points[3 * i + 2]);
  };
  let [sum, count] = [0, 0];
  for (let i = 0; i < depth.length; i++) {
    if (depth[i] >= farDepth) continue;
    sum += place(i);
    count += 1;
  }
  const unit = sum / Math.max(1, count);
  for (let i = 0; i < depth.length; i++) {
    if (depth[i] > farthest * unit) {
      depth[i] = farthest * unit;
      place(i);
    }
    depth[i] /= unit;
    for (let k = 0; k < 3; k++) points[3 * i + k] /= unit;
  }
  const poses = cameras.flatMap((_, v) => {
    const m = relative[v].map((value, k) => (k % 4 === 3 ? value / unit : value));
    return encodePose(m, rays[v][0], rays[v][1], size, size);
  });
  return { depth, points, poses: Float32Array.from(poses) };
}

/** b a⁻¹ … as camera-from-first-camera: [R|t] of `camera` in the frame of `first`. */
function compose(camera: readonly number[], first: readonly number[]): number[] {
  const out: number[] = [];
  for (let i = 0; i < 3; i++) {
    const r = [0, 1, 2].map((j) => camera[4 * i] * first[4 * j] + camera[4 * i + 1] * first[4 * j + 1] + camera[4 * i + 2] * first[4 * j + 2]);
    out.push(...r, camera[4 * i + 3] - (r[0] * first[3] + r[1] * first[7] + r[2] * first[11]));
  }
  return out;
}

/** Log-normal noise on the targets along each view's rays, one draw per block of pixels, as strong as the views disagree there. */
function corrupt({ depth, points, poses }: Pick<VerifierSet, 'depth' | 'points' | 'poses'>, difference: readonly Float32Array[], size: number, rng: Rng): void {
  const across = Math.ceil(size / block);
  difference.forEach((sum, v) => {
    if (!sum.some((value) => value > 0)) return;
    const draws = Array.from({ length: across * across }, () => normal(rng));
    const centre = cameraCentre(poses.subarray(9 * v, 9 * v + 9));
    for (let p = 0; p < sum.length; p++) {
      if (sum[p] === 0) continue;
      const draw = draws[Math.floor(p / size / block) * across + Math.floor((p % size) / block)];
      const factor = Math.exp(fullNoise * Math.min(1, sum[p] / fullDifference) * draw);
      const i = v * sum.length + p;
      depth[i] *= factor;
      for (let k = 0; k < 3; k++) points[3 * i + k] = centre[k] + factor * (points[3 * i + k] - centre[k]);
    }
  });
}

/** −Rᵀ t of a pose encoding with a unit quaternion. */
function cameraCentre([tx, ty, tz, x, y, z, w]: ArrayLike<number> & Iterable<number>): number[] {
  const r = [
    1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
    2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
    2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
  ];
  return [0, 1, 2].map((k) => -(r[k] * tx + r[3 + k] * ty + r[6 + k] * tz));
}

/** Objects are small and what edits are about; the sky is neither. */
function pixelWeights(ids: Int32Array): Float32Array {
  return Float32Array.from(ids, (id) => (id >= 2 ? 2.5 : id === 1 ? 1 : 0.5));
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

function normal(rng: Rng): number {
  return Math.sqrt(-2 * Math.log(1 - rng.range())) * Math.cos(2 * Math.PI * rng.range());
}
