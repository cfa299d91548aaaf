import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { DownloadError } from '../binding/errors';
import { hubEndpoint, hubToken, isOffline, repoFolder, snapshotFolder } from './cache';
import { blobHash } from './blob-hash';
import type { PublicWeights } from './registry';

export interface RemoteFile {
  path: string;
  bytes: number;
}

/**
 * Files of a known repository that this project uses, from the hub's tree listing.
 * @throws DownloadError when the listing is refused or unreachable
 */
export async function listRemote(
  weights: PublicWeights,
  signal?: AbortSignal,
  env: NodeJS.ProcessEnv = process.env,
): Promise<RemoteFile[]> {
  if (isOffline(env)) throw new DownloadError(`${weights.repo}: HF_HUB_OFFLINE forbids the network; unset it to pull`);
  const token = await hubToken(env);
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const endpoint = hubEndpoint(env);
  const files: RemoteFile[] = [];
  let url: string | undefined =
    `${endpoint}/api/models/${weights.repo}/tree/${encodeURIComponent(weights.revision)}?recursive=true`;
  while (url !== undefined) {
    let response: Response;
    try {
      response = await fetch(url, { headers, signal });
    } catch (error) {
      if (signal?.aborted) throw error;
      const cause = (error as Error).cause as Error | undefined;
      throw new DownloadError(
        `${weights.repo}: cannot be listed (${cause?.message || (error as Error).message}); ` +
          'check the network or HF_ENDPOINT',
        { cause: error },
      );
    }
    if (response.status === 401 || response.status === 403) {
      throw new DownloadError(
        `${weights.repo}: access refused (${response.status}). 1. Accept the licence at ${weights.licenceUrl}  ` +
          '2. Then set HF_TOKEN to a read token (https://huggingface.co/settings/tokens)',
      );
    }
    if (!response.ok)
      throw new DownloadError(`${weights.repo}: cannot be listed (the server answered ${response.status})`);
    const entries = (await response.json().catch(() => undefined)) as
      { type?: unknown; path?: unknown; size?: unknown }[] | undefined;
    if (!Array.isArray(entries))
      throw new DownloadError(
        `${weights.repo}: ${endpoint} did not answer with a file list; is HF_ENDPOINT a Hugging Face hub?`,
      );
    for (const entry of entries) {
      if (entry.type !== 'file' || typeof entry.path !== 'string') continue;
      const file = entry.path;
      if (weights.include.some((pattern) => pattern.test(file)))
        files.push({ path: file, bytes: Number(entry.size) || 0 });
    }
    const next = /<([^>]+)>;\s*rel="next"/.exec(response.headers.get('link') ?? '')?.[1];
    url =
      next === undefined || new URL(next, endpoint).host !== new URL(endpoint).host
        ? undefined
        : new URL(next, endpoint).href;
  }
  if (files.length === 0)
    throw new DownloadError(`${weights.repo}: holds none of the expected files at revision ${weights.revision}`);
  return files;
}

export interface VerifiedFile {
  path: string;
  bytes: number;
  /** `unchecked`: the cache names the file by something that is no hash. */
  status: 'ok' | 'damaged' | 'unchecked';
}

/** Hashes every cached file of a repository again. Returns undefined when nothing is cached. */
export async function verifyCached(
  cache: string,
  repo: string,
  revision: string,
  signal?: AbortSignal,
): Promise<VerifiedFile[] | undefined> {
  const folder = await snapshotFolder(cache, repo, revision);
  if (folder === undefined) return undefined;
  const blobs = await fs.realpath(path.join(repoFolder(cache, repo), 'blobs')).catch(() => '');
  const results: VerifiedFile[] = [];
  for (const entry of await fs.readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isDirectory()) continue;
    signal?.throwIfAborted();
    const file = path.join(entry.parentPath, entry.name);
    const name = path.relative(folder, file);
    const real = await fs.realpath(file).catch(() => undefined);
    if (real === undefined) {
      results.push({ path: name, bytes: 0, status: 'damaged' });
      continue;
    }
    const etag = path.dirname(real) === blobs ? path.basename(real) : '';
    const hash = await blobHash(real, etag);
    const status = hash === undefined ? 'unchecked' : hash === etag ? 'ok' : 'damaged';
    results.push({ path: name, bytes: (await fs.stat(real)).size, status });
  }
  return results;
}
