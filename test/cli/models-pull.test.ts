import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import * as path from 'node:path';
import { temporaryFolder } from '../scene-fixtures';
import { main } from './run-cli';
import type { Outcome } from './run-cli';

/** `rl3dedit models pull` from its command line to the files on disk, against a hub on 127.0.0.1. */
const commit = 'a'.repeat(40);
const files: Record<string, Buffer> = {
  'config.json': Buffer.from('{}'),
  'model.safetensors': Buffer.alloc(2_000_000, 7),
  'README.md': Buffer.from('not wanted'),
};

let server: http.Server;
let endpoint: string;
let gated = false;
let slow = false;
const cache = temporaryFolder();

beforeAll(async () => {
  server = http.createServer((request, response) => {
    const url = request.url ?? '';
    if (gated) return void response.writeHead(403).end();
    if (url.startsWith('/api/models/facebook/VGGT-1B/tree/main')) {
      const entries = Object.entries(files).map(([name, data]) => ({ type: 'file', path: name, size: data.length }));
      return void response.end(JSON.stringify(entries));
    }
    const data = files[url.replace('/facebook/VGGT-1B/resolve/main/', '')];
    if (!data) return void response.writeHead(404).end();
    const etag = createHash('sha256').update(data).digest('hex');
    const start = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    response.writeHead(start > 0 ? 206 : 200, {
      etag: `"${etag}"`,
      'x-repo-commit': commit,
      'content-length': data.length - start,
      ...(start > 0 ? { 'content-range': `bytes ${start}-${data.length - 1}/${data.length}` } : {}),
    });
    if (request.method === 'HEAD') return void response.end();
    if (slow && data.length > 1000) response.write(data.subarray(start, start + 1_000_000));
    else response.end(data.subarray(start));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

function run(words: string[], interruptWhen?: () => boolean): Promise<Outcome> {
  const child = spawn(process.execPath, [main, 'models', ...words], {
    env: { PATH: process.env.PATH, HF_ENDPOINT: endpoint, HF_HOME: cache },
  });
  const outcome: Outcome = { code: null, stdout: '', stderr: '' };
  child.stdout.on('data', (data) => (outcome.stdout += data));
  child.stderr.on('data', (data) => (outcome.stderr += data));
  const watch = setInterval(() => {
    if (interruptWhen?.() !== true) return;
    clearInterval(watch);
    child.kill('SIGINT');
  }, 20);
  return new Promise((resolve) =>
    child.on('close', (code) => {
      clearInterval(watch);
      resolve({ ...outcome, code });
    }),
  );
}

const partialSize = (): number => {
  const blobs = path.join(cache, 'hub', 'models--facebook--VGGT-1B', 'blobs');
  const name = fs.existsSync(blobs) ? fs.readdirSync(blobs).find((entry) => entry.endsWith('.incomplete')) : undefined;
  return name === undefined ? 0 : fs.statSync(path.join(blobs, name)).size;
};

it('shows what would be fetched', async () => {
  const { code, stdout } = await run(['pull', 'vggt-1b', '--dry-run', '--json']);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    totalBytes: 2_000_002,
    files: [{ path: 'config.json' }, { path: 'model.safetensors' }],
  });
  expect(fs.existsSync(path.join(cache, 'hub'))).toBe(false);
});

it('stops on Ctrl-C, resumes, verifies', async () => {
  slow = true;
  const stopped = await run(['pull', 'vggt-1b'], () => partialSize() === 1_000_000);
  expect([stopped.code, stopped.stdout]).toEqual([130, '']);
  expect(stopped.stderr).toContain('rl3dedit models pull vggt-1b goes on');
  expect(partialSize()).toBe(1_000_000);
  slow = false;
  const { code, stdout, stderr } = await run(['pull', 'vggt-1b']);
  const folder = path.join(cache, 'hub', 'models--facebook--VGGT-1B', 'snapshots', commit);
  expect([code, stdout]).toEqual([0, `${folder}\n`]);
  expect(stderr).toContain('CC-BY-NC-4.0');
  expect(fs.readFileSync(path.join(folder, 'model.safetensors')).equals(files['model.safetensors'])).toBe(true);
  expect(await run(['verify', 'vggt-1b'])).toMatchObject({ code: 0 });
  fs.writeFileSync(fs.realpathSync(path.join(folder, 'config.json')), '[]');
  expect(await run(['verify', 'vggt-1b'])).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/damaged +vggt-1b +config.json/),
  });
});

it('says where to accept the licence', async () => {
  gated = true;
  const { code, stdout, stderr } = await run(['pull', 'flux-kontext-dev']);
  expect([code, stdout]).toEqual([1, '']);
  expect(stderr).toMatch(
    /Accept the licence at https:\/\/huggingface.co\/black-forest-labs\/FLUX.1-Kontext-dev .*HF_TOKEN/,
  );
});
