import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { AbortError, DownloadError, RlError } from '../binding/errors';
import { hubCache, hubEndpoint, hubToken, isCommit, isOffline, cachedFile, repoFolder, safeParts } from './cache';
import { blobHash, sizeOf } from './blob-hash';
import { acquireLock } from './lock-file';

/**
 * Fetches one file of a repository into the Hugging Face cache: metadata, then the bytes with resume, then the hash,
 * then the final name. What lies under a final name is always whole and checked.
 */

export interface DownloadOptions {
  repo: string;
  file: string;
  revision?: string;
  cache?: string;
  endpoint?: string;
  token?: string;
  env?: NodeJS.ProcessEnv;
  signal?: AbortSignal;
  licenceUrl?: string;
  /** Called with the bytes on disk and the whole size. */
  onProgress?: (doneBytes: number, totalBytes: number) => void;
  /** Attempts on broken connections and busy servers, the first included. */
  attempts?: number;
  /** Pause before the second attempt; doubles after each. */
  retryDelayMs?: number;
}

interface Remote {
  url: string;
  /** Name of the blob: sha256 for large files, git's sha1 for small ones, or an opaque validator of another server. */
  etag: string;
  size: number;
  commit: string;
}

class RetryableError extends DownloadError {}

/**
 * @returns path of the file in the snapshot folder
 * @throws DownloadError (with what to do) for refused, missing, damaged or unreachable files; AbortError when the
 * signal fires
 */
export async function downloadFile(options: DownloadOptions): Promise<string> {
  const env = options.env ?? process.env;
  const cache = options.cache ?? hubCache(env);
  const revision = options.revision ?? 'main';
  const parts = safeParts(options.file);
  const base = repoFolder(cache, options.repo);
  const name = `${options.repo}/${options.file}`;
  if (isCommit(revision) || isOffline(env)) {
    const cached = await cachedFile(cache, options.repo, revision, options.file);
    if (cached !== undefined) return cached;
    if (isOffline(env)) {
      throw new DownloadError(
        `${name}: not in the cache ${cache}, and HF_HUB_OFFLINE forbids the network; unset it or copy the file there`,
      );
    }
  }
  const token = options.token ?? (await hubToken(env));
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const place = [encodeURIComponent(revision), ...parts.map(encodeURIComponent)].join('/');
  const url = `${options.endpoint ?? hubEndpoint(env)}/${options.repo}/resolve/${place}`;
  const context: Context = {
    options,
    name,
    headers,
    attempts: options.attempts ?? 5,
    delayMs: options.retryDelayMs ?? 1000,
  };

  const remote = await retried(context, () => describeRemote(context, url, revision));
  const blob = path.join(base, 'blobs', remote.etag);
  const lock = await acquireLock(
    path.join(cache, '.locks', path.basename(base), `${remote.etag}.rl3dedit.lock`),
    options.signal,
  );
  try {
    const present = await fs.stat(blob).then(
      (stat) => stat.size === remote.size,
      () => false,
    );
    if (!present) await fetchBlob(context, remote, blob);
    options.onProgress?.(remote.size, remote.size);
    return await link(base, remote, revision, parts, blob);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (error instanceof RlError || code === undefined) throw error;
    throw new DownloadError(`${name}: cannot be stored in ${cache} (${code}); free space or set HF_HUB_CACHE`, {
      cause: error,
    });
  } finally {
    await lock.release();
  }
}

interface Context {
  options: DownloadOptions;
  name: string;
  headers: Record<string, string>;
  attempts: number;
  delayMs: number;
}

