import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import * as os from 'node:os';
import * as path from 'node:path';
import { AbortError, DownloadError } from '../../src/binding/errors';
import { cachedFile, hubCache, hubToken, repoFolder } from '../../src/hub/cache';
import { downloadFile } from '../../src/hub/download';
import { acquireLock } from '../../src/hub/lock-file';
import type { PublicWeights } from '../../src/hub/registry';
import { listRemote, verifyCached } from '../../src/hub/repository';

/** A hub on 127.0.0.1 whose faults the tests switch on. */
interface Faults {
  status?: number;
  /** Cut the connection after this many bytes of the next transfer. */
  cutAfter?: number;
  corrupt?: boolean;
  ignoreRange?: boolean;
  /** Send a few bytes, then nothing. */
  hang?: boolean;
}

const commit = 'c'.repeat(40);
const content = Buffer.alloc(300_000, 0).map((_, i) => (i * 7919) % 251);
const sha256 = createHash('sha256').update(content).digest('hex');
const smallText = Buffer.from('{"a":1}');
const gitSha = createHash('sha1').update(`blob ${smallText.length}\0`).update(smallText).digest('hex');

let server: http.Server;
let endpoint: string;
let faults: Faults;
let requests: { method: string; url: string; range?: string; auth?: string }[];
let cache: string;

beforeAll(async () => {
  server = http.createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  faults = {};
  requests = [];
  cache = fs.mkdtempSync(path.join(os.tmpdir(), 'rl3dedit-hub-'));
});
afterEach(() => fs.rmSync(cache, { recursive: true, force: true }));

function answer(request: http.IncomingMessage, response: http.ServerResponse): void {
  const { url = '', method = '' } = request;
  requests.push({ method, url, range: request.headers.range, auth: request.headers.authorization });
  if (faults.status !== undefined) {
    response.writeHead(faults.status).end();
    return;
  }
  if (url.startsWith('/api/')) {
    const page = url.includes('cursor');
    if (!page) response.setHeader('link', `<${endpoint}/api/models/org/net/tree/main?cursor=2>; rel="next"`);
    const entries = page
      ? [
          { type: 'file', path: 'README.md', size: 5 },
          { type: 'file', path: 'vae/model.safetensors', size: 300_000 },
        ]
      : [
          { type: 'directory', path: 'vae', size: 0 },
          { type: 'file', path: 'vae/config.json', size: 7 },
        ];
    response.end(JSON.stringify(entries));
    return;
  }
  if (url.includes('missing')) {
    response.writeHead(404).end();
    return;
  }
  const small = url.includes('config.json');
  const body = small ? smallText : content;
  response.setHeader('x-repo-commit', commit);
  if (method === 'HEAD') {
    if (small) response.writeHead(200, { etag: `"${gitSha}"`, 'content-length': body.length }).end();
    else
      response
        .writeHead(302, {
          location: `${endpoint}/cdn/blob`,
          'x-linked-etag': `"${sha256}"`,
          'x-linked-size': body.length,
        })
        .end();
    return;
  }
  const start = faults.ignoreRange ? 0 : Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
  const sent = Buffer.from(body.subarray(start));
  if (faults.corrupt) sent[sent.length - 1] ^= 1;
  response.writeHead(start > 0 ? 206 : 200, {
    'content-length': sent.length,
    ...(start > 0 ? { 'content-range': `bytes ${start}-${body.length - 1}/${body.length}` } : {}),
  });
  if (faults.hang) {
    response.write(sent.subarray(0, 1000));
    return;
  }
  if (faults.cutAfter !== undefined) {
    const cut = faults.cutAfter;
    faults.cutAfter = undefined;
    response.write(sent.subarray(0, cut), () => setTimeout(() => response.destroy(), 50));
    return;
  }
  response.end(sent);
}

const fetchFile = (extra: Partial<Parameters<typeof downloadFile>[0]> = {}): Promise<string> =>
  downloadFile({
    repo: 'org/net',
    file: 'vae/model.safetensors',
    cache,
    endpoint,
    env: {},
    token: 'secret',
    retryDelayMs: 1,
    ...extra,
  });
const gets = (): typeof requests => requests.filter((request) => request.method === 'GET');
const blobs = (): string => path.join(repoFolder(cache, 'org/net'), 'blobs');

