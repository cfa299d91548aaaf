/**
 * COLMAP scenes: a sparse model (cameras, images and points, binary or text; files of rigs and frames are not needed)
 * and a folder of images. Poses are camera-from-world with OpenCV axes and pixel centres at +0.5, as everywhere here.
 */
import { basename, dirname, join, resolve } from 'node:path';
import { SceneError } from '../../binding/errors';
import type { Camera } from '../cameras';
import { readImageSize } from '../image';
import { readBytes } from '../json';
import { type LensParameters, lensFor, straightenedCamera } from '../lens';
import { atFileSize } from '../load-view';
import { rotationOf } from '../quaternion';
import type { Scene, SceneView } from '../scene';
import { parseCamerasBin, parseImagesBin, parsePointsBin } from './colmap-binary';
import { type ColmapCamera, type ColmapImage, colmapModel } from './colmap-model';
import { parseCamerasText, parseImagesText, parsePointsText } from './colmap-text';
import { compareText, exists, insideRoot, refuseMissing, viewNames } from './files';

/** Where the model may lie, relative to the scene folder; the first with a file of cameras is taken. */
export const colmapModelFolders = ['sparse/0', 'sparse', '.'] as const;
/** Where the images may lie; the first folder that holds them all is taken. */
export const colmapImageFolders = ['images', 'images_2', 'images_4', 'images_8'] as const;

const maxFileBytes = 1 << 30;

export interface LoadColmapOptions {
  /** Folder of the images, relative to the scene folder; default: the first of `colmapImageFolders` that holds all. */
  readonly images?: string;
}

interface ModelFiles {
  readonly folder: string;
  readonly binary: boolean;
}

/** The sparse model of a scene folder, or undefined. */
export async function findColmapModel(root: string): Promise<string | undefined> {
  for (const name of colmapModelFolders) {
    const folder = join(root, name);
    for (const ending of ['bin', 'txt']) if (await exists(join(folder, `cameras.${ending}`))) return folder;
  }
  return undefined;
}

async function modelFiles(root: string): Promise<ModelFiles> {
  const folder = await findColmapModel(root);
  if (folder === undefined) {
    const wanted = colmapModelFolders.map((name) => join(name, 'cameras.{bin,txt}')).join(', ');
    throw new SceneError(`${root}: no COLMAP model; looked for ${wanted}`);
  }
  for (const ending of ['bin', 'txt']) {
    const both = (await exists(join(folder, `cameras.${ending}`))) && (await exists(join(folder, `images.${ending}`)));
    if (both) return { folder, binary: ending === 'bin' };
  }
  throw new SceneError(`${folder}: expected cameras and images, both as .bin or both as .txt files; one is missing`);
}

/** Camera-from-world, 4x4 row-major. */
function worldToCamOf({ quaternion, translation: t }: ColmapImage): Float64Array {
  const r = rotationOf(quaternion);
  return Float64Array.of(r[0], r[1], r[2], t[0], r[3], r[4], r[5], t[1], r[6], r[7], r[8], t[2], 0, 0, 0, 1);
}

/**
 * Cameras and lens of one image. Intrinsics are scaled from the size of the model's camera to that of the image file.
 * @throws SceneError when the sizes do not belong together or the lens makes no sense.
 */
export function colmapView(
  image: ColmapImage,
  source: ColmapCamera,
  file: { readonly name: string; readonly imagePath: string; readonly width: number; readonly height: number },
): SceneView {
  const what = `camera id ${source.id} of image "${image.name}"`;
  const intrinsics = { fx: 0, fy: 0, cx: 0, cy: 0 };
  const parameters: { -readonly [K in keyof LensParameters]: LensParameters[K] } = {};
  colmapModel(source.model, what).parameters.forEach((name, i) => {
    const value = source.params[i];
    if (name === 'f') intrinsics.fx = intrinsics.fy = value;
    else if (name === 'fx' || name === 'fy' || name === 'cx' || name === 'cy') intrinsics[name] = value;
    else parameters[name] = value;
  });
  const { name, imagePath } = file;
  const { width, height } = source;
  const camera: Camera = atFileSize({ width, height, ...intrinsics, worldToCam: worldToCamOf(image) }, file, file);
  const lens = lensFor(source.model, parameters, what);
  if (!lens) return { name, imagePath, camera };
  return { name, imagePath, camera: straightenedCamera(camera, lens, what), photograph: { camera, lens } };
}

