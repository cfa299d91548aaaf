import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as net from 'node:net';
import * as os from 'node:os';
import * as path from 'node:path';
import yargs from 'yargs';
import type { CommandModule } from 'yargs';
import { openView } from '../../src/app/view';
import type { ViewServer } from '../../src/app/view';
import { parseRange, segmentsOf } from '../../src/app/view/folder-files';
import { reportPolicy } from '../../src/app/view/policy';
import { viewCommand } from '../../src/cli/commands/view';
import { renderPage } from '../../src/report/page';
import { writeSplats } from '../../src/scene/gaussians/formats';
import { encodeTestPly, randomCloud } from '../splat-fixtures';

let base: string;
let dir: string;
let server: ViewServer;
const report = renderPage('a report', ['<p>hello</p>']);
const data = Buffer.from(Array.from({ length: 1000 }, (_, i) => i & 255));

beforeAll(async () => {
  base = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'rl3dedit-view-')));
  dir = path.join(base, 'run');
  fs.mkdirSync(path.join(dir, 'views/after'), { recursive: true });
  fs.mkdirSync(path.join(base, 'run-secret'));
  fs.writeFileSync(path.join(base, 'secret.txt'), 'SECRET');
  fs.writeFileSync(path.join(base, 'run-secret/secret.txt'), 'SECRET');
  fs.writeFileSync(path.join(dir, 'report.html'), report);
  fs.writeFileSync(path.join(dir, 'data.bin'), data);
  fs.writeFileSync(path.join(dir, 'views/after/a b%.png'), 'picture');
  fs.writeFileSync(path.join(dir, 'empty.txt'), '');
  fs.writeFileSync(path.join(dir, 'own.html'), '<script>alert(1)</script>');
  fs.mkdirSync(path.join(dir, '.rl3dedit'));
  fs.writeFileSync(path.join(dir, '.rl3dedit/edit.json'), 'SECRET');
  fs.symlinkSync(path.join(base, 'secret.txt'), path.join(dir, 'link.txt'));
  fs.symlinkSync(base, path.join(dir, 'up'));
  fs.symlinkSync('../run-secret', path.join(dir, 'sibling'));
  fs.symlinkSync('data.bin', path.join(dir, 'inside.bin'));
  execFileSync('mkfifo', [path.join(dir, 'pipe')]);
  server = await openView({ path: dir, port: 0 });
});
afterAll(async () => {
  await server?.close();
  fs.rmSync(base, { recursive: true, force: true });
});

interface Answer {
  status: number;
  headers: Record<string, string>;
  body: Buffer;
}

/** Sends the bytes as they are: no client in between that tidies the path. */
function raw(request: string, port = server.port): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(Buffer.from(request, 'latin1')));
    const pieces: Buffer[] = [];
    socket.on('data', (piece) => pieces.push(piece));
    socket.on('error', reject);
    socket.on('close', () => {
      const all = Buffer.concat(pieces);
      const end = all.indexOf('\r\n\r\n');
      const [first, ...lines] = all.toString('latin1', 0, end).split('\r\n');
      const headers = Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)]));
      resolve({ status: Number(first.split(' ')[1]), headers, body: all.subarray(end + 4) });
    });
  });
}

function get(target: string, { method = 'GET', host = `127.0.0.1:${server.port}`, headers = '' } = {}): Promise<Answer> {
  return raw(`${method} ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n${headers}\r\n`);
}

it('listens on the loopback address alone', () => {
  expect(server.url).toBe(`http://127.0.0.1:${server.port}/`);
  const sockets = fs.readFileSync('/proc/net/tcp', 'latin1') + fs.readFileSync('/proc/net/tcp6', 'latin1');
  const port = server.port.toString(16).toUpperCase().padStart(4, '0');
  // Local addresses with our port that listen (state 0A); 0100007F is 127.0.0.1.
  const listening = [...sockets.matchAll(/^\s*\d+: ([0-9A-F]+):([0-9A-F]{4}) \S+ 0A /gm)].filter((match) => match[2] === port);
  expect(listening.map((match) => match[1])).toEqual(['0100007F']);
});

it('gives the report, files of the folder, and links within it', async () => {
  const page = await get('/');
  expect(page.status).toBe(200);
  expect(page.body.toString()).toBe(report);
  expect((await get('/?x=1')).status).toBe(200);
  expect((await get('/report.html')).body.toString()).toBe(report);
  expect((await get('/data.bin')).body.equals(data)).toBe(true);
  expect((await get('/inside.bin')).body.equals(data)).toBe(true);
  const picture = await get('/views/after/a%20b%25.png');
  expect([picture.headers['content-type'], picture.body.toString()]).toEqual(['image/png', 'picture']);
  expect((await get('/empty.txt')).body).toHaveLength(0);
});

