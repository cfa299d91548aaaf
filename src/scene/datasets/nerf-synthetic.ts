/**
 * NeRF-synthetic scenes: `transforms_train.json`, `transforms_val.json` and `transforms_test.json`, each a nerfstudio
 * file with one horizontal angle of view and image names without their ending. The images have an alpha channel, which
 * every image reader here composites on white.
 */
import { join } from 'node:path';
import { SceneError } from '../../binding/errors';
import type { Scene } from '../scene';
import { exists } from './files';
import { loadTransforms } from './nerfstudio';

export const nerfSyntheticSplits = ['train', 'val', 'test'] as const;
export type NerfSyntheticSplit = (typeof nerfSyntheticSplits)[number];

/** The file of a split. */
export const splitFileName = (split: NerfSyntheticSplit): string => `transforms_${split}.json`;

/**
 * Loads one split; `root` is the folder.
 * @throws SceneError when the split's file is missing (the message lists those that are there) or broken.
 */
export async function loadNerfSynthetic(root: string, split: NerfSyntheticSplit = 'train'): Promise<Scene> {
  const file = splitFileName(split);
  if (!(await exists(join(root, file)))) {
    const there: string[] = [];
    for (const other of nerfSyntheticSplits) if (await exists(join(root, splitFileName(other)))) there.push(other);
    throw new SceneError(`${join(root, file)}: no such file; the folder has the splits: ${there.join(', ') || 'none'}`);
  }
  return loadTransforms(root, file, 'nerf-synthetic');
}
