/** Pairs of latents for the tiny editor: nine views of a scene before, and after each of a few edits. */
import type { AutoencoderKL } from '../../models/vae/autoencoder';
import {
  applyGlobalEdit,
  editFamilies,
  globalEditNames,
  openEdit,
  openFamilies,
  Rng,
  sampleEdit,
  sampleScene,
  seedOf,
  shadeViews,
  traceViews,
  wordingsOf,
} from '../../scene/procedural';
import type { EditFamily, OpenFamily, ProceduralScene, SplitName } from '../../scene/procedural';
import { nativeRenderer } from '../../scene/procedural/native';
import type { Device } from '../../tensor/device';
import { scope } from '../../tensor/scope';
import { PhotoCrops } from './photos';

export const VIEWS = 9;

/** One scene: latents of its nine views, before and after. */
export interface EditGroup {
  /** [9, C, h, w] flat, shifted and scaled. */
  before: Float32Array;
  edits: { family: EditFamily; instruction: string; after: Float32Array }[];
  open: OpenEditViews[];
}

/**
 * An instruction that leaves a choice. No view is drawn under all answers (that would be n² pictures), and no answer is the
 * scene's own (a network would learn it by heart): each view shows three answers, any two views share at least one where
 * there are seven.
 */
export interface OpenEditViews {
  family: OpenFamily;
  instruction: string;
  /** Instructions that name an answer. */
  named: string[];
  /** Per view: the pictures by answer. */
  views: ReadonlyMap<number, Float32Array>[];
}

/** One scene in pixels: [9, 3, S, S] in [0, 1], and single views [3, S, S]. */
type PictureGroup = EditGroup;

/** Object edits are hard and common in use: they are drawn more often than one of the global families. */
function drawFamily(rng: Rng, procedural: boolean): EditFamily {
  if (!procedural) return rng.pick(globalEditNames);
  const named = editFamilies.filter((family) => !globalEditNames.includes(family as never) && !family.endsWith('-any'));
  return rng.chance(0.5) ? rng.pick(named) : rng.pick(globalEditNames);
}

export function proceduralGroup(split: SplitName, index: number, size: number, edits: number): PictureGroup {
  const { trace, shade } = nativeRenderer();
  const scene = sampleScene(seedOf(split, index));
  const viewSize = { width: size, height: size, spp: 4 };
  const traced = traceViews(scene, scene.cameras.views, viewSize, trace);
  const before = shadeViews(scene, traced, VIEWS, viewSize, shade);
  const pixels = 3 * size * size;
  const samples = traced.samples.length / VIEWS;
  const rng = new Rng(scene.seed, 31);
  return {
    before,
    edits: Array.from({ length: edits }, (_, e) => {
      const family = drawFamily(rng, true);
      const edit = sampleEdit(scene, family, e);
      const after = new Float32Array(before.length);
      for (let v = 0; v < VIEWS; v++) {
        const view = {
          rgb: before.subarray(v * pixels, (v + 1) * pixels),
          width: size,
          height: size,
          shade: (edited: typeof scene) =>
            shadeViews(edited, { samples: traced.samples.subarray(v * samples, (v + 1) * samples) }, 1, viewSize, shade),
        };
        after.set(edit.apply(view), v * pixels);
      }
      return { family, instruction: edit.instruction, after };
    }),
    open: (Object.keys(openFamilies) as OpenFamily[]).filter((family) => family !== 'sky-any' || rng.chance(0.3)).map((family) => {
      const { instruction, answers } = openEdit(scene, family, rng.int(1000));
      const order = rng.some(answers.length);
      const draw = (edited: ProceduralScene, v: number): Float32Array =>
        shadeViews(edited, { samples: traced.samples.subarray(v * samples, (v + 1) * samples) }, 1, viewSize, shade);
      const views = Array.from({ length: VIEWS }, (_, v) => {
        const shown = sharedAnswers.map((offset) => order[(v + offset) % answers.length]);
        return new Map(shown.map((answer) => [answer, draw(answers[answer].scene, v)]));
      });
      return { family, instruction, named: answers.map((answer) => answer.instruction), views };
    }),
  };
}

/** A perfect difference set modulo 7: the lines of the Fano plane. */
const sharedAnswers = [0, 1, 3] as const;

/** Nine overlapping crops along a path over one photograph stand for nine views. */
export async function photoGroup(photos: PhotoCrops, seed: number, index: number, size: number, edits: number): Promise<PictureGroup> {
  const rng = new Rng(seed, 32, index);
  const before = await photos.path(rng, size, VIEWS);
  const pixels = 3 * size * size;
  return {
    before,
    edits: Array.from({ length: edits }, () => {
      const family = rng.pick(globalEditNames);
      const after = new Float32Array(before.length);
      for (let v = 0; v < VIEWS; v++) {
        after.set(applyGlobalEdit(family, before.subarray(v * pixels, (v + 1) * pixels), size, size), v * pixels);
      }
      return { family, instruction: rng.pick(wordingsOf(family, false)), after };
    }),
    open: [],
  };
}

/** Encodes pictures [n, 3, S, S] in [0, 1] to the transformer's latents. */
export async function encodePictures(vae: AutoencoderKL, device: Device, pictures: Float32Array, size: number): Promise<Float32Array> {
  const count = pictures.length / (3 * size * size);
  const latents = scope(() => vae.encodeLatents(device.tensor(pictures.map((value) => 2 * value - 1), [count, 3, size, size])));
  const data = await latents.toFloat32();
  latents.dispose();
  return data;
}

export async function encodeGroup(vae: AutoencoderKL, device: Device, group: PictureGroup, size: number): Promise<EditGroup> {
  const before = await encodePictures(vae, device, group.before, size);
  const edits = [];
  for (const { family, instruction, after } of group.edits) {
    edits.push({ family, instruction, after: await encodePictures(vae, device, after, size) });
  }
  const open: OpenEditViews[] = [];
  for (const edit of group.open) {
    const flat = edit.views.flatMap((view) => [...view.values()]);
    const pixels = 3 * size * size;
    const pictures = new Float32Array(flat.length * pixels);
    flat.forEach((picture, i) => pictures.set(picture, i * pixels));
    const latents = await encodePictures(vae, device, pictures, size);
    const length = latents.length / flat.length;
    let at = 0;
    const next = (): Float32Array => latents.slice(at, (at += length));
    open.push({ ...edit, views: edit.views.map((view) => new Map([...view.keys()].map((answer) => [answer, next()]))) });
  }
  return { before, edits, open };
}
