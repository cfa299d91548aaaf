import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import * as fs from 'node:fs/promises';

/** Hash of a file in the manner of the blob name `etag`, or undefined when the name is no hash. */
export async function blobHash(file: string, etag: string): Promise<string | undefined> {
  if (!/^([0-9a-f]{64}|[0-9a-f]{40})$/.test(etag)) return undefined;
  const hash = createHash(etag.length === 64 ? 'sha256' : 'sha1');
  if (etag.length === 40) hash.update(`blob ${await sizeOf(file)}\0`);
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** Size of a file in bytes; 0 when it is not there. */
export function sizeOf(file: string): Promise<number> {
  return fs.stat(file).then(
    (stat) => stat.size,
    () => 0,
  );
}
