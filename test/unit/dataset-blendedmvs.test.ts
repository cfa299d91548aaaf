import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { SceneError } from '../../src/binding/errors';
import { loadScene, loadView, project } from '../../src/scene';
import { parseBlendedCamera } from '../../src/scene/datasets/blendedmvs';
import { patternBytes, temporaryFolder } from '../scene-fixtures';

const root = temporaryFolder();
let counter = 0;
/** A camera at (1, 2, 3) that looks along +x, as the data set writes it. */
const cam = [
  'extrinsic', '0 0 -1 3', '0 1 0 -2', '1 0 0 -1', '0.0 0.0 0.0 1.0', '',
  'intrinsic', '50 0 20.5', '0 51 15.5', '0 0 1', '', '0.4 0.0025 128 0.7', '',
].join('\n');

async function write(images: string, names = ['00000000', '00000012'], ending = 'jpg'): Promise<string> {
  const folder = join(root, `scene${counter++}`);
  mkdirSync(join(folder, images), { recursive: true });
  mkdirSync(join(folder, 'cams'));
  const raw = { width: 40, height: 32, channels: 3 } as const;
  for (const name of names) {
    writeFileSync(join(folder, 'cams', `${name}_cam.txt`), cam);
    for (const file of [`${name}.${ending}`, `${name}_masked.${ending}`]) {
      await sharp(patternBytes(40, 32), { raw }).toFile(join(folder, images, file));
    }
  }
  writeFileSync(join(folder, 'cams/pair.txt'), '2\n0\n1 12 99.5\n12\n1 0 99.5\n');
  return folder;
}

test.each([['blended_images', 'jpg'], ['images', 'png'], ['.', 'jpg']])('images in %s', async (images, ending) => {
  const scene = await loadScene(await write(images, undefined, ending));
  expect([scene.format, scene.points, scene.warnings]).toEqual(['blendedmvs', undefined, []]);
  expect(scene.views.map(({ name }) => name)).toEqual(['00000000', '00000012']);
  const { camera, photograph } = scene.views[1];
  expect(photograph).toBeUndefined();
  expect([camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy]).toEqual([40, 32, 50, 51, 20.5, 15.5]);
  // The camera stands at (1, 2, 3): a point four ahead, one below and one to its right (towards -z).
  expect(project(camera, [5, 3, 2])).toEqual({ u: 20.5 + 50 / 4, v: 15.5 + 51 / 4, z: 4 });
  expect((await loadView(scene.views[0])).image.height).toBe(32);
});

test.each([[''], ['0.4 0.0025'], ['-1 0'], ['0.4 0.0025 128 0.7'], ['nan']])('the depth line may be "%s"', (depths) => {
  const text = cam.replace('0.4 0.0025 128 0.7', depths);
  expect(parseBlendedCamera(text, 'x')).toEqual(parseBlendedCamera(cam.replaceAll('\n', '\r\n'), 'x'));
});

test.each([
  [cam.replace('extrinsic', 'pose'), /x: expected the word "extrinsic", got "pose"/],
  [cam.replace('3\n', 'three\n'), /x: expected 16 numbers after "extrinsic"/],
  [cam.slice(0, 60), /x: expected/],
  [cam.replace('0 0 -1 3', '0 0 -2 3'), /x: extrinsic: the 3x3 part is not a rotation/],
  [cam.replace('0.0 0.0 0.0 1.0', '0 0 1 1'), /x: extrinsic: last row is/],
  [cam.replace('50 0 20.5', '50 3 20.5'), /x: intrinsic is \[50 3 20\.5 .*\], expected fx 0 cx/],
  [cam.replace('50 0 20.5', '-50 0 20.5'), /focal lengths above 0/],
  [cam.replace('0 0 1\n', '0 1 1\n'), /x: intrinsic is/],
  ['', /x: expected the word "extrinsic", got ""/],
])('broken camera files are refused: %#', (text, message) => {
  expect(() => parseBlendedCamera(text, 'x')).toThrow(SceneError);
  expect(() => parseBlendedCamera(text, 'x')).toThrow(message);
});

test('missing images are counted and named', async () => {
  const folder = await write('blended_images');
  writeFileSync(join(folder, 'cams/00000013_cam.txt'), cam);
  await expect(loadScene(folder)).rejects.toThrow(/blended_images: 1 of 3 images are missing: blended_images\/00000013\.jpg/);
});
