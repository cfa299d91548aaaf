/** Datasets in nerfstudio's layout: `transforms.json`, `images/` and `sparse_pc.ply`. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Camera, openGlFromWorldToCam } from '../cameras';
import type { ScenePoints } from '../scene';
import { transformsFileName } from './nerfstudio';
import { type Dataset, datasetFileNames, writeFolder, writeImages, type WriteDatasetOptions } from './write-folder';

const pointsFileName = 'sparse_pc.ply';

/** Points as binary little-endian PLY: float x, y, z and, where there are colours, uchar red, green, blue. */
export function encodePointsPly({ count, positions, colors }: ScenePoints): Buffer {
  const rgb = colors ? ['red', 'green', 'blue'].map((name) => `property uchar ${name}`) : [];
  const header = [
    'ply', 'format binary_little_endian 1.0', `element vertex ${count}`,
    ...['x', 'y', 'z'].map((name) => `property float ${name}`), ...rgb, 'end_header', '',
  ].join('\n');
  const stride = colors ? 15 : 12;
  const body = Buffer.alloc(count * stride);
  for (let i = 0; i < count; i++) {
    for (let k = 0; k < 3; k++) {
      body.writeFloatLE(positions[3 * i + k], i * stride + 4 * k);
      if (colors) body[i * stride + 12 + k] = colors[3 * i + k];
    }
  }
  return Buffer.concat([Buffer.from(header, 'latin1'), body]);
}

function intrinsicsOf({ width, height, fx, fy, cx, cy }: Camera): Record<string, number> {
  return { w: width, h: height, fl_x: fx, fl_y: fy, cx, cy, k1: 0, k2: 0, p1: 0, p2: 0 };
}

/**
 * Writes views and points as a nerfstudio dataset: pinhole cameras (OPENCV with zero distortion; intrinsics stand at
 * the top of the file where all views share them), 8-bit PNG images, OpenGL camera-to-world poses in the scene's own
 * frame. The folder appears whole or not at all.
 * @throws OutputError when the folder is not empty or cannot be written, SceneError, ShapeError, AbortError.
 */
export async function writeNerfstudio(
  folder: string, dataset: Dataset, options: WriteDatasetOptions = {},
): Promise<void> {
  const { views, points } = dataset;
  const names = datasetFileNames(dataset);
  const all = views.map(({ camera }) => intrinsicsOf(camera));
  const shared = all.every((values) => JSON.stringify(values) === JSON.stringify(all[0]));
  const frames = views.map(({ camera }, i) => {
    const m = Array.from(openGlFromWorldToCam(camera.worldToCam));
    const rows = [0, 4, 8, 12].map((at) => m.slice(at, at + 4));
    return { file_path: `images/${names[i]}`, ...(shared ? {} : all[i]), transform_matrix: rows };
  });
  const json = {
    camera_model: 'OPENCV', ...(shared ? all[0] : {}), ...(points ? { ply_file_path: pointsFileName } : {}), frames,
  };
  await writeFolder(folder, async (root) => {
    await writeImages(join(root, 'images'), views, names, options.signal);
    if (points) await writeFile(join(root, pointsFileName), encodePointsPly(points));
    await writeFile(join(root, transformsFileName), `${JSON.stringify(json, null, 1)}\n`);
  });
}
