import * as fs from 'node:fs/promises';
import * as os from 'node:os';
import * as path from 'node:path';
import { DownloadError } from '../binding/errors';

/** The Hugging Face cache as documented for other implementations (hub/local-cache): shared with the Python tools. */

type Environment = NodeJS.ProcessEnv;

export function hfHome(env: Environment = process.env): string {
  return env.HF_HOME || path.join(env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'huggingface');
}

/** HF_HUB_CACHE > HF_HOME/hub > XDG_CACHE_HOME/huggingface/hub > ~/.cache/huggingface/hub. */
export function hubCache(env: Environment = process.env): string {
  return env.HF_HUB_CACHE || path.join(hfHome(env), 'hub');
}

export function hubEndpoint(env: Environment = process.env): string {
  return (env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '');
}

export function isOffline(env: Environment = process.env): boolean {
  return /^(1|true|yes|on)$/i.test(env.HF_HUB_OFFLINE ?? '');
}

/** HF_TOKEN, else the file that `hf auth login` writes. Never printed. */
export async function hubToken(env: Environment = process.env): Promise<string | undefined> {
  if (env.HF_TOKEN?.trim()) return env.HF_TOKEN.trim();
  const file = env.HF_TOKEN_PATH || path.join(hfHome(env), 'token');
  const text = await fs.readFile(file, 'utf8').catch(() => '');
  return text.trim() || undefined;
}

/** `models--org--name` in the cache. */
export function repoFolder(cache: string, repo: string): string {
  if (!/^[\w.-]+(\/[\w.-]+)?$/.test(repo) || repo.split('/').some((part) => /^\.+$/.test(part))) {
    throw new DownloadError(`${repo}: not a repository name; expected owner/name`);
  }
  return path.join(cache, `models--${repo.replace('/', '--')}`);
}

/** A path inside a repository as parts; refuses names that would leave the snapshot folder. */
export function safeParts(file: string): string[] {
  const parts = file.split('/');
  if (
    parts.some((part) => part === '' || part === '.' || part === '..' || part.includes('\\') || part.includes('\0'))
  ) {
    throw new DownloadError(`${JSON.stringify(file)}: not a file name inside a repository`);
  }
  return parts;
}

/** Path of a cached file, or undefined when it is not (wholly) there. */
export async function cachedFile(
  cache: string,
  repo: string,
  revision: string,
  file: string,
): Promise<string | undefined> {
  const folder = await snapshotFolder(cache, repo, revision);
  if (folder === undefined) return undefined;
  const target = path.join(folder, ...safeParts(file));
  return fs.stat(target).then(
    (stat) => (stat.isFile() ? target : undefined),
    () => undefined,
  );
}

/** Snapshot folder of a revision (branch, tag or commit), or undefined. */
export async function snapshotFolder(cache: string, repo: string, revision: string): Promise<string | undefined> {
  const base = repoFolder(cache, repo);
  const commit = isCommit(revision)
    ? revision
    : (await fs.readFile(path.join(base, 'refs', ...safeParts(revision)), 'utf8').catch(() => '')).trim();
  if (!isCommit(commit)) return undefined;
  const folder = path.join(base, 'snapshots', commit);
  return fs.stat(folder).then(
    () => folder,
    () => undefined,
  );
}

export function isCommit(text: string): boolean {
  return /^[0-9a-f]{40}$/.test(text);
}
