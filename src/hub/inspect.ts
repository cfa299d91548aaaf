import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { RlError, SceneError, WeightsError } from '../binding/errors';
import { detectArchitecture } from './architecture';
import type { Architecture } from './architecture';
import { readSafetensorsHeader } from './safetensors-header';
import type { TensorInfo } from './safetensors-header';

/** What a file holds, found from its first bytes without loading it. */
export type Inspection =
  | {
      kind: 'safetensors';
      file: string;
      bytes: number;
      tensorCount: number;
      parameters: number;
      dtypes: Record<string, number>;
      architecture?: Architecture;
      metadata: Record<string, string>;
      tensors: Pick<TensorInfo, 'name' | 'dtype' | 'shape'>[];
    }
  | {
      kind: 'image';
      file: string;
      bytes: number;
      format: string;
      width: number;
      height: number;
      channels: number;
      tooLarge: boolean;
    }
  | {
      kind: 'nerfstudio scene';
      file: string;
      bytes: number;
      frames: number;
      missingImages: string[];
      camera: Record<string, string | number>;
    }
  | {
      kind: 'ply';
      file: string;
      bytes: number;
      format: string;
      elements: { name: string; count: number; properties: string[] }[];
      content: string;
    }
  | { kind: 'folder'; file: string; bytes: number; files: string[] };

/** Larger pictures are refused by the scene loaders. */
const maxPixels = 100_000_000;
const maxJsonBytes = 100_000_000;
const maxPlyHeaderBytes = 65_536;

/**
 * @throws WeightsError for a broken safetensors file, SceneError for a missing file, broken image, scene or ply, or a
 * file of no known kind
 */
