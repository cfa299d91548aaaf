/**
 * Edits with exact answers. An edit is an instruction, a latent (what the instruction leaves open, drawn once for all
 * views) and a function of a view: a pixel function for global edits, the re-shaded scene for recolouring, the scene ray cast
 * again for geometry, textures and light (edit-sampling.ts).
 */
import { ConfigError } from '../../binding/errors';
import { fill, type Latent } from './edit-family';
import { applyGlobalEdit, globalEditNames, type GlobalEditName } from './edit-filters';
import { isWorldFamily, openWorldEdit, sampleWorldEdit, worldAlternatives, worldEditFamilies, worldEditFits, worldWordings } from './edit-sampling';
import type { WorldEditFamily } from './edit-sampling';
import { colourNames, floorNames, skyNames, skyWords, type ColourName, type FloorName, type SkyName } from './palette';
import { Rng, stream } from './rng';
import { heldOut } from './splits';
import { objectName, type ProceduralScene } from './world';

/** `object-colour` names the colour; `object-colour-any` leaves it open; the same for floor and sky. */
export const sceneEditNames = [
  'object-colour', 'object-colour-any', 'floor', 'floor-any', 'sky', 'sky-any',
] as const;
export type SceneEditName = (typeof sceneEditNames)[number];
export type EditFamily = GlobalEditName | SceneEditName;
/** The families of pretraining: their pictures come from one G-buffer. */
export const editFamilies: readonly EditFamily[] = [...globalEditNames, ...sceneEditNames];
export type AnyEditFamily = EditFamily | WorldEditFamily;
export const allEditFamilies: readonly AnyEditFamily[] = [...editFamilies, ...worldEditFamilies];

/**
 * One view to be edited. `shade` draws the same view of a recoloured scene (geometry and textures are the same), `render`
 * that of any scene; the families of edit-sampling.ts need `render`.
 */
export interface EditableView {
  /** [3, H, W] in [0, 1]. */
  readonly rgb: Float32Array;
  readonly width: number;
  readonly height: number;
  readonly shade: (scene: ProceduralScene) => Float32Array;
  readonly render?: (scene: ProceduralScene) => Float32Array;
}

export interface ProceduralEdit {
  readonly family: AnyEditFamily;
  readonly instruction: string;
  /** What was chosen where the instruction leaves a choice; empty when it leaves none. */
  readonly latent: Latent;
  /** The scene after the edit; the same scene for global edits. */
  readonly scene: ProceduralScene;
  /** Index in `scene.objects` of the object that was changed or added; absent where there is none. */
  readonly object?: number;
  /** The exact edited picture [3, H, W]. */
  readonly apply: (view: EditableView) => Float32Array;
}

/** Wordings per family; {object}, {colour}, {floor}, {sky} are filled in. The last two are for the unseen split. */
const wordings: Readonly<Record<EditFamily, readonly string[]>> = {
  sepia: [
    'turn the photo into sepia', 'make it sepia', 'give it a sepia tone', 'apply a sepia filter',
    'make it look like an old sepia photograph', 'tint the picture sepia', 'convert to sepia',
  ],
  night: [
    'make it night', 'turn day into night', 'make it look like night time', 'change the scene to night',
    'set the scene at night', 'show it after dark', 'as if it was taken at night',
  ],
  warm: [
    'make the colours warmer', 'give it warm light', 'add a warm tone', 'make it look warm', 'apply a warm filter',
    'warm up the picture', 'bathe it in warm light',
  ],
  cold: [
    'make the colours colder', 'give it cold light', 'add a cold blue tone', 'make it look cold', 'apply a cold filter',
    'cool down the picture', 'bathe it in cold light',
  ],
  grayscale: [
    'make it black and white', 'convert to grayscale', 'turn the photo into black and white', 'remove all colour',
    'make it a gray picture', 'desaturate the picture', 'as a black and white photograph',
  ],
  invert: [
    'invert the colours', 'turn it into a negative', 'make it look like a film negative', 'apply a colour inversion',
    'invert the picture', 'show the negative', 'reverse all colours',
  ],
  sketch: [
    'turn it into a pencil sketch', 'make it a pencil drawing', 'draw it with a pencil', 'as a pencil sketch',
    'make it look like a drawing', 'sketch the scene', 'turn the photo into a pencil drawing',
  ],
  'high-contrast': [
    'increase the contrast', 'make it high contrast', 'give it strong contrast', 'add more contrast',
    'make the contrast stronger', 'boost the contrast', 'a high contrast picture',
  ],
  brighter: [
    'make it brighter', 'increase the brightness', 'brighten the picture', 'make the photo brighter', 'add more light',
    'lighten the scene', 'turn up the brightness',
  ],
  'object-colour': [
    'make the {object} {colour}', 'paint the {object} {colour}', 'turn the {object} {colour}',
    'change the {object} to {colour}', 'colour the {object} {colour}', 'the {object} should be {colour}',
    'give the {object} a {colour} coat',
  ],
  'object-colour-any': [
    'paint the {object} a random colour', 'change the colour of the {object}', 'give the {object} another colour',
    'recolour the {object}', 'make the {object} a different colour', 'repaint the {object}',
    'pick a new colour for the {object}',
  ],
  floor: [
    'change the floor to {floor}', 'make the floor {floor}', 'turn the floor into {floor}', 'a {floor} floor',
    'replace the floor colours by {floor}', 'put {floor} on the floor', 'let the ground be {floor}',
  ],
  'floor-any': [
    'change the floor', 'give the floor another colour', 'recolour the floor', 'make the floor different',
    'paint the floor a random colour', 'repaint the ground', 'pick a new floor colour',
  ],
  sky: [
    'make the sky {sky}', 'change the sky to {sky}', 'turn the sky {sky}', 'a {sky} sky', 'give it a {sky} sky',
    'the sky should be {sky}', 'put it under a {sky} sky',
  ],
  'sky-any': [
    'change the sky', 'give it another sky', 'recolour the sky', 'make the sky different', 'paint the sky anew',
    'swap the sky', 'pick a new sky',
  ],
};

