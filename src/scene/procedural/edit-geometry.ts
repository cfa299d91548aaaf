/** Edits of what stands in the scene: objects added, resized, turned, tilted, replaced, removed. */
import { type DrawnFamily, type FamilyRules, freeColours, type ListedFamily, withObject, withoutObject } from './edit-family';
import { cos, rad, scale, sin, type Vec3 } from './math';
import { isClear, isLying, multiply, onFloor, overallRadius, rotationAbout, toObject } from './object-geometry';
import type { Rng } from './rng';
import { heldOut } from './splits';
import { estimateCover, formOf, objectName, shapeNames, yawMatrix, type ProceduralScene, type SceneObject } from './world';

/** Smallest picture share, in two thirds of the views, of an object that is added. */
const addedCover = 0.008;

/** Sets an object down at a free place where most views see it; undefined when forty darts miss. */
function place(rng: Rng, scene: ProceduralScene, object: SceneObject, silhouette: number): SceneObject | undefined {
  for (let tries = 0; tries < 40; tries++) {
    const radius = 1.5 * Math.sqrt(rng.range());
    const azimuth = rng.range(0, 6.283);
    const placed = onFloor({ ...object, position: [radius * cos(azimuth), radius * sin(azimuth), 0] as Vec3 });
    if (!isClear(scene, placed)) continue;
    const all = [...scene.objects.map((o) => ({ object: o, silhouette: 0.9 * overallRadius(o) })), { object: placed, silhouette }];
    const seen = scene.cameras.views.filter((camera) => estimateCover(all, camera)[all.length - 1] >= addedCover).length;
    if (seen * 3 >= scene.cameras.views.length * 2) return placed;
  }
  return undefined;
}

function added(scene: ProceduralScene, object: SceneObject, latent: Readonly<Record<string, string | number>>) {
  const objects = [...scene.objects, object];
  const [x, y] = object.position;
  return { latent: { ...latent, x, y }, scene: { ...scene, objects }, object: objects.length - 1 };
}

const plain = { name: 'solid', axis: 2, period: 1, phase: 0, seed: 0 } as const;

const addBall: DrawnFamily = {
  wordings: [
    'put a small {colour} ball on the floor', 'add a small {colour} ball', 'place a little {colour} ball on the ground',
    'let there be a small {colour} ball on the floor', 'there should be a small {colour} ball in the scene',
    'lay a small {colour} ball down somewhere', 'drop a little {colour} ball into the scene',
  ],
  say: (rng, scene) => {
    const free = freeColours(scene, 'sphere');
    return free.length > 0 ? { colour: rng.pick(free) } : undefined;
  },
  draw: (rng, scene, words) => {
    const radius = rng.range(0.16, 0.28);
    const colour = freeColours(scene, 'sphere').find((name) => name === words.colour);
    if (!colour) return undefined;
    const ball: SceneObject = {
      shape: 'sphere', colour, second: 'light', texture: plain, size: 'small',
      rotation: yawMatrix(0), position: [0, 0, radius], dimensions: [radius, 1, 1],
    };
    const object = place(rng, scene, ball, radius);
    return object && added(scene, object, { radius });
  },
};

const addAny: DrawnFamily = {
  wordings: [
    'add an object', 'put another object into the scene', 'add something to the scene', 'place one more thing on the floor',
    'let there be one object more', 'put something new on the floor', 'bring a further object into the picture',
  ],
  draw: (rng, scene) => {
    const shape = rng.pick(shapeNames);
    const free = freeColours(scene, shape);
    if (free.length === 0) return undefined;
    const colour = rng.pick(free);
    const radius = rng.range(0.26, 0.4);
    const yaw = rng.range(0, 6.283);
    const { dimensions, silhouette } = formOf(shape, radius, false);
    const solid: SceneObject = {
      shape, colour, second: 'light', texture: plain, size: 'small',
      rotation: yawMatrix(yaw), position: [0, 0, 0], dimensions,
    };
    const object = place(rng, scene, solid, silhouette);
    return object && added(scene, object, { shape, colour, radius, yaw });
  },
};

