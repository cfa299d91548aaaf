/** Edits of the target's surface: two colours, stripes, dots, marble, a letter. Textures live in object space. */
import { type DrawnFamily, type FamilyRules, type ListedFamily, splitColours, withObject } from './edit-family';
import { cameraCentre } from './cameras';
import { add, cross, dot, scale, sub, type Vec3 } from './math';
import { overallRadius, toWorld, upAxis } from './object-geometry';
import { colours, type ColourName } from './palette';
import type { Rng } from './rng';
import { heldOut } from './splits';
import type { ProceduralScene, SceneObject, Solid, SolidTexture } from './world';

const plain: SolidTexture = { name: 'solid', axis: 2, period: 1, phase: 0, seed: 0 };

function repainted(scene: ProceduralScene, texture: SolidTexture, paint: readonly [Vec3, Vec3]): ProceduralScene {
  return withObject(scene, scene.target, { texture, paint });
}

/** Two different colours in random order. */
function colourPair(rng: Rng, scene: ProceduralScene): [ColourName, ColourName] {
  const names = splitColours(scene);
  const first = rng.pick(names);
  return [first, rng.pick(names.filter((name) => name !== first))];
}

/** Sizes of a pattern over the object's overall radius. */
const patternPeriods = { fine: 0.4, medium: 0.6, coarse: 0.85 } as const;
type PatternPeriod = keyof typeof patternPeriods;

const twoTone: ListedFamily = {
  wordings: [
    'give the {object} two colours, top and bottom', 'paint the {object} in two colours, one above the other',
    'make the {object} two-tone', 'split the {object} into an upper and a lower colour',
    'colour the top and the bottom of the {object} differently', 'let the {object} have two halves of two colours',
    'paint both halves of the {object} anew',
  ],
  named: [
    'make the top of the {object} {top} and the bottom {bottom}', 'paint the {object} {top} above and {bottom} below',
    'the upper half of the {object} should be {top}, the lower half {bottom}',
    'give the {object} a {top} top and a {bottom} bottom',
  ],
  answers: (scene) => {
    const names = splitColours(scene);
    const object = scene.objects[scene.target];
    // Colour 1 of `halves` is the side above; an object turned upside down does not occur before edits.
    const texture: SolidTexture = { ...plain, name: 'halves', axis: upAxis(object) };
    return names.flatMap((top) =>
      names.filter((bottom) => bottom !== top).map((bottom) => ({
        latent: { top, bottom },
        words: { top, bottom },
        scene: repainted(scene, texture, [colours[bottom], colours[top]]),
        object: scene.target,
      })),
    );
  },
};

function patterned(name: 'stripes' | 'dots', wordings: readonly string[]): DrawnFamily {
  return {
    wordings,
    draw: (rng, scene) => {
      const object = scene.objects[scene.target];
      const kept = name === heldOut.texture && object.shape === heldOut.shape && scene.split !== 'unseen';
      const axis = rng.int(3);
      const period = rng.pick(Object.keys(patternPeriods) as PatternPeriod[]);
      const phase = rng.range();
      const [ground, mark] = colourPair(rng, scene);
      if (kept) return undefined;
      const texture = { name, axis, period: patternPeriods[period] * overallRadius(object), phase, seed: 0 };
      return {
        latent: { direction: 'xyz'[axis], period, phase, ground, mark },
        scene: repainted(scene, texture, [colours[ground], colours[mark]]),
        object: scene.target,
      };
    },
  };
}

const marbleColours: readonly [Vec3, Vec3] = [[0.95, 0.94, 0.91], [0.36, 0.38, 0.42]];

const marble: DrawnFamily = {
  wordings: [
    'give the {object} a marble texture', 'make the {object} out of marble', 'turn the {object} into marble',
    'let the {object} look like marble', 'replace the surface of the {object} by marble', 'a marble {object}',
    'cut the {object} from marble',
  ],
  draw: (rng, scene) => {
    const seed = rng.int(1 << 24);
    const period = 0.75 * overallRadius(scene.objects[scene.target]);
    return {
      latent: { seed },
      scene: repainted(scene, { ...plain, name: 'noise', period, seed }, marbleColours),
      object: scene.target,
    };
  },
};

