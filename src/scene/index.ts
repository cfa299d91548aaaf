/** Scenes: loading, cameras, images, view selection, the grid and the prompt. */
import { access, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { SceneError } from '../binding/errors';
import { loadNerfstudio, transformsFileName } from './datasets/nerfstudio';
import type { Scene } from './scene';

export * from './cameras';
export * from './grid';
export * from './image';
export * from './lens';
export { loadView, type LoadedView, type LoadViewOptions } from './load-view';
export { loadNerfstudio } from './datasets/nerfstudio';
export { readPointsPly } from './datasets/ply-points';
export * from './prompt';
export * from './resize';
export type { Scene, ScenePoints, SceneView } from './scene';
export * from './view-selection';

interface Layout {
  readonly name: string;
  /** File, relative to the scene folder, that marks the layout. */
  readonly marker: string;
  readonly load: (root: string) => Promise<Scene>;
}

const layouts: readonly Layout[] = [{ name: 'nerfstudio', marker: transformsFileName, load: loadNerfstudio }];

/**
 * Loads the scene in a folder (or the scene file itself), recognising its layout. Decodes no image.
 * @throws SceneError when nothing is there, no known layout is found (the message lists what was looked for), or the
 *   scene is broken.
 */
export async function loadScene(path: string): Promise<Scene> {
  const full = resolve(path);
  const info = await stat(full).catch(() => undefined);
  if (!info) throw new SceneError(`scene ${path}: no such file or folder`);
  const root = info.isDirectory() ? full : dirname(full);
  for (const layout of layouts) {
    const named = info.isDirectory() || basename(full) === basename(layout.marker);
    const found = named && (await access(join(root, layout.marker)).then(() => true, () => false));
    if (found) return layout.load(root);
  }
  const wanted = layouts.map((layout) => `${layout.marker} (${layout.name})`).join(', ');
  throw new SceneError(`scene ${path}: no known layout; looked for ${wanted}`);
}
