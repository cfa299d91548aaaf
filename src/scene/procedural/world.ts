/** Procedural scenes: a seed is a scene. World axes: z up, metres, the floor is z = 0. */
import { cameraCentre, sampleCameras, type CameraSet, type ProceduralCamera } from './cameras';
import { add, cos, dot, lerp3, rad, scale, sin, sub, unit, type Vec3 } from './math';
import { colourNames, colours, floorNames, skyNames } from './palette';
import type { ColourName, FloorName, SkyColours, SkyName } from './palette';
import { Rng, stream } from './rng';
import { heldOut, splitOf, type SplitName } from './splits';

/** In the order of the ray caster's shape codes (the ground is the code after the last). */
export const shapeNames = ['sphere', 'box', 'cylinder', 'cone', 'torus', 'capsule'] as const;
export type ShapeName = (typeof shapeNames)[number];

/** In the order of the ray caster's texture codes. */
export const textureNames = [
  'solid', 'checker', 'stripes', 'dots', 'noise', 'brick', 'wood', 'tiles', 'halves',
] as const;
export type TextureName = (typeof textureNames)[number];

export interface SolidTexture {
  readonly name: TextureName;
  /** 0 x, 1 y, 2 z, 3 the diagonal, in object space. */
  readonly axis: number;
  /** Metres. */
  readonly period: number;
  /** Periods along the axis (for `halves`: metres). */
  readonly phase: number;
  /** Integer below 2^24. */
  readonly seed: number;
}

export interface SceneObject {
  readonly shape: ShapeName;
  readonly colour: ColourName;
  /** The texture's other colour: the same hue much lighter or much darker. */
  readonly second: 'light' | 'dark';
  /** The texture's two colours where an edit chose them; `colour` then only names the object. */
  readonly paint?: readonly [Vec3, Vec3];
  readonly texture: SolidTexture;
  readonly size: 'small' | 'large';
  /** Centre of the object. */
  readonly position: Vec3;
  /** World-from-object, row-major 3x3. */
  readonly rotation: readonly number[];
  /** As the ray caster takes it: radius, half extents, ... in metres. */
  readonly dimensions: Vec3;
}

/** A solid that is no object of its own: no instruction names it. */
export interface Solid extends Pick<SceneObject, 'shape' | 'texture' | 'rotation' | 'position' | 'dimensions'> {
  readonly paint: readonly [Vec3, Vec3];
}

export interface ProceduralScene {
  readonly seed: number;
  readonly split: SplitName;
  readonly objects: readonly SceneObject[];
  /** Index of the object that instructions are about; its instance id is target + 2 (0 sky, 1 floor). */
  readonly target: number;
  readonly floor: { readonly name: FloorName; readonly texture: SolidTexture; readonly yawRad: number };
  readonly sky: {
    readonly name: SkyName;
    /** Colours that stand in for those of `name`. */
    readonly tones?: SkyColours;
    readonly clouds: readonly { readonly direction: Vec3; readonly radius: number }[];
  };
  readonly light: { readonly direction: Vec3; readonly colour: Vec3; readonly ambient: Vec3 };
  readonly cameras: CameraSet;
  /** What edits put up beside the objects (mountains, a letter's bars); instance ids after those of the objects. */
  readonly extras?: readonly Solid[];
}

const shapeWords: Readonly<Record<ShapeName, string>> = {
  sphere: 'ball',
  box: 'cube',
  cylinder: 'cylinder',
  cone: 'cone',
  torus: 'ring',
  capsule: 'pill',
};

/** What instructions call an object, unique in its scene: "red cube". */
export function objectName(object: Pick<SceneObject, 'shape' | 'colour'>): string {
  return `${object.colour} ${shapeWords[object.shape]}`;
}

/** Instance id of an object in the ray caster's id images (0 is sky, 1 the floor). */
export const objectId = (index: number): number => index + 2;

/** The two colours of an object's texture. */
export function objectColours(object: Pick<SceneObject, 'colour' | 'second' | 'paint'>): readonly [Vec3, Vec3] {
  if (object.paint) return object.paint;
  const main = colours[object.colour];
  const second = object.second === 'light' ? lerp3(main, [1, 1, 0.97], 0.78) : scale(main, 0.45);
  return [main, second];
}

/** World-from-object rotation about the vertical. */
export const yawMatrix = (yaw: number): number[] => [cos(yaw), -sin(yaw), 0, sin(yaw), cos(yaw), 0, 0, 0, 1];
/** Object z becomes horizontal, then yaw. */
const lyingMatrix = (yaw: number): number[] => [cos(yaw), 0, sin(yaw), sin(yaw), 0, -cos(yaw), 0, 1, 0];

export interface Form {
  readonly dimensions: Vec3;
  readonly height: number;
  /** Radius of a sphere with the same mean silhouette area. */
  readonly silhouette: number;
}

