import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AbortError, SceneError, ShapeError } from '../../src/binding/errors';
import { cameraCentre, loadScene, loadView, readPointsPly, undistort } from '../../src/scene';
import { orbitPose, orbitTransforms, patternBytes, temporaryFolder, Transforms, writeScene } from '../scene-fixtures';

const root = temporaryFolder();
let counter = 0;
const fresh = (): string => join(root, `scene${counter++}`);

/** Writes the six-frame scene after a change and loads it. */
async function loadChanged(change: (t: Transforms) => void): Promise<Awaited<ReturnType<typeof loadScene>>> {
  const transforms = orbitTransforms();
  change(transforms);
  return loadScene(await writeScene(fresh(), transforms));
}

describe('loading', () => {
  test('views are sorted by file name, poses converted, intrinsics taken', async () => {
    const scene = await loadChanged((t) => t.frames.reverse());
    expect(scene.format).toBe('nerfstudio');
    expect(scene.views.map((v) => v.name)).toEqual(['f_000', 'f_001', 'f_002', 'f_003', 'f_004', 'f_005']);
    const { camera, photograph } = scene.views[3];
    expect(photograph).toBeUndefined();
    expect([camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy]).toEqual(
      [40, 32, 40, 41, 20.5, 15.5],
    );
    const e = (20 * Math.PI) / 180;
    cameraCentre(camera).forEach((x, i) => expect(x).toBeCloseTo([0, 4 * Math.cos(e), 4 * Math.sin(e)][i], 12));
    expect(scene.points).toBeUndefined();
    expect(scene.warnings).toEqual([]);
  });

  test('the folder and the file itself both name the scene', async () => {
    const path = await writeScene(fresh(), orbitTransforms([0]));
    expect((await loadScene(join(path, 'transforms.json'))).views).toHaveLength(1);
    expect((await loadScene(`${path}/`)).views).toHaveLength(1);
  });

  test('intrinsics per frame win; angles give focal lengths; sizes come from the image', async () => {
    const scene = await loadChanged((t) => {
      t.frames[1].fl_x = 55;
      t.frames[2].camera_angle_x = Math.PI / 2;
      t.frames[3].cx = 3;
    });
    expect(scene.views.map((v) => v.camera.fx)).toEqual([40, 55, expect.closeTo(20, 12), 40, 40, 40]);
    expect(scene.views[2].camera.fy).toBeCloseTo(20, 12);
    expect(scene.views[3].camera.cx).toBe(3);
    const { frames } = orbitTransforms();
    const bare = await loadScene(await writeScene(fresh(), { camera_angle_x: Math.PI / 2, frames }));
    const { width, height, fx, fy, cx, cy } = bare.views[0].camera;
    expect([width, height, cx, cy]).toEqual([40, 32, 20, 16]);
    expect([fx, fy]).toEqual([expect.closeTo(20, 12), expect.closeTo(20, 12)]);
  });

  test('names fall back to paths where file names repeat; a missing ending is found', async () => {
    const twoFolders = await loadChanged((t) => t.frames.forEach((f, i) => (f.file_path = `images/c${i}/0.png`)));
    expect(twoFolders.views[1].name).toBe('images/c1/0.png');
    const transforms = orbitTransforms([0, 30]);
    const path = await writeScene(fresh(), transforms);
    transforms.frames.forEach((f) => (f.file_path = f.file_path.replace('.png', '')));
    writeFileSync(join(path, 'transforms.json'), JSON.stringify(transforms));
    expect((await loadScene(path)).views[0].imagePath).toMatch(/f_000\.png$/);
  });
});

