/**
 * BlendedMVS scenes (and others in MVSNet's layout): `cams/NNNNNNNN_cam.txt` with a camera-from-world pose of OpenCV
 * axes and pixel intrinsics, and one image per camera with the same number.
 */
import { readdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { SceneError } from '../../binding/errors';
import { type Camera, rigidMatrix } from '../cameras';
import { readImageSize } from '../image';
import { readText } from '../json';
import type { Scene, SceneView } from '../scene';
import { exists, refuseMissing } from './files';

/** Folder of the camera files, which marks this layout. */
export const camerasFolder = 'cams';
/** Where the images may lie, '.' being the scene folder itself; the first that holds them all is taken. */
export const blendedImageFolders = ['blended_images', 'images', '.'] as const;

const camPattern = /^(.+)_cam\.txt$/;
const imageEndings = ['.jpg', '.png', '.jpeg', '.JPG'] as const;
const maxCamBytes = 1 << 16;

/** Names (mostly eight digits) of the cameras of a scene folder; empty when it is none. */
export async function blendedCameras(root: string): Promise<string[]> {
  const files = await readdir(join(root, camerasFolder)).catch(() => []);
  return files.flatMap((file) => camPattern.exec(file)?.[1] ?? []).sort();
}

/**
 * Parses a camera file: `extrinsic` and 4x4 numbers, `intrinsic` and 3x3 numbers, then DEPTH_MIN DEPTH_INTERVAL and
 * perhaps the number of depths and DEPTH_MAX, which are not used and may be anything.
 * @throws SceneError for missing or wrong numbers, a pose that is not rigid, and skewed or flipped intrinsics.
 */
export function parseBlendedCamera(text: string, file: string): Omit<Camera, 'width' | 'height'> {
  const words = text.replace(/^\uFEFF/, '').split(/\s+/).filter((word) => word !== '');
  const block = (title: string, at: number, count: number): number[] => {
    if (words[at] !== title) throw new SceneError(`${file}: expected the word "${title}", got "${words[at] ?? ''}"`);
    const values = words.slice(at + 1, at + 1 + count).map(Number);
    if (values.length < count || !values.every(Number.isFinite)) {
      throw new SceneError(`${file}: expected ${count} numbers after "${title}", got ${values.join(' ')}`);
    }
    return values;
  };
  const worldToCam = rigidMatrix(block('extrinsic', 0, 16), `${file}: extrinsic`);
  const [fx, skew, cx, k10, fy, cy, ...last] = block('intrinsic', 17, 9);
  const straight = k10 === 0 && last[0] === 0 && last[1] === 0 && last[2] === 1;
  if (!(fx > 0 && fy > 0) || !straight || Math.abs(skew) > 1e-6 * fx) {
    throw new SceneError(
      `${file}: intrinsic is [${words.slice(18, 27).join(' ')}], expected fx 0 cx, 0 fy cy, 0 0 1 with focal lengths ` +
        'above 0',
    );
  }
  return { fx, fy, cx, cy, worldToCam };
}

async function findImages(root: string, names: readonly string[]): Promise<string[]> {
  let fewest: { missing: string[]; folder: string } | undefined;
  for (const folder of blendedImageFolders) {
    const paths: string[] = [];
    const missing: string[] = [];
    for (const name of names) {
      let found: string | undefined;
      for (const ending of imageEndings) {
        const path = join(root, folder, name + ending);
        if (found === undefined && (await exists(path))) found = path;
      }
      if (found === undefined) missing.push(join(folder, `${name}.jpg`));
      else paths.push(found);
    }
    if (missing.length === 0) return paths;
    if (!fewest || missing.length < fewest.missing.length) fewest = { missing, folder };
  }
  refuseMissing(fewest!.missing, names.length, join(root, fewest!.folder));
  return [];
}

/**
 * Loads a BlendedMVS scene; `root` is the folder that holds `cams`. Decodes no image, but reads the size of each, as
 * the camera files have none.
 * @throws SceneError for damaged camera files and missing images.
 */
export async function loadBlendedMvs(root: string): Promise<Scene> {
  const names = await blendedCameras(root);
  if (names.length === 0) throw new SceneError(`${root}: no camera files; looked for ${camerasFolder}/*_cam.txt`);
  const images = await findImages(root, names);
  const views: SceneView[] = [];
  for (const [i, name] of names.entries()) {
    const file = join(root, camerasFolder, `${name}_cam.txt`);
    const { width, height } = await readImageSize(images[i]);
    const camera = { width, height, ...parseBlendedCamera(await readText(file, maxCamBytes), file) };
    views.push({ name, imagePath: images[i], camera });
  }
  return { name: basename(resolve(root)), root, format: 'blendedmvs', views, warnings: [] };
}
