/**
 * Families of edits beyond the pretraining ones: geometry, textures, light. Their pictures need the ray caster again, and
 * their draws come from streams of their own, so that seeds of the other families keep their meaning.
 */
import { ConfigError } from '../../binding/errors';
import { fill, type FamilyAnswer, type FamilyRules, type Words } from './edit-family';
import { geometryFamilies } from './edit-geometry';
import { lightFamilies } from './edit-light';
import { surfaceFamilies } from './edit-surface';
import { Rng, stream } from './rng';
import { heldOut } from './splits';
import { objectName, type ProceduralScene } from './world';
import type { EditAnswer, EditableView, ProceduralEdit } from './edits';

const rules = { ...surfaceFamilies, ...geometryFamilies, ...lightFamilies } satisfies Record<string, FamilyRules>;

/** A family's place is part of what a seed means: append, never reorder. */
export const worldEditFamilies = [
  'two-tone', 'stripes', 'dots', 'marble', 'emblem',
  'add-ball', 'add-any', 'resize', 'turn', 'tilt', 'replace-round', 'remove', 'remove-and-paint',
  'sunset', 'moonlight', 'mountains', 'paint-at-sunset',
] as const satisfies readonly (keyof typeof rules)[];
export type WorldEditFamily = (typeof worldEditFamilies)[number];

/** Families whose every answer can be listed. */
export const listedWorldFamilies: readonly WorldEditFamily[] = worldEditFamilies.filter((family) => 'answers' in rules[family]);

export const isWorldFamily = (family: string): family is WorldEditFamily =>
  (worldEditFamilies as readonly string[]).includes(family);

/** All wordings of a family, the held-out ones last. */
export const worldWordings = (family: WorldEditFamily): readonly string[] => rules[family].wordings;

const wordingsFor = (all: readonly string[], scene: ProceduralScene): readonly string[] =>
  scene.split === 'unseen' ? all.slice(-heldOut.wordings) : all.slice(0, -heldOut.wordings);

/** Scene number of the counter-based generator: one per (index, family, draw). */
const counter = (family: WorldEditFamily, index: number, draw = 0): number =>
  (index * 64 + worldEditFamilies.indexOf(family)) * 256 + draw;

interface Question {
  readonly instruction: string;
  readonly words: Words;
}

function ask(scene: ProceduralScene, family: WorldEditFamily, index: number): Question | undefined {
  const rng = new Rng(scene.seed, stream.worldEdit, counter(family, index));
  const { wordings, say }: FamilyRules = rules[family];
  const wording = rng.pick(wordingsFor(wordings, scene));
  const said = say ? say(rng, scene) : {};
  if (!said) return undefined;
  const words = { object: objectName(scene.objects[scene.target]), ...said };
  return { instruction: fill(wording, words), words };
}

function answer(scene: ProceduralScene, family: WorldEditFamily, words: Words, rng: Rng): FamilyAnswer | undefined {
  const rule: FamilyRules = rules[family];
  if ('draw' in rule) return rule.draw(rng, scene, words);
  const answers = rule.answers(scene, words);
  return answers.length > 0 ? rng.pick(answers) : undefined;
}

function edit(family: WorldEditFamily, instruction: string, { latent, scene, object }: FamilyAnswer): ProceduralEdit {
  const apply = (view: EditableView): Float32Array => {
    if (!view.render) {
      throw new ConfigError(`${family} edit: the scene must be ray cast again; give the view a \`render\` beside \`shade\``);
    }
    return view.render(scene);
  };
  return { family, instruction, latent, scene, apply, ...(object === undefined ? {} : { object }) };
}

function tryEdit(scene: ProceduralScene, family: WorldEditFamily, index: number, draw: number): ProceduralEdit | undefined {
  const question = ask(scene, family, index);
  const rng = new Rng(scene.seed, stream.worldLatent, counter(family, index, draw));
  const found = question && answer(scene, family, question.words, rng);
  return found && edit(family, question.instruction, found);
}

/** See `sampleEdit`. Throws ConfigError when the family does not fit the scene. */
export function sampleWorldEdit(scene: ProceduralScene, family: WorldEditFamily, index = 0): ProceduralEdit {
  const sampled = tryEdit(scene, family, index, 0);
  if (sampled) return sampled;
  const object = objectName(scene.objects[scene.target]);
  throw new ConfigError(
    `${family} edit: does not fit scene ${scene.seed} with target "${object}" at index ${index}; ask editFits first or take another scene`,
  );
}

/** Whether a scene has an answer: room for what is added, a target of the right shape, a horizon in view. */
export function worldEditFits(scene: ProceduralScene, family: WorldEditFamily, index = 0): boolean {
  return tryEdit(scene, family, index, 0) !== undefined;
}

/** Every answer of a listed family with an instruction that names it, in a fixed order; the open instruction with them. */
export function openWorldEdit(scene: ProceduralScene, family: WorldEditFamily, index = 0): { instruction: string; answers: EditAnswer[] } {
  const rule: FamilyRules = rules[family];
  if (!('answers' in rule)) {
    throw new ConfigError(`${family} edit: its answers cannot be listed; listed families are ${listedWorldFamilies.join(', ')}`);
  }
  const question = ask(scene, family, index);
  if (!question) return { instruction: '', answers: [] };
  const rng = new Rng(scene.seed, stream.worldLatent, counter(family, index, 255));
  const answers = rule.answers(scene, question.words).map((found) => ({
    name: Object.values(found.latent).join(' '),
    instruction: fill(rng.pick(wordingsFor(rule.named, scene)), { ...question.words, ...found.words }),
    scene: found.scene,
  }));
  return { instruction: question.instruction, answers };
}

/** Up to `count` edits with the same instruction and different answers; the first is that of `sampleWorldEdit`. */
export function worldAlternatives(scene: ProceduralScene, family: WorldEditFamily, index: number, count: number): ProceduralEdit[] {
  const first = sampleWorldEdit(scene, family, index);
  const rule: FamilyRules = rules[family];
  const found = [first];
  const isNew = (other: ProceduralEdit): boolean =>
    found.every(({ latent }) => JSON.stringify(latent) !== JSON.stringify(other.latent));
  if ('answers' in rule) {
    const { words } = ask(scene, family, index)!;
    const all = rule.answers(scene, words).map((one) => edit(family, first.instruction, one));
    return [first, ...all.filter(isNew)].slice(0, count);
  }
  for (let draw = 1; draw < 255 && found.length < count; draw++) {
    const other = tryEdit(scene, family, index, draw);
    if (other && isNew(other)) found.push(other);
  }
  return found.slice(0, count);
}
