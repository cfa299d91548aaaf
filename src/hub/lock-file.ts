import * as fs from 'node:fs/promises';
import * as os from 'node:os';
import * as path from 'node:path';
import { AbortError, DownloadError } from '../binding/errors';

/** A held lock; `release` may be called more than once. */
export interface Lock {
  release(): Promise<void>;
}

const pollMs = 200;
/**
 * A lock of a process on another machine cannot be probed: it counts as dead when nobody has touched it for this
 * long.
 */
const foreignStaleMs = 10 * 60_000;
const touchMs = 60_000;

/**
 * Locks of this process: a file that names our own process id and is not among them was left by a predecessor with
 * the same id.
 */
const held = new Set<string>();

/**
 * Takes an exclusive lock file, waiting while a living process holds it. A lock left by a dead process is taken over.
 * @throws AbortError when the signal fires while waiting
 */
export async function acquireLock(file: string, signal?: AbortSignal): Promise<Lock> {
  await fs.mkdir(path.dirname(file), { recursive: true });
  for (;;) {
    if (signal?.aborted) throw new AbortError('aborted while waiting for another download of the same file');
    try {
      const handle = await fs.open(file, 'wx');
      await handle.writeFile(JSON.stringify({ pid: process.pid, host: os.hostname() }));
      await handle.close();
      held.add(file);
      const touch = setInterval(() => void fs.utimes(file, new Date(), new Date()).catch(() => undefined), touchMs);
      touch.unref();
      return {
        release: async () => {
          clearInterval(touch);
          if (!held.delete(file)) return;
          await fs.rm(file, { force: true });
        },
      };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
        throw new DownloadError(`${file}: cannot be created (${(error as NodeJS.ErrnoException).code})`, {
          cause: error,
        });
      }
    }
    if (await isStale(file)) await fs.rm(file, { force: true });
    else await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

async function isStale(file: string): Promise<boolean> {
  try {
    const stat = await fs.stat(file);
    const ageMs = Date.now() - stat.mtimeMs;
    const text = await fs.readFile(file, 'utf8');
    if (text === '') return ageMs > 5000;
    const holder = JSON.parse(text) as { pid: number; host: string };
    if (holder.host !== os.hostname()) return ageMs > foreignStaleMs;
    if (holder.pid === process.pid) return !held.has(file);
    process.kill(holder.pid, 0);
    return false;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return code === 'ESRCH' || error instanceof SyntaxError;
  }
}