/** Proportions of a shape whose overall radius is s. */
export function formOf(shape: ShapeName, s: number, lying: boolean): Form {
  switch (shape) {
    case 'sphere':
      return { dimensions: [s, 1, 1], height: 2 * s, silhouette: s };
    case 'box':
      return { dimensions: [0.8 * s, 0.8 * s, 0.8 * s], height: 1.6 * s, silhouette: 1.1 * s };
    case 'cylinder':
      return { dimensions: [0.64 * s, 0.92 * s, 1], height: 1.84 * s, silhouette: 0.88 * s };
    case 'cone':
      return { dimensions: [0.86 * s, 1.05 * s, 1], height: 2.1 * s, silhouette: 0.82 * s };
    case 'torus':
      return { dimensions: [0.7 * s, 0.3 * s, 1], height: lying ? 2 * s : 0.6 * s, silhouette: 0.8 * s };
    case 'capsule':
      return { dimensions: [0.5 * s, 0.62 * s, 1], height: lying ? s : 2.24 * s, silhouette: 0.78 * s };
  }
}

/** Texture period over object radius. */
const relativePeriod: Readonly<Partial<Record<TextureName, number>>> = {
  checker: 0.55, stripes: 0.62, dots: 0.72, noise: 0.75, brick: 0.8, wood: 1.2,
};

function sampleTexture(rng: Rng, shape: ShapeName, s: number, unseen: boolean): SolidTexture {
  const names: TextureName[] = ['solid', 'checker', 'stripes', 'dots', 'noise', 'brick', 'wood'];
  let name = names[rng.weighted([3, 1, 1.2, 1, 1, 1, 0.8])];
  const heldOutPair = shape === heldOut.shape && name === heldOut.texture;
  if (heldOutPair && !unseen) name = 'solid';
  return {
    name,
    axis: name === 'stripes' && rng.chance(0.3) ? 3 : 2,
    period: s * (relativePeriod[name] ?? 1) * rng.range(0.9, 1.15),
    phase: rng.range(),
    seed: rng.int(1 << 24),
  };
}

/** What `estimateCover` needs to know of an object. */
interface Outline {
  readonly object: Pick<SceneObject, 'position'>;
  readonly silhouette: number;
}

interface Placed extends Outline {
  readonly object: SceneObject;
}

/** Objects that do not overlap (dart throwing in a disc); fewer than asked for when they do not fit. */
function sampleObjects(seed: number, attempt: number, unseen: boolean): Placed[] {
  const layout = new Rng(seed, stream.layout, attempt);
  const looks = new Rng(seed, stream.looks, attempt);
  const wanted = 2 + layout.weighted([1, 2, 2, 1.5]);
  const palette = unseen ? colourNames : colourNames.filter((name) => name !== heldOut.colour);
  const placed: Placed[] = [];
  const discs: { x: number; y: number; r: number }[] = [];
  const names = new Set<string>();
  for (let tries = 0; placed.length < wanted && tries < 60; tries++) {
    const size = layout.chance(0.5) ? 'small' : 'large';
    const s = size === 'small' ? layout.range(0.36, 0.43) : layout.range(0.52, 0.64);
    const radius = 1.3 * Math.sqrt(layout.range());
    const azimuth = layout.range(0, 6.283);
    const yaw = layout.range(0, 6.283);
    const lies = layout.chance(0.5);
    const shape = looks.pick(shapeNames);
    const colour = looks.pick(palette);
    const second = looks.chance(0.6) ? 'light' : 'dark';
    const texture = sampleTexture(looks, shape, s, unseen);
    const [x, y] = [radius * cos(azimuth), radius * sin(azimuth)];
    const r = s * (shape === 'box' ? 1.12 : 1);
    const clear = (d: { x: number; y: number; r: number }) => {
      const [dx, dy, gap] = [d.x - x, d.y - y, d.r + r + 0.08];
      return dx * dx + dy * dy > gap * gap;
    };
    if (!discs.every(clear) || names.has(`${colour} ${shape}`)) continue;
    const lying = lies && (shape === 'torus' || shape === 'capsule');
    const form = formOf(shape, s, lying);
    const rotation = lying ? lyingMatrix(yaw) : yawMatrix(yaw);
    names.add(`${colour} ${shape}`);
    discs.push({ x, y, r });
    const object: SceneObject = {
      shape, colour, second, texture, size, rotation, position: [x, y, form.height / 2], dimensions: form.dimensions,
    };
    placed.push({ object, silhouette: form.silhouette });
  }
  return placed;
}

/**
 * Fraction of the picture each object covers in one view, with objects as spheres of their mean silhouette, on a
 * 24x24 grid. An estimate without rendering, so that a scene does not depend on a renderer.
 */