/** The wordings a split may use: the last ones belong to `unseen`, which uses no others. */
export function wordingsOf(family: AnyEditFamily, unseen: boolean): readonly string[] {
  const all = isWorldFamily(family) ? worldWordings(family) : wordings[family];
  return unseen ? all.slice(-heldOut.wordings) : all.slice(0, -heldOut.wordings);
}

export function withObjectColour(scene: ProceduralScene, index: number, colour: ColourName): ProceduralScene {
  return { ...scene, objects: scene.objects.map((object, i) => (i === index ? { ...object, colour } : object)) };
}

export function withFloor(scene: ProceduralScene, name: FloorName): ProceduralScene {
  return { ...scene, floor: { ...scene.floor, name } };
}

export function withSky(scene: ProceduralScene, name: SkyName): ProceduralScene {
  return { ...scene, sky: { ...scene.sky, name } };
}

/** A choice other than the present one, the first of `names` with probability `mode` when it is allowed. */
function another<T extends string>(rng: Rng, names: readonly T[], present: T, mode: number): T {
  const free = names.filter((name) => name !== present);
  const rest = (1 - mode) / Math.max(free.length - 1, 1);
  const skewed = mode > 0 && free[0] === names[0];
  return free[rng.weighted(free.map((_, i) => (skewed ? (i === 0 ? mode : rest) : 1)))];
}

/** Share of the first colour when an instruction leaves the colour open: priors are skewed on purpose. */
const modeShare = 0.4;

/** Colours the target may get: not one that would rename it to another object of the scene; its own is among them. */
function allowedColours(scene: ProceduralScene): ColourName[] {
  const target = scene.objects[scene.target];
  const taken = scene.objects.filter((o) => o.shape === target.shape).map((o) => o.colour);
  const allowed = colourNames.filter((name) => !taken.includes(name) || name === target.colour);
  return scene.split === 'unseen' ? allowed : allowed.filter((name) => name !== heldOut.colour);
}

function targetColour(rng: Rng, scene: ProceduralScene, mode: number): ColourName {
  return another(rng, allowedColours(scene), scene.objects[scene.target].colour, mode);
}

/** An edit whose answer is a pixel function, for procedural views and photographs. */
export function globalEdit(scene: ProceduralScene, family: GlobalEditName, instruction: string): ProceduralEdit {
  const apply = (view: EditableView) => applyGlobalEdit(family, view.rgb, view.width, view.height);
  return { family, instruction, latent: {}, scene, apply };
}

/**
 * The `index`-th edit of a family for a scene: wording and latent depend on (scene.seed, family, index) only.
 * Throws ConfigError for an unknown family, and for one that does not fit the scene (see `editFits`).
 */
