/** Files below one folder, and nothing else, whatever a request's path says. */
import { constants } from 'node:fs';
import * as fs from 'node:fs/promises';
import * as path from 'node:path';

/** An open file of the folder; whoever gets it closes it. */
export interface FolderFile {
  handle: fs.FileHandle;
  size: number;
  name: string;
}

/**
 * The names that a request's path consists of, decoded once; undefined for a path that means anything but a file below
 * the folder: dot segments, separators or NUL behind an encoding, damaged encodings, hidden files, empty names.
 * @param target of the request line, `/views/after/000.png?x`
 */
export function segmentsOf(target: string): string[] | undefined {
  if (!target.startsWith('/')) return undefined;
  const segments: string[] = [];
  for (const raw of target.split('?', 1)[0].slice(1).split('/')) {
    let segment: string;
    try {
      segment = decodeURIComponent(raw);
    } catch {
      return undefined;
    }
    if (segment === '' || segment.startsWith('.') || /[/\\\0]/.test(segment) || segment.length > 255) return undefined;
    segments.push(segment);
  }
  return segments;
}

/**
 * Opens a regular file below `root`; undefined where there is none, or where it lies elsewhere behind a symbolic link.
 * What was opened is asked where it is, so that nobody can swap a link between the check and the reading.
 * @param root real path of the folder
 */
export async function openBelow(root: string, segments: readonly string[]): Promise<FolderFile | undefined> {
  let handle: fs.FileHandle;
  try {
    // A pipe without a writer would keep the open waiting.
    handle = await fs.open(path.join(root, ...segments), constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
  try {
    const info = await handle.stat();
    const place = await fs.readlink(`/proc/self/fd/${handle.fd}`);
    if (info.isFile() && place.startsWith(root === '/' ? root : `${root}/`)) return { handle, size: info.size, name: segments[segments.length - 1] };
  } catch {
    // As for a file that is not there.
  }
  await handle.close();
  return undefined;
}

/** The bytes that a Range header asks for, both ends included. */
export type ByteRange = { first: number; last: number };

/**
 * Range of a file of `size` bytes: undefined for the whole file (no header, another unit, more than one range, a damaged
 * one: all of which RFC 9110 lets a server ignore), `unsatisfiable` for one that begins behind the end.
 */
export function parseRange(header: string | undefined, size: number): ByteRange | 'unsatisfiable' | undefined {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '');
  if (!match || (match[1] === '' && match[2] === '')) return undefined;
  if (match[1] === '') {
    const length = Math.min(Number(match[2]), size);
    return length === 0 ? 'unsatisfiable' : { first: size - length, last: size - 1 };
  }
  const first = Number(match[1]);
  const last = match[2] === '' ? size - 1 : Math.min(Number(match[2]), size - 1);
  if (match[2] !== '' && Number(match[2]) < first) return undefined;
  return first >= size ? 'unsatisfiable' : { first, last };
}