it.each([
  '/../secret.txt', '/views/../../secret.txt', '/%2e%2e/secret.txt', '/..%2fsecret.txt', '/%2e%2e%2fsecret.txt', '/views%2f..%2f..%2fsecret.txt',
  '/..\\secret.txt', '/..%5csecret.txt', '/%252e%252e/secret.txt', '/./report.html', '//etc/passwd', '/%2fetc%2fpasswd', '/etc/passwd',
  '/report.html%00', '/report.html%00.png', '/%00', '/%', '/%ff%fe', '/%c0%ae%c0%ae/secret.txt', '/link.txt', '/up/secret.txt',
  '/sibling/secret.txt', '/.rl3dedit/edit.json', '/views', '/views/', '/views/after', '/pipe', '/data.bin/', '/data.bin/x', '/nothing',
  '/report.html;x', 'http://127.0.0.1/../secret.txt', '*', 'report.html', '/%0d%0aX-Evil:1',
  '/proc/self/environ', '/up/../data.bin', '/\u00ff', '/~root', '/data.bin%20',
])('refuses %j', async (target) => {
  const { status, body, headers } = await get(target);
  expect([400, 404]).toContain(status);
  expect(body.toString()).not.toContain('SECRET');
  expect(body.toString()).not.toContain('root:');
  expect(headers['x-evil']).toBeUndefined();
});

it('refuses names and paths that are too long', async () => {
  expect((await get(`/${'a'.repeat(300)}`)).status).toBe(400);
  expect((await get(`/${'a/'.repeat(3000)}b`)).status).toBe(404);
  expect((await get(`/${'a/'.repeat(10_000)}b`)).status).toBe(431);
});

it('keeps to the folder for thousands of random paths', () => {
  const parts = ['..', '.', '%2e', '%2E%2e', '%2f', '/', '\\', '%5c', '%00', '\0', '%', '%zz', '?', '#', ';', 'views', 'up', 'data.bin', '%25', ' ', 'ü', '~', '', ':', '//'];
  let seed = 7;
  const next = (n: number): number => (seed = (seed * 48271) % 2147483647) % n;
  for (let i = 0; i < 20_000; i++) {
    const target = `/${Array.from({ length: 1 + next(8) }, () => parts[next(parts.length)]).join(next(2) ? '/' : '')}`;
    const segments = segmentsOf(target);
    if (!segments) continue;
    const joined = path.join('/root/folder', ...segments);
    expect(joined.startsWith('/root/folder/')).toBe(true);
    expect(joined).not.toMatch(/\0/);
  }
});

it('takes GET and HEAD alone, and its own name alone', async () => {
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE']) {
    const { status, headers } = await get('/', { method });
    expect([status, headers.allow]).toEqual([405, 'GET, HEAD']);
  }
  const head = await get('/data.bin', { method: 'HEAD' });
  expect([head.status, head.headers['content-length'], head.body.length]).toEqual([200, '1000', 0]);
  expect((await get('/', { host: `localhost:${server.port}` })).status).toBe(200);
  for (const host of ['evil.example', `evil.example:${server.port}`, '127.0.0.1', `127.0.0.1.evil.example:${server.port}`, ''])
    expect((await get('/', { host })).status).toBe(421);
  expect((await raw('GET / HTTP/1.1\r\n\r\n')).status).toBe(400);
  expect((await raw('nonsense\r\n\r\n')).status).toBe(400);
});

it.each([
  ['bytes=0-0', 206, 0, 1],
  ['bytes=10-19', 206, 10, 20],
  ['bytes=990-', 206, 990, 1000],
  ['bytes=-10', 206, 990, 1000],
  ['bytes=-5000', 206, 0, 1000],
  ['bytes=999-2000', 206, 999, 1000],
  ['bytes=5-4', 200, 0, 1000],
  ['bytes=-', 200, 0, 1000],
  ['bytes=0-1,4-5', 200, 0, 1000],
  ['items=0-1', 200, 0, 1000],
  ['bytes=0x1-2', 200, 0, 1000],
])('answers the range %s', async (range, status, from, to) => {
  const answer = await get('/data.bin', { headers: `Range: ${range}\r\n` });
  expect(answer.status).toBe(status);
  expect(answer.body.equals(data.subarray(from, to))).toBe(true);
  expect(answer.headers['content-range']).toBe(status === 206 ? `bytes ${from}-${to - 1}/1000` : undefined);
});

it('refuses ranges behind the end, and gives all of it to a conditional one', async () => {
  for (const range of ['bytes=1000-', 'bytes=1000-1001', 'bytes=-0', 'bytes=999999999999999-']) {
    const { status, headers } = await get('/data.bin', { headers: `Range: ${range}\r\n` });
    expect([status, headers['content-range']]).toEqual([416, 'bytes */1000']);
  }
  expect((await get('/data.bin', { headers: 'Range: bytes=0-1\r\nIf-Range: "x"\r\n' })).status).toBe(200);
  expect(parseRange('bytes=0-', 0)).toBe('unsatisfiable');
  expect(parseRange('bytes=-1', 0)).toBe('unsatisfiable');
});

