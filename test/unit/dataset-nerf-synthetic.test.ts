import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { cameraCentre, loadScene, loadView } from '../../src/scene';
import { loadNerfSynthetic } from '../../src/scene/datasets/nerf-synthetic';
import { orbitPose, temporaryFolder } from '../scene-fixtures';

const root = temporaryFolder();
let counter = 0;

/** Splits with one view per azimuth; the left half of each picture is clear, the right one half-clear red. */
async function write(splits: Record<string, number[]>): Promise<string> {
  const folder = join(root, `scene${counter++}`);
  const bytes = Buffer.alloc(8 * 8 * 4);
  for (let p = 0; p < 64; p++) if (p % 8 >= 4) bytes.set([200, 0, 0, 128], 4 * p);
  for (const [split, azimuths] of Object.entries(splits)) {
    mkdirSync(join(folder, split), { recursive: true });
    const frames = azimuths.map((azimuth, i) => ({
      file_path: `./${split}/r_${i}`, rotation: 0.01, transform_matrix: orbitPose(azimuth, 30, 4),
    }));
    writeFileSync(join(folder, `transforms_${split}.json`), JSON.stringify({ camera_angle_x: 0.6911112070083618, frames }));
    for (let i = 0; i < azimuths.length; i++) {
      await sharp(bytes, { raw: { width: 8, height: 8, channels: 4 } }).png().toFile(join(folder, split, `r_${i}.png`));
    }
  }
  return folder;
}

test('the training split is read by default, others by their file or name; pictures lie on white', async () => {
  const folder = await write({ train: [0, 40], val: [10], test: [5, 15, 25] });
  const scene = await loadScene(folder);
  expect([scene.format, scene.views.map(({ name }) => name), scene.points]).toEqual(['nerf-synthetic', ['r_0', 'r_1'], undefined]);
  const { camera, imagePath } = scene.views[1];
  expect(imagePath).toBe(join(folder, 'train/r_1.png'));
  expect([camera.width, camera.height, camera.cx, camera.cy]).toEqual([8, 8, 4, 4]);
  // The known 1111.11 pixels of the 800-pixel pictures.
  expect(camera.fx).toBeCloseTo(1111.1110311937682 / 100, 12);
  expect(camera.fy).toBe(camera.fx);
  const [a, e] = [(40 * Math.PI) / 180, Math.PI / 6];
  const centre = [4 * Math.cos(e) * Math.cos(a), 4 * Math.cos(e) * Math.sin(a), 4 * Math.sin(e)];
  cameraCentre(camera).forEach((x, i) => expect(x).toBeCloseTo(centre[i], 12));
  const { image } = await loadView(scene.views[0]);
  expect([0, 64, 128].map((plane) => image.data[plane + 1])).toEqual([1, 1, 1]);
  // 128/255 of (200, 0, 0) over white, rounded to bytes.
  [227, 127, 127].forEach((byte, c) => expect(Math.abs(image.data[64 * c + 6] * 255 - byte)).toBeLessThanOrEqual(1));
  expect((await loadScene(join(folder, 'transforms_test.json'))).views).toHaveLength(3);
  expect((await loadNerfSynthetic(folder, 'val')).views).toHaveLength(1);
});

test('a split that is not there is named with those that are', async () => {
  const folder = await write({ train: [0], test: [1] });
  await expect(loadNerfSynthetic(folder, 'val')).rejects.toThrow(/transforms_val\.json: no such file; the folder has the splits: train, test/);
  await expect(loadScene(await write({ test: [1] }))).rejects.toThrow(/no known layout; looked for .*transforms_train\.json/);
});