export function sampleEdit(scene: ProceduralScene, family: AnyEditFamily, index = 0): ProceduralEdit {
  if (isWorldFamily(family)) return sampleWorldEdit(scene, family, index);
  const code = editFamilies.indexOf(family);
  if (code < 0) throw new ConfigError(`unknown edit family "${family as string}"; expected one of ${allEditFamilies.join(', ')}`);
  const rng = new Rng(scene.seed, stream.edit, index * 64 + code);
  const wording = rng.pick(wordingsOf(family, scene.split === 'unseen'));
  const object = objectName(scene.objects[scene.target]);
  const rendered = (edited: ProceduralScene, words: Record<string, string>, latent: Record<string, string>) => ({
    family,
    instruction: fill(wording, { object, ...words }),
    latent,
    scene: edited,
    apply: (view: EditableView) => view.shade(edited),
    ...(family.startsWith('object') ? { object: scene.target } : {}),
  });
  switch (family) {
    case 'object-colour':
    case 'object-colour-any': {
      const open = family === 'object-colour-any';
      const colour = targetColour(rng, scene, open ? modeShare : 0);
      return rendered(withObjectColour(scene, scene.target, colour), { colour }, open ? { colour } : {});
    }
    case 'floor':
    case 'floor-any': {
      const floor = another(rng, floorNames, scene.floor.name, family === 'floor-any' ? modeShare : 0);
      return rendered(withFloor(scene, floor), { floor }, family === 'floor-any' ? { floor } : {});
    }
    case 'sky':
    case 'sky-any': {
      const sky = another(rng, skyNames, scene.sky.name, family === 'sky-any' ? modeShare : 0);
      return rendered(withSky(scene, sky), { sky: skyWords[sky] }, family === 'sky-any' ? { sky } : {});
    }
    default:
      return globalEdit(scene, family, wording);
  }
}

/** Whether `sampleEdit` has an answer for this scene: some families need room, a horizon in view, or a certain shape. */
export function editFits(scene: ProceduralScene, family: AnyEditFamily, index = 0): boolean {
  return !isWorldFamily(family) || worldEditFits(scene, family, index);
}

/** Families of pretraining whose instruction leaves a choice, each with the family that names it. */
export const openFamilies = { 'floor-any': 'floor', 'object-colour-any': 'object-colour', 'sky-any': 'sky' } as const;
export type OpenFamily = keyof typeof openFamilies;

/** One valid answer to an open instruction. */
export interface EditAnswer {
  readonly name: string;
  /** The instruction that asks for this answer and no other. */
  readonly instruction: string;
  readonly scene: ProceduralScene;
}

/** An instruction that leaves a choice, and every valid answer to it, in the order of the palette. */
export interface OpenEdit<F extends AnyEditFamily = OpenFamily> {
  readonly family: F;
  readonly instruction: string;
  readonly answers: readonly EditAnswer[];
}

/** The open edit of a family for a scene; `index` chooses the wordings. */
export function openEdit(scene: ProceduralScene, family: OpenFamily, index = 0): OpenEdit {
  const rng = new Rng(scene.seed, stream.edit, index * 64 + 32 + Object.keys(openFamilies).indexOf(family));
  const unseen = scene.split === 'unseen';
  const object = objectName(scene.objects[scene.target]);
  const others = <T extends string>(names: readonly T[], present: T): T[] => names.filter((name) => name !== present);
  const answer = (name: string, words: Readonly<Record<string, string>>, edited: ProceduralScene): EditAnswer => ({
    name,
    instruction: fill(rng.pick(wordingsOf(openFamilies[family], unseen)), { object, ...words }),
    scene: edited,
  });
  const instruction = fill(rng.pick(wordingsOf(family, unseen)), { object });
  switch (family) {
    case 'floor-any': {
      const answers = others(floorNames, scene.floor.name).map((floor) => answer(floor, { floor }, withFloor(scene, floor)));
      return { family, instruction, answers };
    }
    case 'sky-any': {
      const answers = others(skyNames, scene.sky.name).map((sky) => answer(sky, { sky: skyWords[sky] }, withSky(scene, sky)));
      return { family, instruction, answers };
    }
    case 'object-colour-any': {
      const colours = others(allowedColours(scene), scene.objects[scene.target].colour);
      const answers = colours.map((colour) => answer(colour, { colour }, withObjectColour(scene, scene.target, colour)));
      return { family, instruction, answers };
    }
  }
}

/**
 * The open edit of a family of `listedWorldFamilies`, with every valid answer; empty answers where the family does not
 * fit the scene. Throws ConfigError for a family whose answers cannot be listed.
 */
export function openListedEdit(scene: ProceduralScene, family: WorldEditFamily, index = 0): OpenEdit<WorldEditFamily> {
  return { family, ...openWorldEdit(scene, family, index) };
}

/**
 * The `index`-th edit of a family and further edits with the same instruction and other answers, `count` in all where there
 * are as many: the pictures among which an edited view may choose.
 */
export function editAlternatives(scene: ProceduralScene, family: AnyEditFamily, index = 0, count = 2): ProceduralEdit[] {
  if (isWorldFamily(family)) return worldAlternatives(scene, family, index, count);
  const first = sampleEdit(scene, family, index);
  if (!(family in openFamilies)) return [first];
  const [key, chosen] = Object.entries(first.latent)[0];
  const others = openEdit(scene, family as OpenFamily, index).answers.filter(({ name }) => name !== chosen);
  const edits = others.map(({ name, scene: edited }) => ({
    ...first,
    latent: { [key]: name },
    scene: edited,
    apply: (view: EditableView) => view.shade(edited),
  }));
  return [first, ...edits].slice(0, count);
}