describe('downloadFile', () => {
  it('stores the file in the Hugging Face layout', async () => {
    const steps: number[] = [];
    const file = await fetchFile({ onProgress: (done) => steps.push(done) });
    expect(file).toBe(path.join(cache, 'models--org--net', 'snapshots', commit, 'vae', 'model.safetensors'));
    expect(fs.readFileSync(file).equals(content)).toBe(true);
    expect(fs.readlinkSync(file)).toBe(path.join('..', '..', '..', 'blobs', sha256));
    expect(fs.readFileSync(path.join(cache, 'models--org--net', 'refs', 'main'), 'utf8')).toBe(commit);
    expect(fs.readdirSync(blobs())).toEqual([sha256]);
    expect(steps.at(-1)).toBe(content.length);
    expect(requests.every((request) => request.auth === 'Bearer secret')).toBe(true);
    expect(await cachedFile(cache, 'org/net', 'main', 'vae/model.safetensors')).toBe(file);
    expect(fs.readdirSync(path.join(cache, '.locks', 'models--org--net'))).toEqual([]);
  });

  it('does not fetch again what is there', async () => {
    await fetchFile();
    await fetchFile();
    expect(gets().length).toBe(1);
  });

  it('checks small files by their git hash', async () => {
    expect(fs.readFileSync(await fetchFile({ file: 'vae/config.json' }), 'utf8')).toBe('{"a":1}');
    expect(fs.readdirSync(blobs())).toEqual([gitSha]);
  });

  it('resumes after a broken connection', async () => {
    faults = { cutAfter: 100_000 };
    const file = await fetchFile();
    expect(fs.readFileSync(file).equals(content)).toBe(true);
    expect(gets().map((request) => request.range)).toEqual([undefined, 'bytes=100000-']);
  });

  it('resumes what an earlier process left, also when the server cannot', async () => {
    fs.mkdirSync(blobs(), { recursive: true });
    const partial = path.join(blobs(), `${sha256}.rl3dedit.incomplete`);
    fs.writeFileSync(partial, content.subarray(0, 1234));
    await fetchFile();
    expect(gets()[0].range).toBe('bytes=1234-');
    fs.rmSync(path.join(blobs(), sha256));
    fs.writeFileSync(partial, content.subarray(0, 99));
    faults = { ignoreRange: true };
    expect(fs.readFileSync(await fetchFile()).equals(content)).toBe(true);
  });

  it('starts anew when the beginning it resumed was damaged', async () => {
    fs.mkdirSync(blobs(), { recursive: true });
    fs.writeFileSync(path.join(blobs(), `${sha256}.rl3dedit.incomplete`), Buffer.alloc(5000, 9));
    expect(fs.readFileSync(await fetchFile()).equals(content)).toBe(true);
    expect(gets().length).toBe(2);
  });

  it('refuses damaged bytes and leaves nothing under the final name', async () => {
    faults = { corrupt: true };
    await expect(fetchFile()).rejects.toThrow(/damaged in transit/);
    expect(fs.readdirSync(blobs())).toEqual([]);
    expect(await cachedFile(cache, 'org/net', 'main', 'vae/model.safetensors')).toBeUndefined();
  });

  it('explains refusals', async () => {
    await expect(fetchFile({ file: 'missing.bin' })).rejects.toThrow(/not found.*404/);
    faults = { status: 403 };
    const licenceUrl = 'https://huggingface.co/org/net';
    await expect(fetchFile({ licenceUrl })).rejects.toThrow(
      /1\. Accept the licence at https:\/\/huggingface.co\/org\/net {2}2\. Then check that HF_TOKEN/,
    );
    faults = { status: 401 };
    await expect(fetchFile({ token: undefined, env: { HF_HOME: cache } })).rejects.toThrow(/Then set HF_TOKEN/);
    expect(requests.length).toBe(3);
    faults = { status: 503 };
    await expect(fetchFile({ attempts: 3 })).rejects.toThrow(/503/);
    expect(requests.length).toBe(6);
  });

  it('stops on abort and keeps what came', async () => {
    faults = { hang: true };
    const controller = new AbortController();
    const started = performance.now();
    const download = fetchFile({ signal: controller.signal, onProgress: () => controller.abort() });
    await expect(download).rejects.toThrow(AbortError);
    expect(performance.now() - started).toBeLessThan(1000);
    expect(fs.statSync(path.join(blobs(), `${sha256}.rl3dedit.incomplete`)).size).toBe(1000);
    expect(fs.readdirSync(path.join(cache, '.locks', 'models--org--net'))).toEqual([]);
  });

  it('fetches once for two callers at the same time', async () => {
    const [a, b] = await Promise.all([fetchFile(), fetchFile()]);
    expect(a).toBe(b);
    expect(gets().length).toBe(1);
  });

  it('keeps to the cache when offline', async () => {
    await expect(fetchFile({ env: { HF_HUB_OFFLINE: '1' } })).rejects.toThrow(/HF_HUB_OFFLINE/);
    expect(requests.length).toBe(0);
    const file = await fetchFile();
    requests = [];
    expect(await fetchFile({ env: { HF_HUB_OFFLINE: '1' } })).toBe(file);
    expect(await fetchFile({ revision: commit })).toBe(file);
    expect(requests.length).toBe(0);
  });

  it.each(['../evil', 'a/../../b', '/etc/passwd', 'a//b', 'a\\b'])('refuses the name %s', async (file) => {
    await expect(fetchFile({ file })).rejects.toThrow(DownloadError);
    expect(requests.length).toBe(0);
  });

  it('says when nobody answers', async () => {
    await expect(fetchFile({ endpoint: 'http://127.0.0.1:9', attempts: 1 })).rejects.toThrow(/cannot be fetched/);
  });
});

