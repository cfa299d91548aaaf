import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { SceneError } from '../../src/binding/errors';
import { distort, loadColmap, loadScene, loadView, project, undistort } from '../../src/scene';
import { parseCamerasBin, parseImagesBin, parsePointsBin } from '../../src/scene/datasets/colmap-binary';
import { colmapModels } from '../../src/scene/datasets/colmap-model';
import { parseCamerasText, parseImagesText, parsePointsText } from '../../src/scene/datasets/colmap-text';
import { colmapView } from '../../src/scene/datasets/colmap';
import { patternBytes, temporaryFolder } from '../scene-fixtures';

const root = temporaryFolder();
let counter = 0;
const utf8 = (text: string): Buffer => Buffer.from(text, 'utf8');

/** Little-endian bytes from (kind, value) pairs, written from the format's description. */
function pack(...fields: (['i' | 'q' | 'd' | 'b', number] | string)[]): Buffer {
  return Buffer.concat(
    fields.map((field) => {
      if (typeof field === 'string') return utf8(`${field}\0`);
      const [kind, value] = field;
      const bytes = Buffer.alloc({ i: 4, q: 8, d: 8, b: 1 }[kind]);
      if (kind === 'i') bytes.writeInt32LE(value);
      if (kind === 'q') bytes.writeBigInt64LE(BigInt(value));
      if (kind === 'd') bytes.writeDoubleLE(value);
      if (kind === 'b') bytes[0] = value;
      return bytes;
    }),
  );
}
const d = (...values: number[]): ['d', number][] => values.map((value) => ['d', value]);
const h = Math.SQRT1_2;

/** Two images that share a camera, and one point; the second camera looks along +x (half turn about y by 90 degrees). */
const binary = {
  'cameras.bin': pack(['q', 1], ['i', 7], ['i', 1], ['q', 40], ['q', 32], ...d(50, 51, 20.5, 15.5)),
  'images.bin': pack(
    ['q', 2],
    ['i', 2], ...d(h, 0, -h, 0, 1, 2, 3), ['i', 7], 'b view.png', ['q', 1], ...d(3, 4), ['q', -1],
    ['i', 1], ...d(1, 0, 0, 0, 0, 0, 5), ['i', 7], 'a.png', ['q', 0],
  ),
  'points3D.bin': pack(
    ['q', 1], ['q', 99], ...d(0.5, -0.25, 1), ['b', 10], ['b', 20], ['b', 30], ...d(0.7), ['q', 2],
    ['i', 1], ['i', 0], ['i', 2], ['i', 0],
  ),
};
const text = {
  'cameras.txt': '# Camera list\n7 PINHOLE 40 32 50 51 20.5 15.5\n',
  'images.txt': `# Image list\n2 ${h} 0 ${-h} 0 1 2 3 7 b view.png\n3 4 -1\n1 1 0 0 0 0 0 5 7 a.png\n\n`,
  'points3D.txt': '# Points\n99 0.5 -0.25 1 10 20 30 0.7 1 0 2 0\n',
};

interface Options {
  readonly at?: string;
  readonly images?: string;
  readonly size?: readonly [number, number];
  readonly names?: readonly string[];
}

/** A scene folder with the files of a model and a picture per image. */
async function write(files: Record<string, Buffer | string>, options: Options = {}): Promise<string> {
  const folder = join(root, `scene${counter++}`);
  const { at = 'sparse/0', images = 'images', size = [40, 32], names = ['a.png', 'b view.png'] } = options;
  for (const part of [at, images]) mkdirSync(join(folder, part), { recursive: true });
  for (const [name, data] of Object.entries(files)) writeFileSync(join(folder, at, name), data);
  const [width, height] = size;
  for (const name of names) {
    await sharp(patternBytes(width, height), { raw: { width, height, channels: 3 } }).toFile(join(folder, images, name));
  }
  return folder;
}