describe('errors', () => {
  test('nothing there, or no known layout', async () => {
    await expect(loadScene(join(root, 'none'))).rejects.toThrow(/none: no such file or folder/);
    await expect(loadScene(root)).rejects.toThrow(/no known layout; looked for transforms\.json \(nerfstudio\)/);
    const path = await writeScene(fresh(), orbitTransforms([0]));
    await expect(loadScene(join(path, 'images/f_000.png'))).rejects.toThrow(SceneError);
  });

  test.each([
    ['{"frames": [1, 2,]}', /transforms\.json:1:18: broken JSON: expected a value, found "\]\}"/],
    ['{\n  "w": 4,\n  "h" 5\n}', /transforms\.json:3:7: broken JSON: expected ":"/],
    ['{"w": 1', /:1:8: broken JSON: expected "," or "}", found the end of the file/],
    ['{"m": [NaN]}', /:1:8: broken JSON: expected a value, found "NaN\]\}"/],
    ['', /:1:1: broken JSON/],
    ['{"a": "x\ny"}', /:1:7: broken JSON: expected a string that ends on its line/],
    ['{} {}', /:1:4: broken JSON: expected the end of the file/],
    ['['.repeat(5000), /at most 256 levels/],
  ])('broken JSON %# names file, line and column', async (text, message) => {
    const path = await writeScene(fresh(), text);
    const error: unknown = await loadScene(path).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(SceneError);
    expect((error as Error).message).toMatch(message);
  });

  test('what is JSON but no scene', async () => {
    await expect(loadScene(await writeScene(fresh(), '{"w": 5}'))).rejects.toThrow(/not a nerfstudio scene: frames/);
    await expect(loadScene(await writeScene(fresh(), '{"frames": []}'))).rejects.toThrow(/frames/);
    await expect(loadScene(await writeScene(fresh(), '[1]'))).rejects.toThrow(SceneError);
    await expect(loadScene(await writeScene(fresh(), 'null'))).rejects.toThrow(SceneError);
    await expect(loadChanged((t) => (t.frames[2].transform_matrix = [[1, 2]]))).rejects.toThrow(
      /frames\.2.*\("images\/f_002\.png"\)/,
    );
    await expect(loadChanged((t) => (t.w = 'wide'))).rejects.toThrow(/w: /);
    await expect(loadChanged((t) => (t.h = -5))).rejects.toThrow(/h: /);
    await expect(loadChanged((t) => delete t.fl_x && delete t.fl_y)).rejects.toThrow(
      /"images\/f_000\.png": no focal length/,
    );
    await expect(loadChanged((t) => (t.camera_model = 'EQUIRECTANGULAR'))).rejects.toThrow(
      /supported: .*OPENCV_FISHEYE/,
    );
  });

  test('missing images are named and counted', async () => {
    const path = await writeScene(fresh(), orbitTransforms());
    rmSync(join(path, 'images/f_001.png'));
    rmSync(join(path, 'images/f_004.png'));
    await expect(loadScene(path)).rejects.toThrow(/2 of 6 images are missing: images\/f_001\.png, images\/f_004\.png$/);
  });

  test('doubled frames and paths out of the folder', async () => {
    await expect(loadChanged((t) => (t.frames[1].file_path = './images/f_000.png'))).rejects.toThrow(
      /two frames name the same image/,
    );
    const escape = orbitTransforms([0]);
    escape.frames[0].file_path = '../outside.png';
    await expect(loadScene(await writeScene(fresh(), escape))).rejects.toThrow(/does not lie inside the scene folder/);
    const absolute = JSON.stringify({ ...escape, frames: [{ ...escape.frames[0], file_path: '/etc/passwd' }] });
    await expect(loadScene(await writeScene(fresh(), absolute))).rejects.toThrow(/does not lie inside/);
  });

  test('poses that are no rigid motion', async () => {
    const scaled = orbitPose(10, 10, 3).map((row, i) => (i < 3 ? row.map((x, j) => (j < 3 ? 2 * x : x)) : row));
    await expect(loadChanged((t) => (t.frames[4].transform_matrix = scaled))).rejects.toThrow(
      /frame "images\/f_004\.png", transform_matrix: the 3x3 part is not a rotation/,
    );
    const first = /"transform_matrix":\[\[[^,]+,/;
    const text = JSON.stringify(orbitTransforms()).replace(first, '"transform_matrix":[[1e999,');
    await expect(loadScene(await writeScene(fresh(), text))).rejects.toThrow(SceneError);
  });
});

describe('loading a view', () => {
  test('nothing to change: the exact pixels and the same camera', async () => {
    const scene = await loadChanged(() => undefined);
    const { image, camera } = await loadView(scene.views[2]);
    const bytes = patternBytes(40, 32, 2);
    for (let p = 0; p < 40 * 32; p++) expect(image.data[p]).toBe(Math.fround(bytes[3 * p] / 255));
    expect(camera).toEqual(scene.views[2].camera);
  });

  test('another aspect is cut from the centre and the camera follows', async () => {
    const scene = await loadChanged(() => undefined);
    const { image, camera } = await loadView(scene.views[0], { width: 16, height: 16 });
    expect([image.width, image.height]).toEqual([16, 16]);
    // 40x32 -> columns 4..35, then a half: every length halves, the principal point moves by the crop.
    expect([camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy]).toEqual(
      [16, 16, 20, 20.5, 8.25, 7.75],
    );
    const oneSide = await loadView(scene.views[0], { width: 20 });
    expect([oneSide.image.width, oneSide.image.height]).toEqual([20, 16]);
  });

  test('only the wanted image is decoded, and a damaged one is named when its turn comes', async () => {
    const path = await writeScene(fresh(), orbitTransforms());
    writeFileSync(join(path, 'images/f_003.png'), 'no picture');
    const scene = await loadScene(path);
    await expect(loadView(scene.views[0])).resolves.toBeDefined();
    await expect(loadView(scene.views[3])).rejects.toThrow(/f_003\.png: not a JPEG, PNG, WebP or TIFF/);
    await expect(loadView(scene.views[0], { signal: AbortSignal.abort() })).rejects.toThrow(AbortError);
    await expect(loadView(scene.views[0], { width: 0, height: 4 })).rejects.toThrow(ShapeError);
  });

  test('images smaller than the file says scale the camera; another aspect is refused', async () => {
    const half = await loadScene(await writeScene(fresh(), orbitTransforms([0]), { width: 20, height: 16 }));
    const { camera } = await loadView(half.views[0]);
    expect([camera.width, camera.fx, camera.cy]).toEqual([20, 20, 7.75]);
    const wrong = await loadScene(await writeScene(fresh(), orbitTransforms([0]), { width: 32, height: 40 }));
    await expect(loadView(wrong.views[0])).rejects.toThrow(/is 32x40, but its camera is for 40x32/);
  });

  test('distortion is removed: a pixel shows what the bent pixel of the photograph shows', async () => {
    const transforms = { ...orbitTransforms([0]), camera_model: 'OPENCV', k1: 0.3, p1: 0.01 };
    const scene = await loadScene(await writeScene(fresh(), transforms));
    const view = scene.views[0];
    const { image, camera } = await loadView(view);
    expect(camera.fx).toBeGreaterThan(40);
    // Red is linear in the photograph's column: invert it to learn where each pixel was sampled.
    const lens = view.photograph!.lens;
    let worst = 0;
    for (let y = 2; y < 30; y += 3) {
      for (let x = 3; x < 37; x += 3) {
        const column = ((image.data[y * 40 + x] * 255 + 0.5 - 40) * 40) / 180;
        const source = [(column + 0.5 - 20.5) / 40, 0];
        const ray = [(x + 0.5 - camera.cx) / camera.fx, (y + 0.5 - camera.cy) / camera.fy];
        // Along the row of the ray: its bent x must be the sampled column.
        const r2 = ray[0] ** 2 + ray[1] ** 2;
        const bentX = ray[0] * (1 + 0.3 * r2) + 2 * 0.01 * ray[0] * ray[1];
        worst = Math.max(worst, Math.abs(bentX - source[0]) * 40);
      }
    }
    // Red is truncated to bytes: up to half a level, 0.11 px; the distortion itself moves corners by more than a pixel.
    expect(worst).toBeLessThan(0.13);
    expect(undistort(lens, 0, 0)).toEqual([0, 0]);
  });
});

describe('point files', () => {
  const header = (format: string, count: number | string, extra = ''): string =>
    `ply\nformat ${format} 1.0\ncomment made by a test\nelement vertex ${count}\nproperty float x\n` +
    'property double y\nproperty float z\nproperty uchar red\nproperty uchar green\nproperty uchar blue\n' +
    `${extra}end_header\n`;
  const write = (content: string | Buffer): string => {
    const path = join(root, `points${counter++}.ply`);
    writeFileSync(path, content);
    return path;
  };

  test('ascii and binary agree; other elements after the vertices are skipped', async () => {
    const faces = 'element face 1\nproperty list uchar int vertex_indices\n';
    const rows = '1 2.5 -3 10 20 30\n4 5 6.25 40 50 255\n3 0 1 1\n';
    const ascii = await readPointsPly(write(header('ascii', 2, faces) + rows));
    expect([...ascii.positions]).toEqual([1, 2.5, -3, 4, 5, 6.25]);
    expect([...ascii.colors!]).toEqual([10, 20, 30, 40, 50, 255]);
    const body = Buffer.alloc(2 * 19);
    [[1, 2.5, -3, 10, 20, 30], [4, 5, 6.25, 40, 50, 255]].forEach((row, i) => {
      body.writeFloatLE(row[0], 19 * i);
      body.writeDoubleLE(row[1], 19 * i + 4);
      body.writeFloatLE(row[2], 19 * i + 12);
      body.set(row.slice(3), 19 * i + 16);
    });
    expect(await readPointsPly(write(Buffer.concat([Buffer.from(header('binary_little_endian', 2)), body])))).toEqual(
      ascii,
    );
    const crlf = await readPointsPly(write(`${header('ascii', 1).replaceAll('\n', '\r\n')}1 2 3 4 5 6\r\n`));
    expect([...crlf.positions]).toEqual([1, 2, 3]);
    expect((await readPointsPly(write(header('ascii', 0)))).count).toBe(0);
  });

  test.each([
    ['no ply at all', 'hello', /not a PLY file/],
    ['no end of header', 'ply\nformat ascii 1.0\n', /no end_header/],
    ['a huge count', `${header('binary_little_endian', 19000000)}abc`, /claims 19000000 points .* only 3 bytes follow/],
    ['over the limit', header('ascii', 2 ** 31), /over the limit of 20000000/],
    ['a negative count', header('ascii', -1), /:4: vertex count "-1"/],
    ['big endian', header('binary_big_endian', 0), /format "binary_big_endian" is not supported/],
    ['too few numbers', `${header('ascii', 1)}1 2 3 4 5 \nno number`, /:12: expected 6 numbers/],
    ['no number', `${header('ascii', 1)}1 nan 3 4 5 6\n`, /point 0 has y = NaN/],
    ['no x', 'ply\nformat ascii 1.0\nelement vertex 1\nproperty float y\nend_header\n1\n', /no property "x"/],
    ['lists', 'ply\nformat ascii 1.0\nelement vertex 1\nproperty list uchar int x\nend_header\n', /:4: .*"list"/],
  ])('%s', async (_name, content, message) => {
    const error: unknown = await readPointsPly(write(content)).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(SceneError);
    expect((error as Error).message).toMatch(message);
  });

  test('the scene reads sparse_pc.ply, and says when the file that it names is missing', async () => {
    const path = await writeScene(fresh(), { ...orbitTransforms([0]), ply_file_path: 'sparse_pc.ply' });
    const without = await loadScene(path);
    expect(without.points).toBeUndefined();
    expect(without.warnings[0]).toMatch(/sparse_pc\.ply is missing/);
    writeFileSync(join(path, 'sparse_pc.ply'), `${header('ascii', 1)}1 2 3 4 5 6\n`);
    expect((await loadScene(path)).points?.count).toBe(1);
  });
});
