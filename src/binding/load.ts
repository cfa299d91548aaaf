import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { EnvironmentError } from './errors';
import type { Binding } from './types';

export interface LoadAttempt {
  path: string;
  /** Why this one was not used; absent for the one that was. */
  error?: string;
}

export interface LoadedBinding {
  binding: Binding;
  path: string;
  attempts: LoadAttempt[];
}

const root = resolve(__dirname, '..', '..');
let loaded: LoadedBinding | undefined;

/**
 * Loads the native add-on once per process. Order: the file named by RL3DEDIT_BINDING, the CUDA build, the CPU build. A
 * CUDA build works without a driver too (it then offers the CPU only); a build that does not load is passed over, and
 * `attempts` says why. Throws EnvironmentError listing each attempt, its cause and the command that mends it.
 */
export function loadBinding(): LoadedBinding {
  if (loaded) return loaded;
  const named = process.env.RL3DEDIT_BINDING;
  const candidates = named
    ? [resolve(named)]
    : [join(root, 'build-cuda/Release/rl3dedit.node'), join(root, 'build/Release/rl3dedit.node')];
  const attempts: LoadAttempt[] = [];
  for (const path of candidates) {
    if (!existsSync(path)) {
      attempts.push({ path, error: 'not there' });
      continue;
    }
    try {
      // eslint-disable-next-line @typescript-eslint/no-require-imports -- a .node file can only be required
      const binding = require(path) as Binding;
      attempts.push({ path });
      loaded = { binding, path, attempts };
      return loaded;
    } catch (error) {
      attempts.push({ path, error: error instanceof Error ? error.message : String(error) });
    }
  }
  const lines = attempts.map((attempt) => `  ${attempt.path}: ${attempt.error}`);
  throw new EnvironmentError(
    `the native add-on could not be loaded:\n${lines.join('\n')}\n` +
      'Build it with `npm run build` (CPU; needs g++ and make) or `npm run build:cuda` (CPU and CUDA; needs cmake and nvcc).',
  );
}