export async function inspectFile(file: string): Promise<Inspection> {
  const stat = await fs.stat(file).catch((error: NodeJS.ErrnoException) => {
    throw new SceneError(`${file}: cannot be read (${error.code})`, { cause: error });
  });
  if (stat.isDirectory()) {
    const transforms = path.join(file, 'transforms.json');
    if (await exists(transforms)) return inspectFile(transforms);
    return { kind: 'folder', file, bytes: 0, files: (await fs.readdir(file)).sort() };
  }
  const head = await readHead(file, maxPlyHeaderBytes);
  const bytes = stat.size;
  if (file.endsWith('.safetensors')) return inspectSafetensors(file);
  if (/^ply\r?\n/.test(head.toString('latin1', 0, 8))) return inspectPly(file, bytes, head);
  if (isImage(head)) return inspectImage(file, bytes);
  if (/^\s*[{[]/.test(head.toString('utf8', 0, 64).replace(/^\uFEFF/, ''))) return inspectTransforms(file, bytes);
  // A safetensors file by content: its ninth byte opens the JSON.
  if (bytes > 8 && head[8] === 0x7b) return inspectSafetensors(file);
  throw new SceneError(
    `${file}: not a file this program knows; expected safetensors, PNG, JPEG, WebP, transforms.json or ply`,
  );
}

async function inspectSafetensors(file: string): Promise<Inspection> {
  const header = await readSafetensorsHeader(file);
  const dtypes: Record<string, number> = {};
  let parameters = 0;
  for (const tensor of header.tensors) {
    dtypes[tensor.dtype] = (dtypes[tensor.dtype] ?? 0) + 1;
    parameters += tensor.shape.reduce((product, size) => product * size, 1);
  }
  return {
    kind: 'safetensors',
    file,
    bytes: header.fileBytes,
    tensorCount: header.tensors.length,
    parameters,
    dtypes,
    architecture: detectArchitecture(header),
    metadata: header.metadata,
    tensors: header.tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
  };
}

async function inspectImage(file: string, bytes: number): Promise<Inspection> {
  // eslint-disable-next-line @typescript-eslint/no-require-imports -- sharp is slow to load
  const sharp = require('sharp') as typeof import('sharp');
  try {
    // Only the header is read here, so the pixel limit is ours to apply.
    const { format, width, height, channels } = await sharp(file, { limitInputPixels: false }).metadata();
    return { kind: 'image', file, bytes, format, width, height, channels, tooLarge: width * height > maxPixels };
  } catch (error) {
    throw new SceneError(`${file}: is no readable picture (${(error as Error).message})`, { cause: error });
  }
}

interface Transforms {
  frames?: { file_path?: unknown }[];
  [key: string]: unknown;
}

async function inspectTransforms(file: string, bytes: number): Promise<Inspection> {
  if (bytes > maxJsonBytes) throw new SceneError(`${file}: ${bytes} bytes are too many for a camera file`);
  let parsed: Transforms;
  try {
    parsed = JSON.parse(await fs.readFile(file, 'utf8')) as Transforms;
  } catch (error) {
    throw new SceneError(`${file}: is not JSON (${(error as Error).message})`, { cause: error });
  }
  if (!Array.isArray(parsed?.frames))
    throw new SceneError(`${file}: has no "frames"; expected a nerfstudio transforms.json`);
  const names = parsed.frames
    .map((frame) => frame?.file_path)
    .filter((name): name is string => typeof name === 'string');
  const missingImages: string[] = [];
  for (const name of names) if (!(await exists(path.resolve(path.dirname(file), name)))) missingImages.push(name);
  const camera: Record<string, string | number> = {};
  for (const key of ['camera_model', 'w', 'h', 'fl_x', 'fl_y', 'cx', 'cy', 'k1', 'k2', 'p1', 'p2']) {
    const value = parsed[key];
    if (typeof value === 'string' || typeof value === 'number') camera[key] = value;
  }
  return { kind: 'nerfstudio scene', file, bytes, frames: parsed.frames.length, missingImages, camera };
}

function inspectPly(file: string, bytes: number, head: Buffer): Inspection {
  const text = head.toString('latin1');
  const end = /end_header\r?\n/.exec(text);
  if (!end) throw new SceneError(`${file}: the ply header has no end_header in its first ${maxPlyHeaderBytes} bytes`);
  let format = '';
  const elements: { name: string; count: number; properties: string[] }[] = [];
  for (const line of text.slice(0, end.index).split(/\r?\n/)) {
    const [word, ...rest] = line.trim().split(/\s+/);
    if (word === 'format') format = rest[0] ?? '';
    if (word === 'element') {
      const count = Number(rest[1]);
      if (!Number.isSafeInteger(count) || count < 0)
        throw new SceneError(`${file}: element ${rest[0]} has the count ${rest[1]}`);
      elements.push({ name: rest[0], count, properties: [] });
    }
    if (word === 'property') {
      const element = elements[elements.length - 1];
      if (!element) throw new SceneError(`${file}: a property comes before any element`);
      element.properties.push(`${rest.slice(0, -1).join(' ')} ${rest[rest.length - 1]}`);
    }
  }
  if (!['ascii', 'binary_little_endian', 'binary_big_endian'].includes(format))
    throw new SceneError(`${file}: unknown ply format ${JSON.stringify(format)}`);
  const properties = new Set(
    elements.find((element) => element.name === 'vertex')?.properties.map((property) => property.split(' ').pop()),
  );
  const isSplat = ['f_dc_0', 'opacity', 'scale_0', 'rot_0'].every((name) => properties.has(name));
  const isCompressed = elements.some((element) => element.name === 'chunk') && properties.has('packed_position');
  const content = isSplat
    ? 'Gaussian splats'
    : isCompressed
      ? 'compressed Gaussian splats'
      : elements.some((element) => element.name === 'face' && element.count > 0)
        ? 'mesh'
        : 'points';
  return { kind: 'ply', file, bytes, format, elements, content };
}

function isImage(head: Buffer): boolean {
  const text = head.toString('latin1', 0, 12);
  return (
    text.startsWith('\x89PNG') ||
    text.startsWith('\xff\xd8\xff') ||
    (text.startsWith('RIFF') && text.slice(8) === 'WEBP') ||
    text.startsWith('GIF8') ||
    text.startsWith('II*\0') ||
    text.startsWith('MM\0*')
  );
}

async function readHead(file: string, bytes: number): Promise<Buffer> {
  try {
    const handle = await fs.open(file, 'r');
    try {
      const buffer = Buffer.alloc(bytes);
      const { bytesRead } = await handle.read(buffer, 0, bytes, 0);
      return buffer.subarray(0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof RlError) throw error;
    throw new WeightsError(`${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`, { cause: error });
  }
}

function exists(file: string): Promise<boolean> {
  return fs.stat(file).then(
    () => true,
    () => false,
  );
}
