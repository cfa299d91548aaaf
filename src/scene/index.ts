/** Scenes: loading, cameras, images, view selection, the grid and the prompt. */
import { stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { SceneError } from '../binding/errors';
import { blendedCameras, camerasFolder, loadBlendedMvs } from './datasets/blendedmvs';
import { colmapModelFolders, findColmapModel, loadColmap } from './datasets/colmap';
import { exists } from './datasets/files';
import { loadNerfSynthetic, nerfSyntheticSplits, splitFileName } from './datasets/nerf-synthetic';
import { loadNerfstudio, transformsFileName } from './datasets/nerfstudio';
import type { Scene, SceneFormat } from './scene';

export * from './cameras';
export * from './grid';
export * from './image';
export * from './lens';
export { loadView, type LoadedView, type LoadViewOptions } from './load-view';
export { loadBlendedMvs } from './datasets/blendedmvs';
export { loadColmap, type LoadColmapOptions } from './datasets/colmap';
export { loadNerfSynthetic, type NerfSyntheticSplit } from './datasets/nerf-synthetic';
export { loadNerfstudio } from './datasets/nerfstudio';
export { readPointsPly } from './datasets/ply-points';
export { writeColmap, type WriteColmapOptions } from './datasets/write-colmap';
export type { Dataset, DatasetView, WriteDatasetOptions } from './datasets/write-folder';
export { writeNerfstudio } from './datasets/write-nerfstudio';
export * from './prompt';
export * from './resize';
export type { Scene, SceneFormat, ScenePoints, SceneView } from './scene';
export * from './view-selection';

interface Layout {
  readonly name: SceneFormat;
  /** What marks the layout, relative to the scene folder. */
  readonly marker: string;
  /**
   * How to load it, where it is found; `file` is the name of the scene file where the user named one.
   */
  readonly find: (root: string, file: string | undefined) => Promise<(() => Promise<Scene>) | undefined>;
}

const layouts: readonly Layout[] = [
  {
    name: 'nerfstudio',
    marker: transformsFileName,
    find: async (root, file = transformsFileName) =>
      file === transformsFileName && (await exists(join(root, file))) ? () => loadNerfstudio(root) : undefined,
  },
  {
    name: 'colmap',
    marker: colmapModelFolders.map((folder) => join(folder, 'cameras.{bin,txt}')).join(' or '),
    find: async (root, file) =>
      file === undefined && (await findColmapModel(root)) !== undefined ? () => loadColmap(root) : undefined,
  },
  {
    name: 'blendedmvs',
    marker: `${camerasFolder}/*_cam.txt`,
    find: async (root, file) =>
      file === undefined && (await blendedCameras(root)).length > 0 ? () => loadBlendedMvs(root) : undefined,
  },
  {
    name: 'nerf-synthetic',
    marker: splitFileName('train'),
    find: async (root, file) => {
      const wanted = file ?? splitFileName('train');
      const split = nerfSyntheticSplits.find((name) => splitFileName(name) === wanted);
      return split && (await exists(join(root, wanted))) ? () => loadNerfSynthetic(root, split) : undefined;
    },
  },
];

/**
 * Loads the scene in a folder (or the scene file itself), recognising its layout: nerfstudio, COLMAP, BlendedMVS or
 * NeRF-synthetic (its training split, unless the file of another one is named). Decodes no image.
 * @throws SceneError when nothing is there, no known layout is found (the message lists what was looked for), or the
 *   scene is broken.
 */
export async function loadScene(path: string): Promise<Scene> {
  const full = resolve(path);
  const info = await stat(full).catch(() => undefined);
  if (!info) throw new SceneError(`scene ${path}: no such file or folder`);
  const [root, file] = info.isDirectory() ? [full, undefined] : [dirname(full), basename(full)];
  for (const layout of layouts) {
    const load = await layout.find(root, file);
    if (load) return load();
  }
  const wanted = layouts.map((layout) => `${layout.marker} (${layout.name})`).join(', ');
  throw new SceneError(`scene ${path}: no known layout; looked for ${wanted}`);
}