describe('loading', () => {
  test.each([['binary', binary], ['text', text]])('%s: cameras, poses, names with spaces, points', async (_, files) => {
    const scene = await loadScene(await write(files));
    expect([scene.format, scene.warnings]).toEqual(['colmap', []]);
    expect(scene.views.map(({ name }) => name)).toEqual(['a', 'b view']);
    const [a, b] = scene.views.map(({ camera }) => camera);
    expect([a.width, a.height, a.fx, a.fy, a.cx, a.cy]).toEqual([40, 32, 50, 51, 20.5, 15.5]);
    expect([...a.worldToCam]).toEqual([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 5, 0, 0, 0, 1]);
    // A turn by -90 degrees about y takes x to z, and z to -x.
    [0, 0, -1, 1, 0, 1, 0, 2, 1, 0, 0, 3, 0, 0, 0, 1].forEach((x, i) => expect(b.worldToCam[i]).toBeCloseTo(x, 15));
    expect(project(a, [0.5, -0.25, 1])).toEqual({ u: (50 * 0.5) / 6 + 20.5, v: (51 * -0.25) / 6 + 15.5, z: 6 });
    expect(scene.points).toEqual({
      count: 1, positions: Float32Array.of(0.5, -0.25, 1), colors: Uint8Array.of(10, 20, 30),
    });
    expect((await loadView(scene.views[1])).image.width).toBe(40);
  });

  test.each(['sparse/0', 'sparse', '.'])('the model may lie in %s; binary wins; files of rigs are ignored', async (at) => {
    const broken = { 'cameras.txt': 'nonsense', 'images.txt': '', 'rigs.bin': 'x', 'frames.bin': 'y', 'rigs.txt': 'z' };
    const folder = await write({ ...broken, ...binary }, { at });
    expect((await loadScene(folder)).views).toHaveLength(2);
    const inner = await loadScene(join(folder, at));
    expect([inner.root, inner.name]).toEqual([folder, folder.split('/').pop()]);
  });

  test('half a binary model yields to a whole text model', async () => {
    const scene = await loadScene(await write({ ...text, 'cameras.bin': binary['cameras.bin'] }));
    expect(scene.views).toHaveLength(2);
  });

  test('smaller images in images_4 scale the intrinsics by their true size', async () => {
    const cameras = pack(['q', 1], ['i', 7], ['i', 0], ['q', 163], ['q', 130], ...d(200, 81.5, 65));
    const scene = await loadScene(await write({ ...binary, 'cameras.bin': cameras }, { images: 'images_4' }));
    const { camera } = scene.views[0];
    expect([camera.width, camera.height]).toEqual([40, 32]);
    expect([camera.fx, camera.fy, camera.cx, camera.cy]).toEqual([(200 * 40) / 163, (200 * 32) / 130, 20, 16]);
    const wrong = await write({ ...binary, 'cameras.bin': cameras }, { images: 'images_4', size: [40, 36] });
    await expect(loadScene(wrong)).rejects.toThrow(/40x36, but its camera is for 163x130 and the aspect differs/);
  });

  test('an images folder that lacks some is passed over for one that holds all, or one is named', async () => {
    const folder = await write(binary, { images: 'images_2' });
    mkdirSync(join(folder, 'images'));
    expect((await loadScene(folder)).views[0].imagePath).toContain('images_2');
    await expect(loadColmap(folder, { images: 'images' })).rejects.toThrow(/images: 2 of 2 images are missing: a\.png, b view/);
    expect((await loadColmap(folder, { images: 'images_2' })).views).toHaveLength(2);
  });

  test('without points, and with a second model, there is a warning', async () => {
    const folder = await write({ 'cameras.bin': binary['cameras.bin'], 'images.bin': binary['images.bin'] });
    mkdirSync(join(folder, 'sparse/1'));
    writeFileSync(join(folder, 'sparse/1/cameras.bin'), '');
    const scene = await loadScene(folder);
    expect(scene.points).toBeUndefined();
    expect(scene.warnings).toEqual([expect.stringContaining('no points3D.bin'), expect.stringContaining('several models')]);
  });
});

