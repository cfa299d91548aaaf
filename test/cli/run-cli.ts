/** The built command line, run as a user does. */
import { spawnSync } from 'node:child_process';
import * as path from 'node:path';

export const main = path.resolve(process.env.RL3DEDIT_DIST ?? path.join(__dirname, '../../dist'), 'cli/main.js');

export interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** `rl3dedit` with `folder` as working folder, home and weights cache; nothing else of the environment reaches it but `env`. */
export const commandLine =
  (folder: string, env: Record<string, string> = {}) =>
  (...args: string[]): Outcome => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
      encoding: 'utf8',
      cwd: folder,
      timeout: 60_000,
      env: { PATH: process.env.PATH, HOME: folder, HF_HOME: path.join(folder, 'hf'), ...env },
    });
    return { code: status, stdout, stderr };
  };
