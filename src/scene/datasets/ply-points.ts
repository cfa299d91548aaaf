/** Point clouds from PLY files (ascii or binary little endian): x, y, z and, where present, 8-bit red, green, blue. */
import { SceneError } from '../../binding/errors';
import { checkVertexRoom, parsePlyHeader, verticesOf } from '../gaussians/formats/ply-header';
import { readBytes } from '../json';
import type { ScenePoints } from '../scene';

const maxFileBytes = 1 << 30;
const maxPoints = 20_000_000;
/** Reads a point cloud, see `parsePointsPly`. @throws SceneError also for a missing file, or one over a gigabyte. */
export async function readPointsPly(file: string): Promise<ScenePoints> {
  return parsePointsPly(await readBytes(file, maxFileBytes), file);
}

/**
 * The point cloud in a PLY file's bytes.
 * @throws SceneError for broken, truncated or unsupported bytes, and for coordinates that are not finite. Counts are
 *   held against the number of bytes before memory is taken.
 */
export function parsePointsPly(bytes: Buffer, file: string): ScenePoints {
  const header = parsePlyHeader(bytes, file);
  const vertices = verticesOf(header, file);
  const { count, properties, stride } = vertices;
  const { bodyAt } = header;
  if (count > maxPoints) throw new SceneError(`${file}: ${count} points is over the limit of ${maxPoints}`);
  for (const name of ['x', 'y', 'z']) {
    if (!properties.some((p) => p.name === name)) {
      throw new SceneError(`${file}: the vertices have no property "${name}"`);
    }
  }
  checkVertexRoom(header, vertices, bytes.length, 'points', file);
  const find = (name: string): number => properties.findIndex((p) => p.name === name);
  const xyz = ['x', 'y', 'z'].map(find);
  const rgb = ['red', 'green', 'blue'].map(find);
  const colored = rgb.every((i) => i >= 0 && properties[i].bytes === 1);
  const positions = new Float32Array(3 * count);
  const colors = colored ? new Uint8Array(3 * count) : undefined;
  const put = (index: number, valueOf: (property: number) => number): void => {
    for (let k = 0; k < 3; k++) {
      const x = valueOf(xyz[k]);
      if (!Number.isFinite(Math.fround(x))) {
        throw new SceneError(`${file}: point ${index} has ${'xyz'[k]} = ${x}, expected a finite number`);
      }
      positions[3 * index + k] = x;
      if (colors) colors[3 * index + k] = valueOf(rgb[k]);
    }
  };
  if (header.ascii) {
    let at = bodyAt;
    for (let i = 0; i < count; i++) {
      const newline = bytes.indexOf(10, at);
      const words = bytes.toString('latin1', at, newline < 0 ? bytes.length : newline).trim().split(/\s+/);
      if (words.length < properties.length) {
        throw new SceneError(
          `${file}:${header.lines + 1 + i}: expected ${properties.length} numbers, got "${words.join(' ')}"`,
        );
      }
      put(i, (p) => Number(words[p]));
      at = newline < 0 ? bytes.length : newline + 1;
    }
  } else {
    const body = new DataView(bytes.buffer, bytes.byteOffset + bodyAt, bytes.length - bodyAt);
    for (let i = 0; i < count; i++) put(i, (p) => properties[p].read(body, i * stride + properties[p].offset));
  }
  return { count, positions, colors };
}
