/** Rendering of procedural scenes through an injected ray caster: the native one, or any of the same contract. */
import { ShapeError } from '../../binding/errors';
import { pixelCamera, type ProceduralCamera } from './cameras';
import { cos, sin, type Vec3 } from './math';
import { floors, skies } from './palette';
import { objectColours, shapeNames, textureNames, type ProceduralScene, type SolidTexture } from './world';

export interface RenderSize {
  readonly width: number;
  readonly height: number;
  /** Samples per pixel: 1, 4 or 16. */
  readonly spp: number;
}

export interface RenderedViews {
  /** [V, 3, H, W] in [0, 1]. */
  readonly rgb: Float32Array;
  /** [V, H, W] z-depth in metres, `farDepth` where only sky is seen. */
  readonly depth: Float32Array;
  /** [V, H, W]: 0 sky, 1 floor, 2 + i object i, then the extras. */
  readonly ids: Int32Array;
}

/** G-buffer of views: pictures of recoloured scenes come from it by table lookup. */
export interface TracedViews {
  /** [V, H, W, spp, 4] bytes. */
  readonly samples: Uint8Array;
  readonly depth: Float32Array;
  readonly ids: Int32Array;
}

/** scene: see `encodeScene`; cameras: [V, 16] rows of `pixelCamera`. */
export type Raycast = (scene: Float32Array, cameras: Float32Array, size: RenderSize) => RenderedViews;
export type RaycastGBuffer = (scene: Float32Array, cameras: Float32Array, size: RenderSize) => TracedViews;
/** Returns rgb [V, 3, H, W]. */
export type ShadeGBuffer = (scene: Float32Array, samples: Uint8Array, views: number, size: RenderSize) => Float32Array;

/** z-depth of the sky, metres. Nothing in a scene is farther: the floor is a disc of radius 10 m. */
export const farDepth = 20;
const floorRadius = 10;
/** The floor's pattern fades out between this radius and 1.5 times it. */
const floorPatternRadius = 3.2;
const layoutVersion = 1;

function material(texture: SolidTexture, pair: readonly [Vec3, Vec3]): number[] {
  const { name, axis, period, phase, seed } = texture;
  return [textureNames.indexOf(name), axis, period, phase, seed, ...pair[0], ...pair[1]];
}

/** Packs a scene as native/ops/geom/raycast.h documents: header, clouds, primitives (the floor first, the extras last). */
export function encodeScene(scene: ProceduralScene): Float32Array {
  const { floor, light, objects, sky, extras = [] } = scene;
  const tones = sky.tones ?? skies[sky.name];
  const yaw = floor.yawRad;
  const packed = [
    layoutVersion, objects.length + 1 + extras.length, sky.clouds.length, farDepth,
    ...light.direction, ...light.colour, ...light.ambient, ...tones.horizon, ...tones.zenith, ...tones.cloud,
  ];
  for (const cloud of sky.clouds) packed.push(...cloud.direction, cloud.radius);
  packed.push(shapeNames.length, 0, 0, 0, cos(yaw), -sin(yaw), 0, sin(yaw), cos(yaw), 0, 0, 0, 1);
  packed.push(floorRadius, floorPatternRadius, 1, ...material(floor.texture, floors[floor.name]));
  for (const solid of [...objects, ...extras]) {
    packed.push(shapeNames.indexOf(solid.shape), ...solid.position, ...solid.rotation, ...solid.dimensions);
    packed.push(...material(solid.texture, 'colour' in solid ? objectColours(solid) : solid.paint));
  }
  return Float32Array.from(packed);
}

/** [V, 16] camera array of the ray caster. */
export function encodeCameras(cameras: readonly ProceduralCamera[], size: RenderSize): Float32Array {
  return Float32Array.from(cameras.flatMap((camera) => pixelCamera(camera, size.width, size.height)));
}

function checkLength(what: string, actual: number, expected: number): void {
  if (actual !== expected) throw new ShapeError(`ray caster returned ${actual} ${what} values, expected ${expected}`);
}

/** Colour, depth and instance ids of every camera. Throws ShapeError when the ray caster breaks its contract. */
export function renderViews(
  scene: ProceduralScene,
  cameras: readonly ProceduralCamera[],
  size: RenderSize,
  raycast: Raycast,
): RenderedViews {
  const rendered = raycast(encodeScene(scene), encodeCameras(cameras, size), size);
  const pixels = cameras.length * size.width * size.height;
  checkLength('rgb', rendered.rgb.length, 3 * pixels);
  checkLength('depth', rendered.depth.length, pixels);
  checkLength('id', rendered.ids.length, pixels);
  return rendered;
}

/** The G-buffer of every camera, to be kept and shaded under many palettes with `shadeViews`. */
export function traceViews(
  scene: ProceduralScene,
  cameras: readonly ProceduralCamera[],
  size: RenderSize,
  trace: RaycastGBuffer,
): TracedViews {
  const traced = trace(encodeScene(scene), encodeCameras(cameras, size), size);
  const pixels = cameras.length * size.width * size.height;
  checkLength('sample', traced.samples.length, 4 * size.spp * pixels);
  checkLength('depth', traced.depth.length, pixels);
  checkLength('id', traced.ids.length, pixels);
  return traced;
}

/**
 * Pictures [V, 3, H, W] of a scene from a G-buffer of the same geometry and textures: only colours of objects, floor,
 * sky and light may differ from the scene that was traced.
 */
export function shadeViews(
  scene: ProceduralScene,
  traced: Pick<TracedViews, 'samples'>,
  views: number,
  size: RenderSize,
  shade: ShadeGBuffer,
): Float32Array {
  checkLength('sample', traced.samples.length, 4 * size.spp * views * size.width * size.height);
  const rgb = shade(encodeScene(scene), traced.samples, views, size);
  checkLength('rgb', rgb.length, 3 * views * size.width * size.height);
  return rgb;
}

/** Fraction of each view's pixels that shows instance `id`. */
export function visibleFraction(ids: Int32Array, views: number, id: number): number[] {
  const pixels = ids.length / views;
  return Array.from({ length: views }, (_, v) => {
    let count = 0;
    for (let i = v * pixels; i < (v + 1) * pixels; i++) if (ids[i] === id) count++;
    return count / pixels;
  });
}
