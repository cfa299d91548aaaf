/** The exact answers of an open edit in given views, and where in the pictures the edit may act. */
import { ConfigError, ShapeError } from '../../../binding/errors';
import type { ProceduralCamera } from '../cameras';
import type { OpenEdit } from '../edits';
import { shadeViews, type RenderSize, type ShadeGBuffer, type TracedViews } from '../render';
import { objectId, type ProceduralScene } from '../world';
import { planWarps, type ViewWarp } from './warp';

/** Chebyshev radius, in pixels, by which the edited region grows before what lies outside counts as untouched. */
export const dilationRadius = 2;

/** A view that shows less of the edited region than this share of its pixels has no measures of the region. */
export const minRegionShare = 0.01;

/** The pixels of one view that the edit may change. */
export interface EditRegion {
  /** [H * W]: 1 where the pixel's centre shows what is edited. */
  readonly inside: Uint8Array;
  /** [H * W]: 1 where no pixel within `dilationRadius` is inside. */
  readonly outside: Uint8Array;
  readonly insideCount: number;
  readonly outsideCount: number;
  /** Whether `inside` covers at least `minRegionShare` of the picture. */
  readonly measurable: boolean;
}

export interface AnswerPictures {
  readonly name: string;
  /** Per view [3, H, W] in [0, 1]. */
  readonly pictures: readonly Float32Array[];
}

/** What is known exactly about one open edit in V chosen views; made once, used for every sample. */
export interface EditTruth {
  /** Equal for equal scene, edit family, cameras and size: runs of one key can exchange their views. */
  readonly key: string;
  readonly width: number;
  readonly height: number;
  /** Unedited pictures, per view [3, H, W]. */
  readonly source: readonly Float32Array[];
  readonly regions: readonly EditRegion[];
  readonly answers: readonly AnswerPictures[];
  /** One per ordered pair of different views. */
  readonly warps: readonly ViewWarp[];
}

export interface EditTruthInput {
  readonly scene: ProceduralScene;
  readonly edit: OpenEdit;
  /** The V chosen cameras. */
  readonly cameras: readonly ProceduralCamera[];
  readonly size: RenderSize;
  /** G-buffer of exactly these cameras; see `selectTraced`. */
  readonly traced: TracedViews;
  readonly shade: ShadeGBuffer;
}

/** The instance id an open edit recolours: 0 sky, 1 floor, 2 + i object i. */
export function editedId(scene: ProceduralScene, edit: Pick<OpenEdit, 'family'>): number {
  switch (edit.family) {
    case 'sky-any':
      return 0;
    case 'floor-any':
      return 1;
    case 'object-colour-any':
      return objectId(scene.target);
  }
}

/** The G-buffer of some of `total` traced views, in the order of `indices`. Throws ConfigError for an unknown index. */
export function selectTraced(traced: TracedViews, total: number, indices: readonly number[]): TracedViews {
  for (const index of indices) {
    if (!Number.isInteger(index) || index < 0 || index >= total) {
      throw new ConfigError(`selectTraced: view ${index} asked for, views 0..${total - 1} are there`);
    }
  }
  const pick = <T extends Uint8Array | Float32Array | Int32Array>(all: T, out: T): T => {
    const length = all.length / total;
    indices.forEach((index, v) => out.set(all.subarray(index * length, (index + 1) * length), v * length));
    return out;
  };
  const length = (all: { length: number }): number => (all.length / total) * indices.length;
  return {
    samples: pick(traced.samples, new Uint8Array(length(traced.samples))),
    depth: pick(traced.depth, new Float32Array(length(traced.depth))),
    ids: pick(traced.ids, new Int32Array(length(traced.ids))),
  };
}

/** Square dilation by `radius`, rows then columns. */
function dilate(mask: Uint8Array, width: number, height: number, radius: number): Uint8Array {
  const pass = (from: Uint8Array, step: number, length: number, lines: number, lineStep: number): Uint8Array => {
    const to = new Uint8Array(from.length);
    for (let line = 0; line < lines; line++) {
      for (let i = 0; i < length; i++) {
        if (!from[line * lineStep + i * step]) continue;
        const last = Math.min(length - 1, i + radius);
        for (let j = Math.max(0, i - radius); j <= last; j++) to[line * lineStep + j * step] = 1;
      }
    }
    return to;
  };
  return pass(pass(mask, 1, width, height, width), width, height, width, 1);
}

/** Regions of an open edit in every view of `ids` [V, H, W]. */
export function editMask(
  scene: ProceduralScene,
  edit: Pick<OpenEdit, 'family'>,
  ids: Int32Array,
  { width, height }: Pick<RenderSize, 'width' | 'height'>,
): EditRegion[] {
  const pixels = width * height;
  if (pixels === 0 || ids.length % pixels !== 0) {
    throw new ShapeError(`editMask: ${ids.length} ids are no whole number of ${width}x${height} views`);
  }
  const id = editedId(scene, edit);
  return Array.from({ length: ids.length / pixels }, (_, v) => {
    const inside = Uint8Array.from(ids.subarray(v * pixels, (v + 1) * pixels), (value) => (value === id ? 1 : 0));
    const outside = dilate(inside, width, height, dilationRadius).map((value) => 1 - value);
    const count = (mask: Uint8Array): number => mask.reduce((sum, value) => sum + value, 0);
    const insideCount = count(inside);
    const measurable = insideCount >= minRegionShare * pixels;
    return { inside, outside, insideCount, outsideCount: count(outside), measurable };
  });
}

function splitViews(pictures: Float32Array, views: number): Float32Array[] {
  const length = pictures.length / views;
  return Array.from({ length: views }, (_, v) => pictures.subarray(v * length, (v + 1) * length));
}

/** Exact pictures of every answer in every view: appearance edits leave the G-buffer as it is, so each is a table look-up. */
export function answerPictures({ edit, cameras, size, traced, shade }: EditTruthInput): AnswerPictures[] {
  return edit.answers.map(({ name, scene }) => ({
    name,
    pictures: splitViews(shadeViews(scene, traced, cameras.length, size, shade), cameras.length),
  }));
}

/** Everything exact about an edit in the given views. Throws ShapeError when the G-buffer is not of these cameras. */
export function editTruth(input: EditTruthInput): EditTruth {
  const { scene, edit, cameras, size, traced, shade } = input;
  const { width, height } = size;
  if (traced.ids.length !== cameras.length * width * height) {
    throw new ShapeError(
      `editTruth: the G-buffer has ${traced.ids.length} pixels, expected ${cameras.length} views of ${width}x${height}; ` +
        'trace the same cameras or use selectTraced',
    );
  }
  const regions = editMask(scene, edit, traced.ids, size);
  return {
    key: [scene.seed, edit.family, width, height, ...cameras.map((camera) => camera.worldToCam.join(' '))].join('/'),
    width,
    height,
    source: splitViews(shadeViews(scene, traced, cameras.length, size, shade), cameras.length),
    regions,
    answers: answerPictures(input),
    warps: planWarps(cameras, traced, size, editedId(scene, edit)),
  };
}