async function describeRemote(context: Context, url: string, revision: string): Promise<Remote> {
  let at = url;
  // Redirects within the host (renamed repositories) are followed by hand: the answer of the hub itself carries the
  // blob's name and size, the storage host behind the last redirect does not.
  for (let hops = 0; hops < 5; hops++) {
    const response = await request(context, at, {
      method: 'HEAD',
      redirect: 'manual',
      headers: { ...context.headers, 'accept-encoding': 'identity' },
    });
    const location = response.headers.get('location');
    const linked = response.headers.get('x-linked-etag');
    if (response.status >= 300 && response.status < 400 && location !== null && linked === null) {
      const next = new URL(location, at);
      if (next.host !== new URL(at).host) break;
      at = next.href;
      continue;
    }
    if (response.status >= 400) throw refusal(context, response);
    const etag = (linked ?? response.headers.get('etag') ?? '').replace(/^W\//, '').replace(/"/g, '');
    const size = Number(response.headers.get('x-linked-size') ?? response.headers.get('content-length') ?? Number.NaN);
    if (!/^[\w.-]+$/.test(etag) || /^\.+$/.test(etag) || !Number.isSafeInteger(size) || size < 0) {
      throw new DownloadError(
        `${context.name}: ${new URL(at).host} gave no etag and size; is HF_ENDPOINT a Hugging Face hub?`,
      );
    }
    const commit = response.headers.get('x-repo-commit') ?? (isCommit(revision) ? revision : '');
    if (!isCommit(commit)) throw new DownloadError(`${context.name}: ${new URL(at).host} did not name the commit`);
    return { url: at, etag, size, commit };
  }
  throw new DownloadError(`${context.name}: redirected in circles or to another host without metadata`);
}

async function fetchBlob(context: Context, remote: Remote, blob: string): Promise<void> {
  await fs.mkdir(path.dirname(blob), { recursive: true });
  const partial = `${blob}.rl3dedit.incomplete`;
  await checkSpace(context.name, path.dirname(blob), remote.size - (await sizeOf(partial)));
  let resumed = (await sizeOf(partial)) > 0;
  for (;;) {
    await retried(context, () => fetchBytes(context, remote, partial));
    const wrong = await hashMismatch(partial, remote);
    if (wrong === undefined) break;
    await fs.rm(partial, { force: true });
    // A damaged beginning from an earlier attempt deserves one clean start; damage in a fresh download does not.
    if (!resumed)
      throw new DownloadError(
        `${context.name}: damaged in transit (${wrong}); the partial file was removed, try again`,
      );
    resumed = false;
  }
  await fs.rename(partial, blob);
}

async function fetchBytes(context: Context, remote: Remote, partial: string): Promise<void> {
  let offset = await sizeOf(partial);
  if (offset > remote.size) {
    await fs.rm(partial, { force: true });
    offset = 0;
  }
  if (offset === remote.size && offset > 0) return;
  const headers: Record<string, string> = { ...context.headers, 'accept-encoding': 'identity' };
  if (offset > 0) headers.range = `bytes=${offset}-`;
  const response = await request(context, remote.url, { headers });
  if (response.status >= 400) {
    if (response.status === 416) await fs.rm(partial, { force: true });
    throw response.status === 416
      ? new RetryableError(`${context.name}: the server refused to resume`)
      : refusal(context, response);
  }
  const range = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '');
  if (response.status !== 206 || Number(range?.[1]) !== offset) {
    if (response.status === 206)
      throw new DownloadError(
        `${context.name}: asked for bytes from ${offset}, got ${response.headers.get('content-range')}`,
      );
    offset = 0;
  }
  const handle = await fs.open(partial, offset > 0 ? 'r+' : 'w');
  try {
    let position = offset;
    for await (const chunk of response.body ?? []) {
      if (position + chunk.length > remote.size)
        throw new DownloadError(`${context.name}: the server sent more than ${remote.size} bytes`);
      await writeAll(handle, chunk as Uint8Array, position);
      position += chunk.length;
      context.options.onProgress?.(position, remote.size);
    }
    if (position !== remote.size)
      throw new RetryableError(`${context.name}: the connection ended at byte ${position} of ${remote.size}`);
    await handle.sync();
  } catch (error) {
    throw connectionError(context, error);
  } finally {
    await handle.close();
  }
}

async function writeAll(handle: fs.FileHandle, data: Uint8Array, position: number): Promise<void> {
  let written = 0;
  while (written < data.length) {
    written += (await handle.write(data, written, data.length - written, position + written)).bytesWritten;
  }
}

