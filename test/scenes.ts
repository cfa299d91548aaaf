/**
 * The real scenes lie beside the checkout and are not part of it; tests that need them are skipped where they are
 * absent.
 */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describeUnless } from './describe-unless';

/** Folder of the real scenes: RL3DEDIT_TEST_SCENES, else ../shared/scenes. */
export const scenesRoot = process.env.RL3DEDIT_TEST_SCENES ?? resolve(__dirname, '../../shared/scenes');

/** Path of a real scene, or undefined where it is absent. */
export function realScene(name: string): string | undefined {
  const path = join(scenesRoot, name);
  return existsSync(join(path, 'transforms.json')) ? path : undefined;
}

/** A block about a real scene. */
export function describeWithScene(name: string, body: (path: string) => void): void {
  const path = realScene(name);
  describeUnless(path ? undefined : 'absent; set RL3DEDIT_TEST_SCENES to the folder that holds it', `scene ${name}`, () => body(path ?? ''));
}
