/** Writes a procedural scene as a nerfstudio folder that any loader of the format reads, with exact truth beside it. */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { OutputError } from '../../binding/errors';
import { cameraCentre, type ProceduralCamera } from './cameras';
import { sampleEdit } from './edits';
import { encodeGrey, encodePfm, encodePng, viewName } from './image-files';
import { farDepth, renderViews, type Raycast, type RenderedViews, type RenderSize } from './render';
import { surfaceSamples } from './surface-samples';
import { objectName, type ProceduralScene } from './world';
import { encodeColmap, sparsePoints } from './write-colmap';
import { writeEdit, type WrittenEdit } from './write-edits';
import { encodeSplat } from './write-splat';

export { encodePfm } from './image-files';

/** What to write beside the nerfstudio folder. */
export interface WriteSceneOptions {
  /** sparse/0: the arc views as a COLMAP model, binary and text. */
  readonly colmap?: boolean;
  /** gt.ply: a ground-truth splat of every surface that the arc views see; the sky has none. */
  readonly splat?: boolean;
  /** edits/<family>_<index>: see `writeEdit`. Arc views first, then the held-out ones, like images/. */
  readonly edits?: readonly WrittenEdit[];
}

/** 4x4 world-from-camera in OpenGL axes (x right, y up, z back), as nerfstudio stores poses. */
export function nerfstudioPose(camera: ProceduralCamera): number[][] {
  const m = camera.worldToCam;
  const centre = cameraCentre(camera);
  const rows = [0, 1, 2].map((k) => [m[k], -m[4 + k], -m[8 + k], centre[k]]);
  return [...rows, [0, 0, 0, 1]];
}

async function emptyFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    const present = await readdir(folder);
    if (present.length > 0) throw new OutputError(`${folder} is not empty; choose a new folder for the scene`);
    for (const name of ['images', 'depth', 'ids']) await mkdir(join(folder, name));
  } catch (error) {
    if (error instanceof OutputError) throw error;
    throw new OutputError(`cannot write a scene to ${folder}: ${(error as Error).message}`, { cause: error });
  }
}

async function writeSparse(scene: ProceduralScene, views: RenderedViews, folder: string, size: RenderSize): Promise<void> {
  const cameras = scene.cameras.views;
  const names = cameras.map((_, i) => `${viewName(i)}.png`);
  const sparse = join(folder, 'sparse', '0');
  await mkdir(sparse, { recursive: true });
  const files = encodeColmap({ cameras, names, points: sparsePoints(scene, views, size) }, size);
  for (const [name, data] of Object.entries(files)) await writeFile(join(sparse, name), data);
}

/**
 * Writes transforms.json, images/NNN.png, depth/NNN.pfm (z-depth, metres), ids/NNN.png (0 sky, 1 floor, 2 + i object i)
 * and scene.json (the whole description). The arc views come first, then the held-out ones, listed as
 * `train_filenames` and `test_filenames`. More on request, see WriteSceneOptions. Throws OutputError when the folder is not empty or cannot be written.
 */
export async function writeScene(
  scene: ProceduralScene,
  folder: string,
  size: RenderSize,
  raycast: Raycast,
  options: WriteSceneOptions = {},
): Promise<void> {
  const { width, height } = size;
  const pixels = width * height;
  const cameras = [...scene.cameras.views, ...scene.cameras.heldOut];
  // Before anything is written: an edit that does not fit the scene throws ConfigError.
  for (const { family, index } of options.edits ?? []) sampleEdit(scene, family, index);
  const views = renderViews(scene, cameras, size, raycast);
  const { rgb, depth, ids } = views;
  await emptyFolder(folder);
  const files = cameras.map((_, i) => `images/${viewName(i)}.png`);
  const frames = cameras.map((camera, i) => ({
    file_path: files[i],
    fl_x: camera.fx * width,
    fl_y: camera.fy * width,
    cx: camera.cx * width,
    cy: camera.cy * height,
    transform_matrix: nerfstudioPose(camera),
  }));
  const split = scene.cameras.views.length;
  const transforms = {
    camera_model: 'OPENCV',
    w: width,
    h: height,
    frames,
    train_filenames: files.slice(0, split),
    test_filenames: files.slice(split),
  };
  const objects = scene.objects.map((object) => ({ name: objectName(object), ...object }));
  try {
    for (let i = 0; i < cameras.length; i++) {
      const [from, to] = [i * pixels, (i + 1) * pixels];
      const png = await encodePng(rgb.subarray(3 * from, 3 * to), width, height);
      await writeFile(join(folder, files[i]), png);
      await writeFile(join(folder, `depth/${viewName(i)}.pfm`), encodePfm(depth.subarray(from, to), width, height));
      const idPng = await encodeGrey(Uint8Array.from(ids.subarray(from, to)), width, height);
      await writeFile(join(folder, `ids/${viewName(i)}.png`), idPng);
    }
    if (options.colmap) await writeSparse(scene, views, folder, size);
    if (options.splat) {
      const samples = surfaceSamples(scene, scene.cameras.views, views, size);
      await writeFile(join(folder, 'gt.ply'), encodeSplat(samples));
    }
    for (const edit of options.edits ?? []) await writeEdit(scene, cameras, views, edit, folder, size, raycast);
    await writeFile(join(folder, 'scene.json'), `${JSON.stringify({ farDepth, ...scene, objects }, null, 1)}\n`);
    // Last: a folder with transforms.json is a complete scene.
    await writeFile(join(folder, 'transforms.json'), `${JSON.stringify(transforms, null, 1)}\n`);
  } catch (error) {
    throw new OutputError(`cannot write a scene to ${folder}: ${(error as Error).message}`, { cause: error });
  }
}
