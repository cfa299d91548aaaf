import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { OutputError } from '../../src/binding/errors';
import { cameraCentre, nerfstudioPose, sampleScene, writeScene, type Raycast } from '../../src/scene/procedural';

const size = { width: 6, height: 4, spp: 1 };
const scene = sampleScene(11);

/** Every value tells its own place: rgb 0, 1/255, 2/255 ..., depth 0.5 steps, ids 0-3. */
const raycast: Raycast = (_, cameras) => {
  const pixels = (cameras.length / 16) * 24;
  return {
    rgb: Float32Array.from({ length: 3 * pixels }, (_v, i) => (i % 256) / 255),
    depth: Float32Array.from({ length: pixels }, (_v, i) => i * 0.5),
    ids: Int32Array.from({ length: pixels }, (_v, i) => i % 4),
  };
};

describe('writing a procedural scene', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'procedural-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('writes a nerfstudio folder with exact truth', async () => {
    await writeScene(scene, folder, size, raycast);
    expect((await readdir(folder)).sort()).toEqual(['depth', 'ids', 'images', 'scene.json', 'transforms.json']);
    const transforms = JSON.parse(await readFile(join(folder, 'transforms.json'), 'utf8'));
    expect(transforms.frames.length).toBe(15);
    expect([transforms.train_filenames.length, transforms.test_filenames.length]).toEqual([9, 6]);
    expect([transforms.w, transforms.h, transforms.camera_model]).toEqual([6, 4, 'OPENCV']);
    const camera = scene.cameras.views[2];
    expect(transforms.frames[2].fl_x).toBe(camera.fx * 6);
    expect(transforms.frames[2].cy).toBe(camera.cy * 4);
    const image = await sharp(join(folder, 'images/002.png')).raw().toBuffer({ resolveWithObject: true });
    expect([image.info.width, image.info.height, image.info.channels]).toEqual([6, 4, 3]);
    expect([...image.data.subarray(0, 3)]).toEqual([144, 168, 192]); // view 2 starts at value 2 * 72, planes 24 apart
    const ids = await sharp(join(folder, 'ids/001.png')).toColourspace('b-w').raw().toBuffer();
    expect([...ids]).toEqual(Array.from({ length: 24 }, (_, i) => i % 4));
    const pfm = await readFile(join(folder, 'depth/001.pfm'));
    const header = 'Pf\n6 4\n-1.0\n';
    expect(pfm.subarray(0, header.length).toString('latin1')).toBe(header);
    expect(pfm.length).toBe(header.length + 96);
    expect(pfm.readFloatLE(header.length)).toBe((24 + 18) * 0.5); // bottom row first
    expect(pfm.readFloatLE(header.length + 92)).toBe((24 + 5) * 0.5);
    const described = JSON.parse(await readFile(join(folder, 'scene.json'), 'utf8'));
    expect([described.seed, described.farDepth, described.objects.length]).toEqual([11, 20, scene.objects.length]);
  });

  it('stores poses that invert to the cameras', () => {
    const camera = scene.cameras.views[4];
    const pose = nerfstudioPose(camera);
    const m = camera.worldToCam;
    const centre = cameraCentre(camera);
    // A point 2 m before the camera and 1 m to its right: OpenGL looks along -z.
    const world = [0, 1, 2].map((k) => pose[k][0] * 1 + pose[k][2] * -2 + pose[k][3]);
    const seen = [0, 4, 8].map((k) => m[k] * world[0] + m[k + 1] * world[1] + m[k + 2] * world[2] + m[k + 3]);
    [1, 0, 2].forEach((value, k) => expect(seen[k]).toBeCloseTo(value, 12));
    expect(pose.map((row) => row[3])).toEqual([...centre, 1]);
  });

  it('refuses a folder that holds something or cannot be made', async () => {
    await writeFile(join(folder, 'notes.txt'), 'mine');
    await expect(writeScene(scene, folder, size, raycast)).rejects.toThrow(OutputError);
    expect(await readdir(folder)).toEqual(['notes.txt']);
    await expect(writeScene(scene, join(folder, 'notes.txt'), size, raycast)).rejects.toThrow(/cannot write a scene/);
  });
});