export function estimateCover(placed: readonly Outline[], camera: ProceduralCamera): number[] {
  const grid = 24;
  const m = camera.worldToCam;
  const eye = cameraCentre(camera);
  const counts = placed.map(() => 0);
  for (let i = 0; i < grid * grid; i++) {
    const x = (((i % grid) + 0.5) / grid - camera.cx) / camera.fx;
    const y = ((Math.floor(i / grid) + 0.5) / grid - camera.cy) / camera.fy;
    const ray = [0, 1, 2].map((k) => m[k] * x + m[4 + k] * y + m[8 + k]);
    const d = unit([ray[0], ray[1], ray[2]]);
    let nearest = -1;
    let depth = Infinity;
    placed.forEach(({ object, silhouette }, k) => {
      const to = sub(object.position, eye);
      const along = dot(to, d);
      const off = dot(to, to) - along * along;
      if (along > 0 && along < depth && off < silhouette * silhouette) {
        nearest = k;
        depth = along;
      }
    });
    if (nearest >= 0) counts[nearest]++;
  }
  return counts.map((count) => count / (grid * grid));
}

/** Objects that cover at least 3 % of at least two thirds of the views. */
function possibleTargets(placed: readonly Placed[], cameras: CameraSet): number[] {
  const covers = cameras.views.map((camera) => estimateCover(placed, camera));
  return placed.map((_, k) => k).filter((k) => {
    const seen = covers.filter((cover) => cover[k] >= 0.038).length;
    return seen * 3 >= cameras.views.length * 2;
  });
}

function sampleFloor(seed: number): ProceduralScene['floor'] {
  const rng = new Rng(seed, stream.floor);
  const choices: [TextureName, number, number][] = [
    ['tiles', 0.7, 2], ['checker', 0.75, 2], ['stripes', 0.9, 1],
    ['noise', 0.9, 2], ['brick', 1.1, 1], ['wood', 1.5, 2],
  ];
  const [name, period, axis] = choices[rng.weighted([3, 1.5, 1, 2, 1.5, 1])];
  const texture = {
    name,
    axis, // 1 for patterns with a direction: the floor has no z to run along
    period: period * rng.range(0.8, 1.2),
    phase: axis === 1 ? rng.range() : 0,
    seed: rng.int(1 << 24),
  };
  return { name: rng.pick(floorNames), texture, yawRad: rng.range(0, 6.283) };
}

function sampleSky(seed: number): ProceduralScene['sky'] {
  const rng = new Rng(seed, stream.sky);
  const name = skyNames[rng.weighted([4, 1, 1, 1, 1, 1])];
  const clouds = Array.from({ length: 7 + rng.int(5) }, () => {
    const azimuth = rng.range(0, 6.283);
    const elevation = rad(rng.range(2, 14));
    const direction: Vec3 = [cos(elevation) * cos(azimuth), cos(elevation) * sin(azimuth), sin(elevation)];
    return { direction, radius: rng.range(0.16, 0.4) };
  });
  return { name, clouds };
}

function sampleLight(seed: number): ProceduralScene['light'] {
  const rng = new Rng(seed, stream.light);
  const azimuth = rng.range(0, 6.283);
  const elevation = rad(rng.range(38, 62));
  const direction: Vec3 = [cos(elevation) * cos(azimuth), cos(elevation) * sin(azimuth), sin(elevation)];
  const power = rng.range(0.62, 0.74);
  return { direction: unit(direction), colour: scale([1, 0.97, 0.9], power), ambient: [0.44, 0.46, 0.5] };
}

/**
 * The scene of a seed: 2-5 objects on a patterned floor under a cloudy sky, nine cameras on an arc and six held-out
 * ones, and a target object that is well visible in at least six of the nine views.
 * Throws ConfigError for a seed outside every split.
 */
export function sampleScene(seed: number): ProceduralScene {
  const split = splitOf(seed);
  const unseen = split === 'unseen';
  const centroid = (placed: readonly Placed[]): Vec3 => {
    const sum = placed.reduce<Vec3>((total, { object }) => add(total, object.position), [0, 0, 0]);
    const mean = scale(sum, 1 / Math.max(placed.length, 1));
    return [mean[0] * 0.8, mean[1] * 0.8, 0.45];
  };
  for (let attempt = 0; ; attempt++) {
    const placed = sampleObjects(seed, attempt, unseen);
    const cameras = sampleCameras(seed, attempt, centroid(placed));
    const targets = possibleTargets(placed, cameras);
    // One scene in about three is redrawn; two hundred refusals in a row do not happen, the bound only ends the loop.
    if (placed.length < 2 || (targets.length === 0 && attempt < 200)) continue;
    const rng = new Rng(seed, stream.target);
    return {
      seed,
      split,
      objects: placed.map(({ object }) => object),
      target: targets.length ? rng.pick(targets) : 0,
      floor: sampleFloor(seed),
      sky: sampleSky(seed),
      light: sampleLight(seed),
      cameras,
    };
  }
}
