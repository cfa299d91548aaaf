/** What an edit family of the procedural world is made of, and the helpers that families share. */
import { colourNames, type ColourName } from './palette';
import type { Rng } from './rng';
import { heldOut } from './splits';
import type { ProceduralScene, SceneObject } from './world';

/** Fills the {word} places of a wording. */
export type Words = Readonly<Record<string, string>>;

/** What was chosen where the instruction leaves a choice; empty when it leaves none. */
export type Latent = Readonly<Record<string, string | number>>;

/** One valid answer to an instruction. */
export interface FamilyAnswer {
  readonly latent: Latent;
  readonly scene: ProceduralScene;
  /** Index in `scene.objects` of the object the edit is about; absent when there is none (a removed object, the sky). */
  readonly object?: number;
  /** Words of the wording that names this answer. */
  readonly words?: Words;
}

interface FamilyText {
  /** At least five, then the held-out ones. */
  readonly wordings: readonly string[];
  /** What the instruction fixes beyond the target; undefined where the family does not fit the scene. */
  readonly say?: (rng: Rng, scene: ProceduralScene) => Words | undefined;
}

/** Every answer can be listed; they are equally likely. `named` wordings ask for one of them. */
export interface ListedFamily extends FamilyText {
  readonly named: readonly string[];
  readonly answers: (scene: ProceduralScene, words: Words) => readonly FamilyAnswer[];
}

/** The latent is continuous or too large to list. undefined: does not fit the scene. */
export interface DrawnFamily extends FamilyText {
  readonly draw: (rng: Rng, scene: ProceduralScene, words: Words) => FamilyAnswer | undefined;
}

export type FamilyRules = ListedFamily | DrawnFamily;

export function fill(wording: string, words: Words): string {
  return wording.replace(/\{(\w+)\}/g, (_, key: string) => words[key]);
}

/** Colours an edit may use in a scene of this split. */
export function splitColours(scene: ProceduralScene): readonly ColourName[] {
  return scene.split === 'unseen' ? colourNames : colourNames.filter((name) => name !== heldOut.colour);
}

/** Colours that give an object of this shape a name no other object has; object `self` does not count. */
export function freeColours(scene: ProceduralScene, shape: SceneObject['shape'], self?: number): ColourName[] {
  const taken = scene.objects.filter((o, i) => i !== self && o.shape === shape).map((o) => o.colour);
  return splitColours(scene).filter((name) => !taken.includes(name));
}

export function withObject(scene: ProceduralScene, index: number, change: Partial<SceneObject>): ProceduralScene {
  return { ...scene, objects: scene.objects.map((object, i) => (i === index ? { ...object, ...change } : object)) };
}

/** The scene without one object. The target is then the first object. */
export function withoutObject(scene: ProceduralScene, index: number): ProceduralScene {
  return { ...scene, target: 0, objects: scene.objects.filter((_, i) => i !== index) };
}