describe('camera models', () => {
  const values: Record<string, number> = {
    f: 30, fx: 30, fy: 31, cx: 21, cy: 15, k1: -0.05, k2: 0.01, k3: -0.004, k4: 0.002, k5: 0.003, k6: -0.001, p1: 0.002,
    p2: -0.003, sx1: 0.004, sy1: -0.002, omega: 0.6,
  };
  const image = { id: 1, quaternion: [1, 0, 0, 0], translation: [0, 0, 0], cameraId: 3, name: 'x.png' };
  const file = { name: 'x', imagePath: 'x.png', width: 40, height: 32 };

  /** Bent pixel of the ray (x, y) by COLMAP's formulas, each model written out on its own. */
  const formulas: Record<string, (x: number, y: number) => [number, number]> = (() => {
    const { k1, k2, k3, k4, k5, k6, p1, p2, sx1, sy1, omega } = values;
    const radial = (factor: (r2: number) => number) => (x: number, y: number): [number, number] => {
      const f = factor(x ** 2 + y ** 2);
      return [x * f, y * f];
    };
    const angle = (factor: (t2: number) => number) => (x: number, y: number): [number, number] => {
      const r = Math.hypot(x, y);
      const theta = Math.atan2(r, 1);
      const f = (theta / r) * factor(theta ** 2);
      return [x * f, y * f];
    };
    const tangential = (x: number, y: number): [number, number] => {
      const r2 = x ** 2 + y ** 2;
      return [2 * p1 * x * y + p2 * (r2 + 2 * x ** 2), 2 * p2 * x * y + p1 * (r2 + 2 * y ** 2)];
    };
    const plus = (a: [number, number], b: [number, number]): [number, number] => [a[0] + b[0], a[1] + b[1]];
    return {
      SIMPLE_PINHOLE: (x, y) => [x, y],
      PINHOLE: (x, y) => [x, y],
      SIMPLE_RADIAL: radial((r2) => 1 + k1 * r2),
      RADIAL: radial((r2) => 1 + k1 * r2 + k2 * r2 ** 2),
      OPENCV: (x, y) => plus(radial((r2) => 1 + k1 * r2 + k2 * r2 ** 2)(x, y), tangential(x, y)),
      OPENCV_FISHEYE: angle((t2) => 1 + k1 * t2 + k2 * t2 ** 2 + k3 * t2 ** 3 + k4 * t2 ** 4),
      FULL_OPENCV: (x, y) =>
        plus(
          radial(
            (r2) => (1 + k1 * r2 + k2 * r2 ** 2 + k3 * r2 ** 3) / (1 + k4 * r2 + k5 * r2 ** 2 + k6 * r2 ** 3),
          )(x, y),
          tangential(x, y),
        ),
      FOV: (x, y) => {
        const r = Math.hypot(x, y);
        const f = Math.atan(2 * r * Math.tan(omega / 2)) / (omega * r);
        return [x * f, y * f];
      },
      SIMPLE_RADIAL_FISHEYE: angle((t2) => 1 + k1 * t2),
      RADIAL_FISHEYE: angle((t2) => 1 + k1 * t2 + k2 * t2 ** 2),
      THIN_PRISM_FISHEYE: (x, y) => {
        const r = Math.hypot(x, y);
        const [u, v] = [(x * Math.atan(r)) / r, (y * Math.atan(r)) / r];
        const r2 = u ** 2 + v ** 2;
        const bent = radial((s) => 1 + k1 * s + k2 * s ** 2 + k3 * s ** 3 + k4 * s ** 4)(u, v);
        return plus(plus(bent, tangential(u, v)), [sx1 * r2, sy1 * r2]);
      },
    };
  })();

  test.each(colmapModels.map(({ name }, i) => [i, name] as const))('%i %s', (number, name) => {
    const { parameters } = colmapModels[number];
    const params = parameters.map((parameter) => values[parameter]);
    const bytes = pack(['q', 1], ['i', 3], ['i', number], ['q', 40], ['q', 32], ...d(...params));
    const [camera] = parseCamerasBin(bytes, 'cameras.bin');
    expect(parseCamerasText(utf8(`3 ${name} 40 32 ${params.join(' ')}`), 'cameras.txt')).toEqual([camera]);
    const view = colmapView(image, camera, file);
    const photograph = view.photograph?.camera ?? view.camera;
    expect([photograph.fx, photograph.fy, photograph.cx, photograph.cy]).toEqual([30, parameters[0] === 'f' ? 30 : 31, 21, 15]);
    expect(view.photograph === undefined).toBe(number < 2);
    if (!view.photograph) return;
    const { lens } = view.photograph;
    for (const [x, y] of [[0.3, -0.2], [-0.6, 0.4], [0.01, 0.5], [0.66, 0.51], [-0.7, -0.5], [1e-7, 1e-7]]) {
      const [xd, yd] = distort(lens, x, y);
      const [ex, ey] = formulas[name](x, y);
      expect(Math.hypot(xd - ex, yd - ey)).toBeLessThan(3e-16);
      const [bx, by] = undistort(lens, xd, yd);
      // Newton ends below 1e-14 in the bent ray; worst observed 5.1e-15.
      expect(Math.hypot(bx - x, by - y)).toBeLessThan(5.4e-15);
    }
    expect(distort(lens, 0, 0)).toEqual([0, 0]);
    expect(undistort(lens, 0, 0)).toEqual([0, 0]);
  });

  test('an angle of zero bends nothing; one beyond half a turn, and unknown models, are refused', () => {
    const fov = (omega: number) => ({ id: 3, model: 'FOV', width: 40, height: 32, params: [30, 31, 21, 15, omega] });
    expect(colmapView(image, fov(0), file).photograph).toBeUndefined();
    expect(() => colmapView(image, fov(3.2), file)).toThrow(/omega = 3\.2, expected a field of view/);
    const bytes = pack(['q', 1], ['i', 3], ['i', 11], ['q', 40], ['q', 32], ...d(1, 2, 3));
    expect(() => parseCamerasBin(bytes, 'c.bin')).toThrow(/c\.bin: camera id 3: camera model 11 is not supported; supported: 0 SIMPLE_PINHOLE, 1 PINHOLE/);
  });
});

