/** What a COLMAP sparse model holds, and the camera models by number and name. */
import { SceneError } from '../../binding/errors';
import type { LensParameters } from '../lens';

export interface ColmapCamera {
  readonly id: number;
  /** Name of the camera model, one of `colmapModels`. */
  readonly model: string;
  readonly width: number;
  readonly height: number;
  /** In the model's own order, see `parameterNames`. */
  readonly params: readonly number[];
}

export interface ColmapImage {
  readonly id: number;
  /** Camera-from-world rotation (w, x, y, z), Hamilton convention. */
  readonly quaternion: readonly number[];
  /** Camera-from-world translation. */
  readonly translation: readonly number[];
  readonly cameraId: number;
  /** File name relative to the folder of the images. */
  readonly name: string;
}

/** A camera model's parameters in file order; 'f' stands for both focal lengths. */
export type ColmapParameter = 'f' | 'fx' | 'fy' | 'cx' | 'cy' | keyof LensParameters;

/** Camera models in the order of their numbers, 0 to 10 (COLMAP, src/colmap/sensor/models.h). */
export const colmapModels: readonly { readonly name: string; readonly parameters: readonly ColmapParameter[] }[] = [
  { name: 'SIMPLE_PINHOLE', parameters: ['f', 'cx', 'cy'] },
  { name: 'PINHOLE', parameters: ['fx', 'fy', 'cx', 'cy'] },
  { name: 'SIMPLE_RADIAL', parameters: ['f', 'cx', 'cy', 'k1'] },
  { name: 'RADIAL', parameters: ['f', 'cx', 'cy', 'k1', 'k2'] },
  { name: 'OPENCV', parameters: ['fx', 'fy', 'cx', 'cy', 'k1', 'k2', 'p1', 'p2'] },
  { name: 'OPENCV_FISHEYE', parameters: ['fx', 'fy', 'cx', 'cy', 'k1', 'k2', 'k3', 'k4'] },
  {
    name: 'FULL_OPENCV',
    parameters: ['fx', 'fy', 'cx', 'cy', 'k1', 'k2', 'p1', 'p2', 'k3', 'k4', 'k5', 'k6'],
  },
  { name: 'FOV', parameters: ['fx', 'fy', 'cx', 'cy', 'omega'] },
  { name: 'SIMPLE_RADIAL_FISHEYE', parameters: ['f', 'cx', 'cy', 'k1'] },
  { name: 'RADIAL_FISHEYE', parameters: ['f', 'cx', 'cy', 'k1', 'k2'] },
  {
    name: 'THIN_PRISM_FISHEYE',
    parameters: ['fx', 'fy', 'cx', 'cy', 'k1', 'k2', 'p1', 'p2', 'k3', 'k4', 'sx1', 'sy1'],
  },
];

/** A camera model by its number or name. @throws SceneError for an unknown one. */
export function colmapModel(numberOrName: number | string, what: string): (typeof colmapModels)[number] {
  const found =
    typeof numberOrName === 'number'
      ? colmapModels[numberOrName]
      : colmapModels.find(({ name }) => name === numberOrName);
  if (found) return found;
  const known = colmapModels.map(({ name }, i) => `${i} ${name}`).join(', ');
  throw new SceneError(
    `${what}: camera model ${numberOrName} is not supported; supported: ${known}; ` +
      'undistort the images with COLMAP first',
  );
}

const maxSide = 1 << 20;

/** The camera, checked. @throws SceneError for a size or parameter that makes no sense. */
export function checkedCamera(camera: ColmapCamera, what: string): ColmapCamera {
  const { width, height, params } = camera;
  for (const side of [width, height]) {
    if (!Number.isInteger(side) || side < 1 || side > maxSide) {
      throw new SceneError(`${what}: expected sides of 1 to ${maxSide} pixels, got ${width}x${height}`);
    }
  }
  const { parameters } = colmapModel(camera.model, what);
  parameters.forEach((name, i) => {
    if (!Number.isFinite(params[i])) throw new SceneError(`${what}: ${name} is ${params[i]}, expected a finite number`);
    if (name.startsWith('f') && params[i] <= 0) {
      throw new SceneError(`${what}: ${name} is ${params[i]}, expected a focal length above 0`);
    }
  });
  return camera;
}

/** The image with its quaternion normalised. @throws SceneError for a pose that is none, or an unusable name. */
export function checkedImage(image: ColmapImage, what: string): ColmapImage {
  const { quaternion, translation, name } = image;
  for (const value of [...quaternion, ...translation]) {
    if (!Number.isFinite(value)) throw new SceneError(`${what}: the pose holds ${value}, expected finite numbers`);
  }
  const norm = Math.hypot(...quaternion);
  if (!(norm > 1e-6 && norm < 1e6)) {
    throw new SceneError(`${what}: the rotation quaternion has length ${norm}, expected 1`);
  }
  if (name === '') throw new SceneError(`${what}: the image has no name`);
  return { ...image, quaternion: quaternion.map((value) => value / norm) };
}

/** @throws SceneError when two entries share what `keyOf` names. */
export function checkUnique<T>(items: readonly T[], keyOf: (item: T) => number | string, what: string): void {
  const seen = new Set<number | string>();
  for (const item of items) {
    const key = keyOf(item);
    if (seen.has(key)) throw new SceneError(`${what} ${key} occurs twice`);
    seen.add(key);
  }
}