/**
 * Large files are named by their sha256, small ones by git's sha1 of `blob <size>\0<bytes>`. Other names cannot be
 * checked.
 */
async function hashMismatch(file: string, remote: Remote): Promise<string | undefined> {
  const size = await sizeOf(file);
  if (size !== remote.size) return `${size} bytes instead of ${remote.size}`;
  const actual = await blobHash(file, remote.etag);
  return actual === undefined || actual === remote.etag ? undefined : `hash ${actual} instead of ${remote.etag}`;
}

async function link(base: string, remote: Remote, revision: string, parts: string[], blob: string): Promise<string> {
  const target = path.join(base, 'snapshots', remote.commit, ...parts);
  await fs.mkdir(path.dirname(target), { recursive: true });
  const temporary = `${target}.${process.pid}.tmp`;
  await fs.rm(temporary, { force: true });
  try {
    await fs.symlink(path.relative(path.dirname(target), blob), temporary);
  } catch {
    // File systems without symbolic links get a copy, as in the Python client.
    await fs.copyFile(blob, temporary);
  }
  await fs.rename(temporary, target);
  if (!isCommit(revision)) {
    const ref = path.join(base, 'refs', ...safeParts(revision));
    await fs.mkdir(path.dirname(ref), { recursive: true });
    await fs.writeFile(`${ref}.${process.pid}.tmp`, remote.commit);
    await fs.rename(`${ref}.${process.pid}.tmp`, ref);
  }
  return target;
}

async function retried<T>(context: Context, action: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof RetryableError) || attempt >= context.attempts) throw error;
      await pause(context.delayMs * 2 ** (attempt - 1), context.options.signal);
    }
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      clearTimeout(timer);
      reject(new AbortError('download aborted; what was fetched is kept and the next pull resumes'));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, ms);
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, { once: true });
  });
}

async function request(context: Context, url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, { ...init, signal: context.options.signal });
  } catch (error) {
    throw connectionError(context, error);
  }
}

function connectionError(context: Context, error: unknown): unknown {
  if (context.options.signal?.aborted) {
    return new AbortError(`${context.name}: aborted; what was fetched is kept and the next pull resumes`, {
      cause: error,
    });
  }
  const code = (error as NodeJS.ErrnoException).code;
  if (error instanceof RlError || code === 'ENOSPC' || code === 'EACCES' || code === 'EROFS') return error;
  const cause = (error as Error).cause as Error | undefined;
  return new RetryableError(
    `${context.name}: cannot be fetched (${cause?.message || (error as Error).message}); ` +
      'check the network or HF_ENDPOINT',
    {
      cause: error,
    },
  );
}

function refusal(context: Context, response: Response): DownloadError {
  const { status } = response;
  if (status === 401 || status === 403) {
    const page = context.options.licenceUrl ?? `https://huggingface.co/${context.options.repo}`;
    const step =
      context.headers.authorization === undefined
        ? 'set HF_TOKEN to a read token (https://huggingface.co/settings/tokens)'
        : 'check that HF_TOKEN belongs to that account and may read gated repositories';
    return new DownloadError(
      `${context.name}: access refused (${status}). 1. Accept the licence at ${page}  2. Then ${step}`,
    );
  }
  if (status === 404)
    return new DownloadError(`${context.name}: not found at revision ${context.options.revision ?? 'main'} (404)`);
  const message = `${context.name}: the server answered ${status}`;
  return status === 408 || status === 429 || status >= 500 ? new RetryableError(message) : new DownloadError(message);
}

async function checkSpace(name: string, folder: string, needed: number): Promise<void> {
  const stat = await fs.statfs(folder).catch(() => undefined);
  if (stat && stat.bavail * stat.bsize < needed) {
    throw new DownloadError(
      `${name}: needs ${needed} more bytes, ${folder} has ${stat.bavail * stat.bsize} free; ` +
        'free space or set HF_HUB_CACHE',
    );
  }
}