/** The object scaled about the point it stands on; its texture grows with it. */
export function resized(object: SceneObject, factor: number): SceneObject {
  const { texture } = object;
  const phase = texture.name === 'halves' ? texture.phase * factor : texture.phase;
  return {
    ...object,
    size: factor > 1 ? 'large' : 'small',
    position: [object.position[0], object.position[1], object.position[2] * factor],
    dimensions: scale(object.dimensions, factor),
    texture: { ...texture, period: texture.period * factor, phase },
  };
}

const smallestGrowth = 1.4;

/** Largest factor up to 2.2, in steps of 0.05, at which the target still has room; below 1.4 when there is none. */
function largestGrowth(scene: ProceduralScene): number {
  const object = scene.objects[scene.target];
  for (let step = 16; step >= 0; step--) {
    const factor = smallestGrowth + 0.05 * step;
    if (isClear(scene, resized(object, factor), scene.target)) return factor;
  }
  return 1;
}

const resize: DrawnFamily = {
  wordings: [
    'make the {object} much {size}', 'the {object} should be much {size}', 'let the {object} be a lot {size}',
    'turn the {object} into a much {size} one', 'change the size of the {object}: much {size}',
    'i want a much {size} {object}', 'render the {object} far {size}',
  ],
  say: (rng, scene) => ({ size: rng.chance(0.5) && largestGrowth(scene) > smallestGrowth ? 'bigger' : 'smaller' }),
  draw: (rng, scene, words) => {
    const growth = words.size === 'bigger' ? rng.range(smallestGrowth, largestGrowth(scene)) : rng.range(smallestGrowth, 2.2);
    const factor = words.size === 'bigger' ? growth : 1 / growth;
    const object = resized(scene.objects[scene.target], factor);
    return { latent: { factor }, scene: withObject(scene, scene.target, object), object: scene.target };
  },
};

/** Turns in eighths that show: symmetric solids look the same after some or all of them. */
function visibleTurns(object: SceneObject): number[] {
  const { name, axis } = object.texture;
  const turns = [1, 2, 3, 4, 5, 6, 7];
  if (isLying(object)) return turns.filter((turn) => turn !== 4);
  const round = name === 'solid' || ((name === 'stripes' || name === 'halves') && axis === 2);
  if (round && object.shape !== 'box') return [];
  const square = round || name === 'checker' || name === 'dots';
  return square ? turns.filter((turn) => turn % 2 === 1) : turns;
}

/** Answers that keep clear of the other objects, each a pose of the target. */
function posed(scene: ProceduralScene, degrees: number, object: SceneObject) {
  if (!isClear(scene, object, scene.target)) return [];
  const edited = withObject(scene, scene.target, object);
  return [{ latent: { degrees }, words: { degrees: String(degrees) }, scene: edited, object: scene.target }];
}

const turn: ListedFamily = {
  wordings: [
    'turn the {object}', 'rotate the {object}', 'turn the {object} on the spot', 'let the {object} face another way',
    'spin the {object} a bit', 'give the {object} another heading', 'swivel the {object}',
  ],
  named: [
    'turn the {object} by {degrees} degrees', 'rotate the {object} {degrees} degrees about the vertical',
    'spin the {object} by {degrees} degrees', 'swivel the {object} by {degrees} degrees',
  ],
  answers: (scene) => {
    const object = scene.objects[scene.target];
    return visibleTurns(object).flatMap((eighths) => {
      const degrees = 45 * eighths;
      return posed(scene, degrees, { ...object, rotation: multiply(yawMatrix(rad(degrees)), object.rotation) });
    });
  },
};

const tiltDegrees = 40;

