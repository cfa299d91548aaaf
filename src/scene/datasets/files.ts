/** What every dataset reader does with file names. */
import { access } from 'node:fs/promises';
import { basename, extname, isAbsolute, relative, resolve, sep } from 'node:path';
import { SceneError } from '../../binding/errors';

export const exists = (path: string): Promise<boolean> => access(path).then(() => true, () => false);

/** `file` relative to `root` as an absolute path. @throws SceneError when it leaves the folder. */
export function insideRoot(root: string, file: string, what: string): string {
  const full = resolve(root, file);
  const inside = relative(root, full);
  const outside = inside === '' || inside === '..' || inside.startsWith(`..${sep}`) || isAbsolute(inside);
  if (file.includes('\0') || outside) {
    throw new SceneError(`${what}: "${file}" does not lie inside the scene folder ${root}`);
  }
  return full;
}

/** The image file at a path that may lack its ending, as Blender-style files leave it away; undefined for none. */
export async function findImage(path: string): Promise<string | undefined> {
  if (await exists(path)) return path;
  if (extname(path) !== '') return undefined;
  for (const ending of ['.png', '.jpg', '.jpeg']) if (await exists(path + ending)) return path + ending;
  return undefined;
}

/** @throws SceneError that counts the missing images and names the first. */
export function refuseMissing(missing: readonly string[], total: number, what: string): void {
  if (missing.length === 0) return;
  const more = missing.length > 5 ? ` and ${missing.length - 5} more` : '';
  throw new SceneError(
    `${what}: ${missing.length} of ${total} images are missing: ${missing.slice(0, 5).join(', ')}${more}`,
  );
}

/** -1, 0 or 1 in the order of code units, which no locale changes. */
export const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** The file names without their endings where these are unique, else the whole paths for all views. */
export function viewNames(paths: readonly string[]): readonly string[] {
  const short = paths.map((path) => basename(path, extname(path)));
  return new Set(short).size === paths.length ? short : paths;
}