/**
 * The folder that holds the images, and their paths. A model folder given by itself has its images beside it or above.
 */
async function findImages(
  root: string, names: readonly string[], model: string, wanted: string | undefined,
): Promise<{ root: string; paths: string[] }> {
  const bases = [root];
  if (basename(root) === 'sparse') bases.push(dirname(root));
  else if (basename(dirname(root)) === 'sparse') bases.push(dirname(dirname(root)));
  let fewest: { missing: string[]; folder: string } | undefined;
  const looked: string[] = [];
  for (const base of bases) {
    for (const name of wanted === undefined ? colmapImageFolders : [wanted]) {
      const folder = resolve(base, name);
      looked.push(folder);
      if (!(await exists(folder))) continue;
      const paths = names.map((image) => insideRoot(folder, image, model));
      const missing: string[] = [];
      for (const [i, path] of paths.entries()) if (!(await exists(path))) missing.push(names[i]);
      if (missing.length === 0) return { root: base, paths };
      if (!fewest || missing.length < fewest.missing.length) fewest = { missing, folder };
    }
  }
  if (!fewest) throw new SceneError(`${model}: no folder of images; looked for ${looked.join(', ')}`);
  refuseMissing(fewest.missing, names.length, fewest.folder);
  throw new SceneError(`${model}: no folder of images`);
}

/**
 * Loads a COLMAP scene; `root` is the scene folder or that of the model. Decodes no image, but reads the size of each.
 * @throws SceneError for damaged files, unknown camera models, images that are missing or of another aspect.
 */
export async function loadColmap(root: string, options: LoadColmapOptions = {}): Promise<Scene> {
  const { folder, binary } = await modelFiles(root);
  const ending = binary ? 'bin' : 'txt';
  const read = async <T>(name: string, parse: (bytes: Buffer, file: string) => T): Promise<T> => {
    const file = join(folder, `${name}.${ending}`);
    return parse(await readBytes(file, maxFileBytes), file);
  };
  const cameraList = await read('cameras', binary ? parseCamerasBin : parseCamerasText);
  const cameras = new Map(cameraList.map((camera) => [camera.id, camera]));
  const images = await read('images', binary ? parseImagesBin : parseImagesText);
  if (images.length === 0) throw new SceneError(`${folder}: the model has no images`);
  images.sort((a, b) => compareText(a.name, b.name));
  const paths = images.map(({ name }) => name);
  const found = await findImages(resolve(root), paths, folder, options.images);
  const names = viewNames(paths);
  const views: SceneView[] = [];
  for (const [i, image] of images.entries()) {
    const camera = cameras.get(image.cameraId);
    if (!camera) {
      throw new SceneError(`${folder}: image "${image.name}" names camera id ${image.cameraId}, which is not there`);
    }
    const imagePath = found.paths[i];
    views.push(colmapView(image, camera, { name: names[i], imagePath, ...(await readImageSize(imagePath)) }));
  }

  const warnings: string[] = [];
  const hasPoints = await exists(join(folder, `points3D.${ending}`));
  if (!hasPoints) warnings.push(`the model has no points3D.${ending}; going on without points`);
  const points = hasPoints ? await read('points3D', binary ? parsePointsBin : parsePointsText) : undefined;
  if (basename(folder) === '0' && (await findColmapModel(join(dirname(folder), '1'))) !== undefined) {
    warnings.push('the reconstruction fell into several models; only the first, sparse/0, is read');
  }
  return { name: basename(found.root), root: found.root, format: 'colmap', views, points, warnings };
}