describe('repository', () => {
  const weights: PublicWeights = {
    name: 'net',
    repo: 'org/net',
    revision: 'main',
    what: '',
    licence: '',
    licenceUrl: 'https://x',
    gated: false,
    include: [/^vae\//],
  };

  it('lists the wanted files over all pages', async () => {
    expect(await listRemote(weights, undefined, { HF_ENDPOINT: endpoint, HF_TOKEN: 't' })).toEqual([
      { path: 'vae/config.json', bytes: 7 },
      { path: 'vae/model.safetensors', bytes: 300_000 },
    ]);
    faults = { status: 401 };
    await expect(listRemote(weights, undefined, { HF_ENDPOINT: endpoint, HF_HOME: cache })).rejects.toThrow(
      /Accept the licence at https:\/\/x/,
    );
  });

  it('finds damage in the cache', async () => {
    expect(await verifyCached(cache, 'org/net', 'main')).toBeUndefined();
    await fetchFile();
    await fetchFile({ file: 'vae/config.json' });
    const status = async (): Promise<unknown> =>
      Object.fromEntries(
        (await verifyCached(cache, 'org/net', 'main'))!.map((file) => [path.basename(file.path), file.status]),
      );
    expect(await status()).toEqual({ 'config.json': 'ok', 'model.safetensors': 'ok' });
    fs.appendFileSync(path.join(blobs(), sha256), 'x');
    fs.rmSync(path.join(blobs(), gitSha));
    expect(await status()).toEqual({ 'config.json': 'damaged', 'model.safetensors': 'damaged' });
  });
});

describe('cache', () => {
  it('follows the environment', async () => {
    expect(hubCache({ HF_HUB_CACHE: '/a', HF_HOME: '/b' })).toBe('/a');
    expect(hubCache({ HF_HOME: '/b', XDG_CACHE_HOME: '/c' })).toBe('/b/hub');
    expect(hubCache({ XDG_CACHE_HOME: '/c' })).toBe('/c/huggingface/hub');
    expect(hubCache({})).toBe(path.join(os.homedir(), '.cache', 'huggingface', 'hub'));
    fs.writeFileSync(path.join(cache, 'token'), ' abc\n');
    expect(await hubToken({ HF_HOME: cache })).toBe('abc');
    expect(await hubToken({ HF_HOME: cache, HF_TOKEN: 'first' })).toBe('first');
  });

  it('takes over the lock of a dead process and waits for a living one', async () => {
    const file = path.join(cache, 'x.lock');
    fs.writeFileSync(file, JSON.stringify({ pid: 2 ** 22 + 1, host: os.hostname() }));
    const lock = await acquireLock(file);
    const controller = new AbortController();
    const waiting = acquireLock(file, controller.signal);
    controller.abort();
    await expect(waiting).rejects.toThrow(AbortError);
    await lock.release();
    expect(fs.existsSync(file)).toBe(false);
  });
});
