/** What the writers of datasets share: checks of the views, and a folder that appears whole or not at all. */
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { OutputError, RlError, SceneError, ShapeError } from '../../binding/errors';
import type { Camera } from '../cameras';
import { type Image, throwIfAborted, writePng } from '../image';
import type { ScenePoints } from '../scene';

/** One picture of a dataset to be written, with the pinhole camera that belongs to it. */
export interface DatasetView {
  /** Becomes the file name; an image ending is replaced by `.png`, folders in it stay. */
  readonly name: string;
  readonly image: Image;
  readonly camera: Camera;
}

export interface Dataset {
  readonly views: readonly DatasetView[];
  readonly points?: ScenePoints;
}

export interface WriteDatasetOptions {
  readonly signal?: AbortSignal;
}

/**
 * File names of the views, relative to the folder of images.
 * @throws SceneError for no views, for names that repeat or leave the folder, and for cameras that are not finite;
 *   ShapeError for an image of another size than its camera.
 */
export function datasetFileNames({ views, points }: Dataset): string[] {
  if (views.length === 0) throw new SceneError('dataset: there are no views to write');
  const names = views.map(({ name, image, camera }) => {
    const what = `dataset: view "${name}"`;
    const stem = name.replace(/\.(?:png|jpe?g|webp|tiff?)$/i, '');
    if (/[\0\n\r\\]/.test(stem) || stem.split('/').some((part) => part === '' || part === '.' || part === '..')) {
      throw new SceneError(`${what}: the name cannot be a file name inside the folder of images`);
    }
    if (image.width !== camera.width || image.height !== camera.height) {
      throw new ShapeError(
        `${what}: the image is ${image.width}x${image.height}, its camera is for ${camera.width}x${camera.height}`,
      );
    }
    const { fx, fy, cx, cy, worldToCam } = camera;
    if (!(fx > 0 && fy > 0) || ![fx, fy, cx, cy, ...worldToCam].every(Number.isFinite)) {
      throw new SceneError(`${what}: the camera is not finite, or a focal length is not above 0`);
    }
    return `${stem}.png`;
  });
  // Two names that differ in case alone are one file on some systems.
  const folded = new Set(names.map((name) => name.toLowerCase()));
  if (folded.size < names.length) throw new SceneError(`dataset: view names repeat: ${names.join(', ')}`);
  if (points && !points.positions.every(Number.isFinite)) throw new SceneError('dataset: a point is not finite');
  return names;
}

/** Writes the views as 8-bit PNG files under `folder`. */
export async function writeImages(
  folder: string, views: readonly DatasetView[], names: readonly string[], signal?: AbortSignal,
): Promise<void> {
  for (const [i, { image }] of views.entries()) {
    throwIfAborted(signal);
    const path = join(folder, names[i]);
    await mkdir(dirname(path), { recursive: true });
    await writePng(path, image);
  }
}

let temporaryCount = 0;

/**
 * Fills a temporary folder beside `folder`, then renames it, so that `folder` is whole or absent.
 * @throws OutputError when `folder` exists with something in it, or cannot be written.
 */
export async function writeFolder(folder: string, fill: (temporary: string) => Promise<void>): Promise<void> {
  const target = resolve(folder);
  const present = await readdir(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw new OutputError(`cannot write to ${folder}: ${error.message}`, { cause: error });
  });
  if (present.length > 0) throw new OutputError(`${folder} is not empty; choose a new folder for the dataset`);
  const temporary = `${target}.${process.pid}.${temporaryCount++}.tmp`;
  try {
    await mkdir(temporary, { recursive: true });
    await fill(temporary);
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
    if (error instanceof RlError) throw error;
    throw new OutputError(`cannot write ${folder}: ${(error as Error).message}`, { cause: error });
  }
}