it('gives every answer a policy that lets nothing out', async () => {
  const page = await get('/');
  expect(page.headers['content-security-policy']).toMatch(/^default-src 'none'; img-src data:; style-src 'sha256-\S+'; .*sandbox allow-scripts allow-downloads$/);
  for (const target of ['/data.bin', '/nothing', '/%00', '/own.html']) {
    const { headers } = await get(target);
    expect(headers['content-security-policy']).toMatch(/^default-src 'none';.*sandbox;/);
    expect(headers['content-security-policy']).not.toMatch(/script|'self'|https?:|\*/);
    expect([headers['x-content-type-options'], headers['referrer-policy'], headers['cross-origin-resource-policy']]).toEqual(['nosniff', 'no-referrer', 'same-origin']);
    expect(headers['access-control-allow-origin']).toBeUndefined();
  }
});

it('takes over the policy of a report only where it is as strict as ours', () => {
  const meta = (policy: string): string => reportPolicy(`<meta http-equiv="Content-Security-Policy" content="${policy}">`);
  const hash = `'sha256-${'A'.repeat(43)}='`;
  expect(meta(`default-src 'none'; script-src ${hash} 'wasm-unsafe-eval'; worker-src blob:`)).toContain(hash);
  for (const policy of [
    `default-src *`, `script-src ${hash}`, `default-src 'none'; script-src 'unsafe-inline'`, `default-src 'none'; script-src https://evil.example`,
    `default-src 'none'; connect-src https:`, `default-src 'none'; script-src 'self'`, `default-src 'none'; frame-src data:`, '', `default-src 'none'; img-src http:`,
  ])
    expect(meta(policy)).not.toMatch(/script|https|\*|self/);
});

describe('what is asked to be shown', () => {
  const write = (name: string, content: Uint8Array | string): string => {
    const file = path.join(base, name);
    fs.writeFileSync(file, content);
    return file;
  };

  it.each(['ply', 'spz'])('a .%s file: a page, the viewer, the scene', async (format) => {
    const file = path.join(base, `some "scene".${format}`);
    await writeSplats(file, randomCloud(3, 20));
    const one = await openView({ path: file, port: 0 });
    try {
      expect(one.shows).toBe('splats');
      const page = await fetch(one.url);
      expect(await page.text()).toContain('some &#34;scene&#34;');
      expect(page.headers.get('content-security-policy')).toBe(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; worker-src blob:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      );
      expect((await fetch(`${one.url}viewer.js`)).headers.get('content-type')).toMatch(/javascript/);
      const scene = await fetch(`${one.url}scene.${format}`);
      expect(Buffer.from(await scene.arrayBuffer()).equals(fs.readFileSync(file))).toBe(true);
      const part = await fetch(`${one.url}scene.${format}`, { headers: { range: 'bytes=0-2' } });
      expect([part.status, (await part.arrayBuffer()).byteLength]).toEqual([206, 3]);
      for (const name of ['secret.txt', path.basename(file)]) expect((await fetch(`${one.url}${encodeURIComponent(name)}`)).status).toBe(404);
    } finally {
      await one.close();
    }
    await expect(fetch(one.url)).rejects.toThrow();
  });

  it('nothing, in words', async () => {
    await expect(openView({ path: path.join(base, 'absent'), port: 0 })).rejects.toThrow(/absent: cannot be opened \(ENOENT\)/);
    await expect(openView({ path: path.join(base, 'run-secret'), port: 0 })).rejects.toThrow(/nothing to show/);
    await expect(openView({ path: write('x.ply', 'ply\nformat'), port: 0 })).rejects.toThrow(/x\.ply/);
    fs.mkdirSync(path.join(base, 'broken'));
    for (const text of ['{', '{}', '[]', 'null', JSON.stringify({ views: [{ before: '../secret.txt', after: '../secret.txt' }], grid: {} })]) {
      write('broken/edit.json', text);
      await expect(openView({ path: path.join(base, 'broken'), port: 0 })).rejects.toMatchObject({ code: 'ERR_OUTPUT' });
    }
    await expect(openView({ path: dir, port: server.port })).rejects.toThrow(`port ${server.port} on 127.0.0.1 is in use`);
  });
});

it('the command prints the address and ends with 130 on Ctrl-C', async () => {
  const file = path.join(base, 'cli.ply');
  fs.writeFileSync(file, encodeTestPly(randomCloud(4, 5)));
  let stdout = '';
  jest.spyOn(process.stdout, 'write').mockImplementation((text) => ((stdout += String(text)), true));
  jest.spyOn(process.stderr, 'write').mockImplementation(() => true);
  try {
    process.exitCode = 0;
    const done = yargs(['view', file, '--json'])
      .parserConfiguration({ 'dot-notation': false, 'parse-numbers': false, 'parse-positional-numbers': false })
      .option('json', { type: 'boolean', default: false })
      .command(viewCommand as CommandModule)
      .parseAsync();
    while (stdout === '') await new Promise((resolve) => setTimeout(resolve, 20));
    const result = JSON.parse(stdout) as { url: string; shows: string };
    expect(result).toMatchObject({ shows: 'splats', path: file });
    expect((await fetch(result.url)).status).toBe(200);
    process.emit('SIGINT');
    await done;
    expect(process.exitCode).toBe(130);
    expect(stdout.trim().split('\n')).toHaveLength(1);
    await expect(fetch(result.url)).rejects.toThrow();
  } finally {
    process.exitCode = 0;
    jest.restoreAllMocks();
  }
});