const tilt: ListedFamily = {
  wordings: [
    'tilt the {object}', 'lean the {object} over', 'let the {object} stand at an angle', 'make the {object} lean',
    'put the {object} at a slant', 'tip the {object} to one side', 'incline the {object}',
  ],
  named: [
    `tilt the {object} by ${tiltDegrees} degrees about the level axis at {degrees} degrees`,
    'lean the {object} over about the level axis at {degrees} degrees',
    'tip the {object} about the axis at {degrees} degrees', 'incline the {object} about the axis at {degrees} degrees',
  ],
  answers: (scene) => {
    const object = scene.objects[scene.target];
    if (object.shape === 'sphere') return [];
    return Array.from({ length: 8 }, (_, i) => 45 * i).flatMap((degrees) => {
      const axis: Vec3 = [cos(rad(degrees)), sin(rad(degrees)), 0];
      // A pill or ring that lies along the tilt axis would only roll.
      if (Math.abs(toObject(object.rotation, axis)[2]) > 0.85) return [];
      const rotation = multiply(rotationAbout(axis, rad(tiltDegrees)), object.rotation);
      return posed(scene, degrees, onFloor({ ...object, rotation }));
    });
  },
};

const roundWords = { sphere: 'ball', torus: 'ring', capsule: 'pill' } as const;

const replaceRound: ListedFamily = {
  wordings: [
    'replace the {object} by something round', 'swap the {object} for something round', 'make the {object} a round thing',
    'put something round in place of the {object}', 'turn the {object} into something round',
    'exchange the {object} for a round object', 'let something round stand where the {object} is',
  ],
  named: [
    'replace the {object} by a {round}', 'swap the {object} for a {round}', 'put a {round} in place of the {object}',
    'exchange the {object} for a {round}',
  ],
  answers: (scene) => {
    const object = scene.objects[scene.target];
    if (object.shape in roundWords) return [];
    return (Object.keys(roundWords) as (keyof typeof roundWords)[]).flatMap((shape) => {
      const kept = shape === heldOut.shape && object.texture.name === heldOut.texture && scene.split !== 'unseen';
      const renamed = { shape, colour: object.colour };
      const taken = scene.objects.some((o) => objectName(o) === objectName(renamed));
      const { dimensions } = formOf(shape, overallRadius(object), false);
      const round = onFloor({ ...object, ...renamed, dimensions, rotation: yawMatrix(0) });
      if (kept || taken || !isClear(scene, round, scene.target)) return [];
      const edited = withObject(scene, scene.target, round);
      return [{ latent: { shape }, words: { round: roundWords[shape] }, scene: edited, object: scene.target }];
    });
  },
};

const remove: ListedFamily = {
  wordings: [
    'remove the {object}', 'take the {object} away', 'delete the {object}', 'let the {object} disappear',
    'the {object} should be gone', 'clear away the {object}', 'show the scene without the {object}',
  ],
  named: ['remove the {object}', 'take the {object} away', 'clear away the {object}', 'show the scene without the {object}'],
  answers: (scene) => [{ latent: {}, scene: withoutObject(scene, scene.target) }],
};

/** A composition: every part is an edit that is known alone. */
const removeAndPaint: DrawnFamily = {
  wordings: [
    'remove the {object} and paint the {other} {colour}', 'take the {object} away and make the {other} {colour}',
    'delete the {object} and turn the {other} {colour}', 'the {object} should be gone and the {other} {colour}',
    'paint the {other} {colour} and remove the {object}', 'clear away the {object} and colour the {other} {colour}',
    'make the {other} {colour} and let the {object} disappear',
  ],
  say: (rng, scene) => {
    const others = scene.objects.map((_, i) => i).filter((i) => i !== scene.target);
    const other = rng.pick(others);
    const object = scene.objects[other];
    const free = freeColours(scene, object.shape, other).filter((name) => name !== object.colour);
    return free.length > 0 ? { other: objectName(object), colour: rng.pick(free) } : undefined;
  },
  draw: (_, scene, words) => {
    const other = scene.objects.findIndex((object) => objectName(object) === words.other);
    const colour = freeColours(scene, scene.objects[other].shape, other).find((name) => name === words.colour);
    const object = other > scene.target ? other - 1 : other;
    return colour && { latent: {}, scene: withoutObject(withObject(scene, other, { colour }), scene.target), object };
  },
};

export const geometryFamilies = {
  'add-ball': addBall,
  'add-any': addAny,
  resize,
  turn,
  tilt,
  'replace-round': replaceRound,
  remove,
  'remove-and-paint': removeAndPaint,
} satisfies Record<string, FamilyRules>;