/** Strokes of a letter as [centre x, centre y, half width, half height] in a square of half side 1; none overlap. */
const letters: Readonly<Record<string, readonly (readonly [number, number, number, number])[]>> = {
  T: [[0, 0.78, 0.8, 0.22], [0, -0.22, 0.22, 0.78]],
  L: [[-0.48, 0, 0.22, 1], [0.26, -0.78, 0.52, 0.22]],
  H: [[-0.58, 0, 0.22, 1], [0.58, 0, 0.22, 1], [0, 0, 0.36, 0.22]],
  E: [[-0.48, 0, 0.22, 1], [0.26, 0.78, 0.52, 0.22], [0.2, 0, 0.46, 0.2], [0.26, -0.78, 0.52, 0.22]],
};
const ink: Vec3 = [0.07, 0.07, 0.09];

/** A letter as bars that stand out of a side of a box by 2 % of its half extent; `out` is an object axis. */
function letterSolids(box: SceneObject, letter: string, out: Vec3): Solid[] {
  const normal = toWorld(box.rotation, out);
  const up: Vec3 = toWorld(box.rotation, [0, 0, 1]);
  const right = cross(up, normal);
  const half = box.dimensions[0];
  const [side, depth] = [0.62 * half, 0.01 * half];
  const rotation = [0, 1, 2].flatMap((k) => [right[k], up[k], normal[k]]);
  const centre = add(box.position, scale(normal, half + depth));
  return letters[letter].map(([x, y, width, height]) => ({
    shape: 'box',
    position: add(centre, add(scale(right, x * side), scale(up, y * side))),
    rotation,
    dimensions: [width * side, height * side, depth],
    texture: plain,
    paint: [ink, ink],
  }));
}

/** The two upright sides of a box that face the middle camera most, the left one in its picture first. */
function frontSides(scene: ProceduralScene, box: SceneObject): Vec3[] {
  const { views } = scene.cameras;
  const camera = views[Math.floor(views.length / 2)];
  const to = sub(cameraCentre(camera), box.position);
  const [m0, m1, m2] = camera.worldToCam;
  const sides: Vec3[] = [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]];
  const facing = (side: Vec3): number => dot(toWorld(box.rotation, side), to);
  const across = (side: Vec3): number => dot(toWorld(box.rotation, side), [m0, m1, m2]);
  return sides.sort((a, b) => facing(b) - facing(a)).slice(0, 2).sort((a, b) => across(a) - across(b));
}

const emblem: ListedFamily = {
  wordings: [
    'write a letter on the front of the {object}', 'put a letter on the {object}', 'paint a letter on the {object}',
    'decorate the {object} with a letter', 'give the {object} an initial', 'mark the {object} with a letter',
    'let a letter appear on the {object}',
  ],
  named: [
    'write {letter} on the {side} side of the {object}', 'put the letter {letter} on the {side} face of the {object}',
    'the {side} side of the {object} should show the letter {letter}', 'mark the {side} face of the {object} with {letter}',
  ],
  answers: (scene) => {
    const box = scene.objects[scene.target];
    if (box.shape !== 'box') return [];
    return frontSides(scene, box).flatMap((out, i) =>
      Object.keys(letters).map((letter) => {
        const side = i === 0 ? 'left' : 'right';
        const extras = [...(scene.extras ?? []), ...letterSolids(box, letter, out)];
        return { latent: { letter, side }, words: { letter, side }, scene: { ...scene, extras }, object: scene.target };
      }),
    );
  },
};

export const surfaceFamilies = {
  'two-tone': twoTone,
  stripes: patterned('stripes', [
    'cover the {object} with stripes', 'give the {object} stripes', 'make the {object} striped',
    'paint stripes on the {object}', 'a striped {object}', 'let the {object} wear stripes', 'put bands of colour on the {object}',
  ]),
  dots: patterned('dots', [
    'cover the {object} with dots', 'give the {object} dots', 'make the {object} dotted', 'paint dots on the {object}',
    'a dotted {object}', 'put spots on the {object}', 'let the {object} have polka dots',
  ]),
  marble,
  emblem,
} satisfies Record<string, FamilyRules>;