describe('text as programs write it', () => {
  const line = (id: number, name: string): string => `${id} 1 0 0 0 0 0 ${id} 7 ${name}`;
  const names = (content: string): string[] => parseImagesText(utf8(content), 'images.txt').map(({ name }) => name);

  test('empty observations may be there or not, last line and all; blank lines and comments anywhere', () => {
    expect(names(`${line(1, 'a.png')}\n\n${line(2, 'b.png')}\n`)).toEqual(['a.png', 'b.png']);
    expect(names(`${line(1, 'a.png')}\n${line(2, 'b.png')}\n${line(3, 'c.png')}`)).toEqual(['a.png', 'b.png', 'c.png']);
    expect(names(`${line(1, 'a.png')}\n1.5 2 -1 3 4 17\n\n\n# note\n${line(2, 'b.png')}\n1 2 3`)).toEqual(['a.png', 'b.png']);
    expect(names('# nothing\n')).toEqual([]);
  });

  test('names of several words, lines that end in CR, tabs, a byte order mark', () => {
    expect(names(`\uFEFF${line(1, 'my  long name 1.jpg')}\r\n\r\n${line(2, 'b c d')}\r\n${line(3, 'e').replaceAll(' ', '\t')}\r\n`)).toEqual(
      ['my  long name 1.jpg', 'b c d', 'e'],
    );
  });

  test('observations that are not numbers on Windows are observations; a pose that is not one is refused', () => {
    expect(names(`${line(1, 'a.png')}\n-nan(ind) 1.#QNAN -1 nan inf 4\n${line(2, 'b.png')}\n`)).toEqual(['a.png', 'b.png']);
    expect(() => names('1 -nan(ind) 0 0 0 0 0 1 7 a.png')).toThrow(/images\.txt:1: the pose holds NaN/);
    const points = parsePointsText(utf8('4 1 2 3 4 5 6 -nan(ind) 1 2\n\n5 1e0 -2 .5 0 0 255 0\n'), 'p');
    expect(points).toEqual({ count: 2, positions: Float32Array.of(1, 2, 3, 1, -2, 0.5), colors: Uint8Array.of(4, 5, 6, 0, 0, 255) });
    expect(() => parsePointsText(utf8('# a\n4 1 nan 3 4 5 6 0\n'), 'p')).toThrow(/p:2: expected POINT3D_ID X Y Z/);
  });

  test('long lines of observations are not read through', () => {
    const many = Array.from({ length: 20_000 }, (_, i) => `${i}.25 ${i} ${i}`).join(' ');
    expect(names(`${line(1, 'a.png')}\n${many}\n${line(2, 'b.png')}\n`)).toEqual(['a.png', 'b.png']);
  });
});

