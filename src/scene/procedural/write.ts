/** Writes a procedural scene as a nerfstudio folder that any loader of the format reads, with exact truth beside it. */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { OutputError } from '../../binding/errors';
import { cameraCentre, type ProceduralCamera } from './cameras';
import { objectName, type ProceduralScene } from './world';
import { farDepth, renderViews, type Raycast, type RenderSize } from './render';

const viewName = (i: number): string => String(i).padStart(3, '0');

/** 4x4 world-from-camera in OpenGL axes (x right, y up, z back), as nerfstudio stores poses. */
export function nerfstudioPose(camera: ProceduralCamera): number[][] {
  const m = camera.worldToCam;
  const centre = cameraCentre(camera);
  const rows = [0, 1, 2].map((k) => [m[k], -m[4 + k], -m[8 + k], centre[k]]);
  return [...rows, [0, 0, 0, 1]];
}

/** [H, W] float image as PFM: little endian, bottom row first. */
export function encodePfm(image: Float32Array, width: number, height: number): Buffer {
  const header = Buffer.from(`Pf\n${width} ${height}\n-1.0\n`, 'latin1');
  const body = Buffer.alloc(4 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) body.writeFloatLE(image[(height - 1 - y) * width + x], 4 * (y * width + x));
  }
  return Buffer.concat([header, body]);
}

/** rgb [3, H, W] in [0, 1] to an 8-bit PNG, rounded to nearest. */
async function encodePng(rgb: Float32Array, width: number, height: number): Promise<Buffer> {
  const plane = width * height;
  const bytes = Buffer.alloc(3 * plane);
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) bytes[3 * i + c] = Math.floor(rgb[c * plane + i] * 255 + 0.5);
  }
  return sharp(bytes, { raw: { width, height, channels: 3 } }).png().toBuffer();
}

async function encodeIds(ids: Int32Array, width: number, height: number): Promise<Buffer> {
  const raw = { width, height, channels: 1 as const };
  return sharp(Buffer.from(Uint8Array.from(ids)), { raw }).toColourspace('b-w').png().toBuffer();
}

async function emptyFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    const present = await readdir(folder);
    if (present.length > 0) throw new OutputError(`${folder} is not empty; choose a new folder for the scene`);
    for (const name of ['images', 'depth', 'ids']) await mkdir(join(folder, name));
  } catch (error) {
    if (error instanceof OutputError) throw error;
    throw new OutputError(`cannot write a scene to ${folder}: ${(error as Error).message}`, { cause: error });
  }
}

/**
 * Writes transforms.json, images/NNN.png, depth/NNN.pfm (z-depth, metres), ids/NNN.png (0 sky, 1 floor, 2 + i object i)
 * and scene.json (the whole description). The arc views come first, then the held-out ones, listed as
 * `train_filenames` and `test_filenames`. Throws OutputError when the folder is not empty or cannot be written.
 */
export async function writeScene(
  scene: ProceduralScene,
  folder: string,
  size: RenderSize,
  raycast: Raycast,
): Promise<void> {
  const { width, height } = size;
  const pixels = width * height;
  const cameras = [...scene.cameras.views, ...scene.cameras.heldOut];
  const { rgb, depth, ids } = renderViews(scene, cameras, size, raycast);
  await emptyFolder(folder);
  const files = cameras.map((_, i) => `images/${viewName(i)}.png`);
  const frames = cameras.map((camera, i) => ({
    file_path: files[i],
    fl_x: camera.fx * width,
    fl_y: camera.fy * width,
    cx: camera.cx * width,
    cy: camera.cy * height,
    transform_matrix: nerfstudioPose(camera),
  }));
  const split = scene.cameras.views.length;
  const transforms = {
    camera_model: 'OPENCV',
    w: width,
    h: height,
    frames,
    train_filenames: files.slice(0, split),
    test_filenames: files.slice(split),
  };
  const objects = scene.objects.map((object) => ({ name: objectName(object), ...object }));
  try {
    for (let i = 0; i < cameras.length; i++) {
      const [from, to] = [i * pixels, (i + 1) * pixels];
      const png = await encodePng(rgb.subarray(3 * from, 3 * to), width, height);
      await writeFile(join(folder, files[i]), png);
      await writeFile(join(folder, `depth/${viewName(i)}.pfm`), encodePfm(depth.subarray(from, to), width, height));
      await writeFile(join(folder, `ids/${viewName(i)}.png`), await encodeIds(ids.subarray(from, to), width, height));
    }
    await writeFile(join(folder, 'scene.json'), `${JSON.stringify({ farDepth, ...scene, objects }, null, 1)}\n`);
    // Last: a folder with transforms.json is a complete scene.
    await writeFile(join(folder, 'transforms.json'), `${JSON.stringify(transforms, null, 1)}\n`);
  } catch (error) {
    throw new OutputError(`cannot write a scene to ${folder}: ${(error as Error).message}`, { cause: error });
  }
}
