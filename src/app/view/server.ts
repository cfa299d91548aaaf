/** A server for one reader on this machine: a few pages in memory and the files of one folder, read-only. */
import * as fs from 'node:fs/promises';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import * as path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { EnvironmentError } from '../../binding/errors';
import { openBelow, parseRange, segmentsOf } from './folder-files';
import type { FolderFile } from './folder-files';
import { filePolicy, policyBytes, reportPolicy } from './policy';

/** What the server gives under a name of its own: bytes, or a file wherever it lies. */
export interface Resource {
  type: string;
  content: Uint8Array | { file: string };
  policy: string;
}

export interface ServedContent {
  /** By the name after the slash; '' is the page that the address opens, where it is no file of the folder. */
  resources: ReadonlyMap<string, Resource>;
  /** Real path of the folder whose files are given besides. */
  folder?: string;
  /** Name of the folder's file that the address opens. */
  index?: string;
}

export interface LocalServer {
  url: string;
  port: number;
  close(): Promise<void>;
}

const types: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.json': 'application/json',
  '.jsonl': 'application/x-ndjson',
  '.yaml': 'text/plain; charset=utf-8',
  '.md': 'text/plain; charset=utf-8',
  '.txt': 'text/plain; charset=utf-8',
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
  '.webp': 'image/webp',
};

/** Listens on 127.0.0.1 only. @throws EnvironmentError for a port that cannot be had */
export async function startServer(content: ServedContent, port: number): Promise<LocalServer> {
  const server = http.createServer((request, response) => {
    answer(content, request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const reason = error.code === 'EADDRINUSE' ? 'is in use' : `cannot be had (${error.code ?? error.message})`;
      reject(new EnvironmentError(`port ${port} on 127.0.0.1 ${reason}; choose another --port, or 0 for any free one`, { cause: error }));
    });
    server.listen(port, '127.0.0.1', resolve);
  });
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `http://127.0.0.1:${bound}/`,
    port: bound,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(content: ServedContent, request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
  response.setHeader('X-Content-Type-Options', 'nosniff');
  response.setHeader('Referrer-Policy', 'no-referrer');
  response.setHeader('Cache-Control', 'no-store');
  response.setHeader('Cross-Origin-Resource-Policy', 'same-origin');
  response.setHeader('Content-Security-Policy', filePolicy);
  // A name that resolves to 127.0.0.1 would make this server part of a stranger's site.
  const { port } = request.socket.address() as AddressInfo;
  const host = request.headers.host;
  if (host !== `127.0.0.1:${port}` && host !== `localhost:${port}`) return refuse(response, 421, 'another host');
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('Allow', 'GET, HEAD');
    return refuse(response, 405, 'only GET and HEAD');
  }
  const target = request.url ?? '';
  const segments = target === '/' || target.startsWith('/?') ? [content.index ?? ''] : segmentsOf(target);
  if (!segments) return refuse(response, 400, 'not a path of this server');
  const resource = segments.length === 1 ? content.resources.get(segments[0]) : undefined;
  if (resource) {
    response.setHeader('Content-Type', resource.type);
    response.setHeader('Content-Security-Policy', resource.policy);
    if (resource.content instanceof Uint8Array) return sendBytes(request, response, resource.content);
  }
  const file = await openFile(content, segments, resource);
  if (!file) return refuse(response, 404, 'no such file');
  try {
    if (!resource) await describeFile(response, file);
    await sendFile(request, response, file);
  } finally {
    await file.handle.close();
  }
}

async function openFile({ folder }: ServedContent, segments: string[], resource: Resource | undefined): Promise<FolderFile | undefined> {
  if (!resource) return folder === undefined || segments[0] === '' ? undefined : openBelow(folder, segments);
  if (resource.content instanceof Uint8Array) return undefined;
  const handle = await fs.open(resource.content.file).catch(() => undefined);
  return handle && { handle, size: (await handle.stat()).size, name: segments[0] };
}

/** Type and policy of a file of the folder. */
async function describeFile(response: http.ServerResponse, { handle, size, name }: FolderFile): Promise<void> {
  const ending = path.extname(name).toLowerCase();
  response.setHeader('Content-Type', types[ending] ?? 'application/octet-stream');
  if (types[ending] === undefined) response.setHeader('Content-Disposition', 'attachment');
  if (ending !== '.html') return;
  const head = Buffer.alloc(Math.min(size, policyBytes));
  await handle.read(head, 0, head.length, 0);
  response.setHeader('Content-Security-Policy', reportPolicy(head.toString('utf8')));
}

function refuse(response: http.ServerResponse, status: number, reason: string): void {
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8' }).end(`${reason}\n`);
}

/** Writes the head of an answer of `size` bytes and returns the bytes to send; undefined when none are. */
function begin(request: http.IncomingMessage, response: http.ServerResponse, size: number): { first: number; last: number } | undefined {
  response.setHeader('Accept-Ranges', 'bytes');
  // Without a validator nothing can be said to be still the same file, so a conditional range gets the whole.
  const range = request.headers['if-range'] === undefined ? parseRange(request.headers.range, size) : undefined;
  if (range === 'unsatisfiable') {
    response.setHeader('Content-Range', `bytes */${size}`);
    refuse(response, 416, 'range behind the end');
    return undefined;
  }
  const { first, last } = range ?? { first: 0, last: size - 1 };
  if (range) response.setHeader('Content-Range', `bytes ${first}-${last}/${size}`);
  response.writeHead(range ? 206 : 200, { 'Content-Length': last - first + 1 });
  if (request.method === 'HEAD' || size === 0) {
    response.end();
    return undefined;
  }
  return { first, last };
}

function sendBytes(request: http.IncomingMessage, response: http.ServerResponse, body: Uint8Array): void {
  const range = begin(request, response, body.length);
  if (range) response.end(body.subarray(range.first, range.last + 1));
}

async function sendFile(request: http.IncomingMessage, response: http.ServerResponse, { handle, size }: FolderFile): Promise<void> {
  const range = begin(request, response, size);
  // A file that shrinks meanwhile breaks the connection, as its length was promised.
  if (range) await pipeline(handle.createReadStream({ start: range.first, end: range.last, autoClose: false }), response);
}