describe('errors name the file and what is wrong', () => {
  const images = binary['images.bin'];
  test.each([
    [() => parseCamerasBin(binary['cameras.bin'].subarray(0, -1), 'c'), /c: camera 1: the file ends after 63 bytes, where at least 64/],
    [() => parseCamerasBin(Buffer.alloc(3), 'c'), /c: the file ends after 3 bytes/],
    [() => parseCamerasBin(pack(['q', 1e12]), 'c'), /c: claims 1000000000000 cameras \(at least 48000000000000 bytes\), but only 0/],
    [() => parseCamerasBin(Buffer.concat([binary['cameras.bin'], utf8('xy')]), 'c'), /c: 2 bytes follow the last record/],
    [() => parseImagesBin(images.subarray(0, images.length - 9), 'i'), /i: image 2: the image's name has no end|i: image "a\.png": the file ends/],
    [() => parsePointsBin(pack(['q', 2 ** 40]), 'p'), /p: claims 1099511627776 points/],
    [() => parseCamerasText(utf8('1 PINHOLE 40 32 50 51 20'), 'c'), /c:1: PINHOLE has 4 parameters \(fx, fy, cx, cy\), got 3/],
    [() => parseCamerasText(utf8('1 PINHOLE 0 32 1 1 1 1'), 'c'), /c:1: expected sides of 1 to 1048576 pixels, got 0x32/],
    [() => parseCamerasText(utf8('1 PINHOLE 9 32 -1 1 1 1'), 'c'), /c:1: fx is -1, expected a focal length above 0/],
    [() => parseCamerasText(utf8('1 PINHOLE 9 9 1 1 1 1\n1 PINHOLE 9 9 1 1 1 1'), 'c'), /c: camera id 1 occurs twice/],
    [() => parseCamerasText(utf8('one PINHOLE 9 9 1 1 1 1'), 'c'), /c:1: "one" is no id/],
    [() => parseImagesText(utf8('1 0 0 0 0 0 0 0 1 a'), 'i'), /i:1: the rotation quaternion has length 0, expected 1/],
    [() => parseImagesText(utf8('1 1 0 0 0 0 0 0 1'), 'i'), /i:1: expected IMAGE_ID QW/],
    [() => parseImagesText(utf8('1 1 0 0 0 0 0 0 1 a\n\n2 1 0 0 0 0 0 0 1 a'), 'i'), /i: image name a occurs twice/],
  ])('%#', (read, message) => {
    expect(read).toThrow(SceneError);
    expect(read).toThrow(message);
  });

  test('missing files and cameras, images outside the folder, unknown layouts', async () => {
    const stranger = text['images.txt'].replace('3 7 b', '3 8 b');
    await expect(loadScene(await write({ ...text, 'images.txt': stranger }))).rejects.toThrow(/"b view\.png" names camera id 8/);
    const outside = text['images.txt'].replace('a.png', '../../a.png');
    await expect(loadScene(await write({ ...text, 'images.txt': outside }))).rejects.toThrow(/does not lie inside/);
    await expect(loadScene(await write({ 'cameras.txt': text['cameras.txt'] }))).rejects.toThrow(/expected cameras and images, both/);
    await expect(loadScene(await write(text, { images: 'photos' }))).rejects.toThrow(/no folder of images; looked for .*images, .*images_8/);
    await expect(loadScene(await write(text, { names: ['a.png'] }))).rejects.toThrow(/1 of 2 images are missing: b view\.png/);
    await expect(loadScene(await write({ ...text, 'images.txt': '' }))).rejects.toThrow(/has no images/);
    await expect(loadScene(root)).rejects.toThrow(
      /looked for transforms\.json \(nerfstudio\), sparse\/0\/cameras.* \(colmap\), cams\/\*_cam\.txt \(blendedmvs\), transforms_train\.json/,
    );
    await expect(loadColmap(root)).rejects.toThrow(/no COLMAP model; looked for/);
  });
});
