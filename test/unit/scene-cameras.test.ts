import { SceneError } from '../../src/binding/errors';
import {
  Camera, cameraCentre, centreCrop, cropCamera, fieldOfView, invertRigid, multiply, openGlFromWorldToCam, project,
  relativePose, rigidMatrix, scaleCamera, unproject, upDirection, viewDirection, worldToCamFromOpenGl,
} from '../../src/scene/cameras';
import { createImage } from '../../src/scene/image';
import { distort, Lens, lensFor, remap, straightenedCamera, undistort, undistortMap } from '../../src/scene/lens';
import { det3, solveSymmetric3, symmetricEigen3 } from '../../src/scene/vec3';
import { orbitPose } from '../scene-fixtures';

const cameraAt = (azimuth: number, elevation = 20, distance = 4): Camera => ({
  width: 40, height: 32, fx: 40, fy: 41, cx: 20.5, cy: 15.5,
  worldToCam: worldToCamFromOpenGl(orbitPose(azimuth, elevation, distance).flat()),
});

const expectClose = (got: ArrayLike<number>, want: ArrayLike<number>, tolerance = 1e-12): void => {
  expect(got.length).toBe(want.length);
  for (let i = 0; i < want.length; i++) expect(Math.abs(got[i] - want[i])).toBeLessThanOrEqual(tolerance);
};

describe('camera geometry', () => {
  test('OpenGL camera-to-world becomes OpenCV camera-from-world', () => {
    // Camera on the +x axis at 4, looking along -x, up +z: OpenCV right is +y, down is -z, forward is -x.
    const camera = cameraAt(0, 0, 4);
    expectClose(camera.worldToCam, [0, 1, 0, 0, 0, 0, -1, 0, -1, 0, 0, 4, 0, 0, 0, 1]);
    expectClose(cameraCentre(camera), [4, 0, 0]);
    expectClose(viewDirection(camera), [-1, 0, 0]);
    expectClose(upDirection(camera), [0, 0, 1]);
  });

  test('conversion to OpenGL and back is the identity', () => {
    const { worldToCam } = cameraAt(33, 12, 2.5);
    expectClose(worldToCamFromOpenGl(openGlFromWorldToCam(worldToCam)), worldToCam);
  });

  test('a point right of and above the axis lands right of and above the principal point', () => {
    // From +x looking back, +y is to the right; depth 4: u = 40 * 1/4 + 20.5, v = -41 * 0.5/4 + 15.5.
    const { u, v, z } = project(cameraAt(0, 0, 4), [0, 1, 0.5]);
    expectClose([u, v, z], [30.5, 10.375, 4]);
  });

  test('unproject inverts project', () => {
    const camera = cameraAt(-70, 35, 3);
    const { u, v, z } = project(camera, [0.3, -0.2, 0.4]);
    expectClose(unproject(camera, u, v, z), [0.3, -0.2, 0.4]);
  });

  test('relative pose maps coordinates of the first camera to the second', () => {
    const [a, b] = [cameraAt(10), cameraAt(50, 30, 5)];
    expectClose(multiply(relativePose(a, b), a.worldToCam), b.worldToCam);
    // The turn of two level cameras on a circle is the difference of azimuths: trace R = 1 + 2 cos.
    const r = relativePose(cameraAt(0, 0), cameraAt(40, 0));
    expect(r[0] + r[5] + r[10]).toBeCloseTo(1 + 2 * Math.cos((40 * Math.PI) / 180), 12);
  });

  test('crop and scale keep the projection of a point on the same place of the picture', () => {
    const camera = cameraAt(15);
    const p = [0.2, 0.1, -0.3] as const;
    const before = project(camera, p);
    const after = project(scaleCamera(cropCamera(camera, { left: 4, top: 2, width: 32, height: 28 }), 64, 84), p);
    expectClose([after.u, after.v], [(before.u - 4) * 2, (before.v - 2) * 3]);
    const { xRad } = fieldOfView({ ...camera, cx: 0, fx: 40 });
    expect(xRad).toBeCloseTo(Math.atan(1), 12);
  });

  test('centre crop takes the largest window of the aspect', () => {
    expect(centreCrop(640, 480, 100, 100)).toEqual({ left: 80, top: 0, width: 480, height: 480 });
    expect(centreCrop(480, 640, 4, 3)).toEqual({ left: 0, top: 140, width: 480, height: 360 });
    expect(centreCrop(512, 512, 336, 336)).toEqual({ left: 0, top: 0, width: 512, height: 512 });
  });

  test('rigid matrices are made orthonormal; others are refused', () => {
    const pose = orbitPose(20, 10, 3).flat();
    const rounded = pose.map((x) => Math.round(x * 1e5) / 1e5);
    const rigid = rigidMatrix(rounded, 'pose');
    expectClose(rigid, pose, 1e-5);
    expectClose(multiply(rigid, invertRigid(rigid)), [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], 1e-14);
    const broken = (change: (m: number[]) => void): (() => unknown) => {
      const m = [...pose];
      change(m);
      return () => rigidMatrix(m, 'frame "a.png"');
    };
    expect(broken((m) => (m[5] = NaN))).toThrow(/frame "a.png": entry \[1\]\[1\] is NaN/);
    expect(broken((m) => (m[3] = Infinity))).toThrow(SceneError);
    expect(broken((m) => [0, 1, 2, 4, 5, 6, 8, 9, 10].forEach((i) => (m[i] *= 1.01)))).toThrow(/not a rotation/);
    expect(broken((m) => [0, 4, 8].forEach((i) => (m[i] *= -1)))).toThrow(/determinant -1/);
    expect(broken((m) => (m[12] = 1))).toThrow(/last row/);
    expect(() => rigidMatrix([1, 2, 3], 'pose')).toThrow(/4x4/);
  });
});

describe('lens', () => {
  const opencv = lensFor('OPENCV', { k1: 0.1, k2: -0.05, p1: 0.01, p2: -0.02 }, 'test') as Lens;
  const fisheye = lensFor('OPENCV_FISHEYE', { k1: 0.05, k2: -0.01, k3: 0.002, k4: -0.001 }, 'test') as Lens;

  test('OPENCV model by hand', () => {
    // r² = 0.13, radial = 1 + 0.013 - 0.000845 = 1.012155.
    expectClose(distort(opencv, 0.3, -0.2), [0.3036465 - 0.0012 - 0.0062, -0.202431 + 0.0021 + 0.0024], 1e-15);
  });

  test('FULL_OPENCV divides by the second polynomial', () => {
    const full = lensFor('FULL_OPENCV', { k1: 0.2, k4: 0.1 }, 'test') as Lens;
    expectClose(distort(full, 0.5, 0), [(0.5 * 1.05) / 1.025, 0], 1e-15);
  });

  test('fisheye: a ray at angle theta lands at radius theta (1 + k1 theta² + …)', () => {
    const theta = 0.7;
    const radius = theta * (1 + 0.05 * theta ** 2 - 0.01 * theta ** 4 + 0.002 * theta ** 6 - 0.001 * theta ** 8);
    const [x, y] = distort(fisheye, Math.tan(theta) * 0.6, Math.tan(theta) * 0.8);
    expectClose([x, y], [radius * 0.6, radius * 0.8], 1e-15);
    expect(distort(fisheye, 0, 0)).toEqual([0, 0]);
  });

  test.each([['OPENCV', opencv], ['OPENCV_FISHEYE', fisheye]])('undistort inverts distort (%s)', (_name, lens) => {
    for (const [x, y] of [[0, 0], [0.3, -0.2], [-0.6, 0.5], [0.05, 0.7]]) {
      expectClose(undistort(lens, ...distort(lens, x, y)), [x, y], 1e-12);
    }
  });

  test('models without bend give no lens; foreign coefficients and models are refused', () => {
    expect(lensFor('PINHOLE', {}, 'test')).toBeUndefined();
    expect(lensFor('OPENCV', { k1: 0, k4: 0 }, 'test')).toBeUndefined();
    expect(lensFor('OPENCV_FISHEYE', {}, 'test')).toBeDefined();
    expect(() => lensFor('SIMPLE_RADIAL', { k1: 0.1, p1: 0.1 }, 'scene.json')).toThrow(/scene.json: p1 = 0.1/);
    expect(() => lensFor('EQUIRECTANGULAR', {}, 'scene.json')).toThrow(
      /"EQUIRECTANGULAR" is not supported; supported: .*OPENCV/,
    );
  });

  test('the straightened camera zooms just far enough that every pixel comes from the photograph', () => {
    const source = cameraAt(0);
    const barrel = lensFor('SIMPLE_RADIAL', { k1: -0.1 }, 'test') as Lens;
    expect(straightenedCamera(source, barrel, 'test')).toBe(source);
    const pincushion = lensFor('SIMPLE_RADIAL', { k1: 0.2 }, 'test') as Lens;
    const target = straightenedCamera(source, pincushion, 'test');
    expect(target.fx / source.fx).toBeGreaterThan(1.01);
    expect(target.fy / source.fy).toBeCloseTo(target.fx / source.fx, 12);
    const { at } = undistortMap(source, pincushion, target);
    let [least, most] = [Infinity, -Infinity];
    for (let i = 0; i < at.length; i += 2) {
      least = Math.min(least, at[i], at[i + 1]);
      most = Math.max(most, at[i] - source.width, at[i + 1] - source.height);
    }
    expect(least).toBeGreaterThanOrEqual(-0.5 - 1e-4);
    expect(most).toBeLessThanOrEqual(-0.5 + 1e-4);
    expect(Math.min(least + 0.5, -0.5 - most)).toBeLessThan(1e-3);
    const absurd = lensFor('SIMPLE_RADIAL', { k1: 50 }, 'test') as Lens;
    expect(() => straightenedCamera(source, absurd, 'frame x')).toThrow(/frame x: the distortion coefficients/);
  });

  test('a bent picture of a linear function of the ray is straightened back to that function', () => {
    const source: Camera = { ...cameraAt(0), width: 160, height: 128, fx: 160, fy: 164, cx: 82, cy: 61 };
    // The photograph shows 0.5 + 0.4 x + 0.3 y of the straight ray (x, y) at each bent pixel.
    const photograph = createImage(160, 128);
    for (let j = 0; j < 128; j++) {
      for (let i = 0; i < 160; i++) {
        const [x, y] = undistort(opencv, (i + 0.5 - 82) / 160, (j + 0.5 - 61) / 164);
        for (let c = 0; c < 3; c++) photograph.data[(c * 128 + j) * 160 + i] = 0.5 + (0.4 - 0.2 * c) * x + 0.3 * y;
      }
    }
    const target = straightenedCamera(source, opencv, 'test');
    const straight = remap(photograph, undistortMap(source, opencv, target));
    let worst = 0;
    for (let c = 0; c < 3; c++) {
      for (let j = 2; j < 126; j++) {
        for (let i = 2; i < 158; i++) {
          const [x, y] = [(i + 0.5 - target.cx) / target.fx, (j + 0.5 - target.cy) / target.fy];
          const want = 0.5 + (0.4 - 0.2 * c) * x + 0.3 * y;
          worst = Math.max(worst, Math.abs(straight.data[(c * 128 + j) * 160 + i] - want));
        }
      }
    }
    // Bilinear error of a slightly curved function; a half-pixel mistake would give 1.2e-3.
    expect(worst).toBeLessThan(1e-5);
  });
});

describe('3x3 helpers', () => {
  test('eigenvalues ascend, vectors are orthonormal and rebuild the matrix', () => {
    const m = [4, 1, -2, 1, 3, 0.5, -2, 0.5, 5];
    const { values, vectors } = symmetricEigen3(m);
    expect(values[0]).toBeLessThan(values[1]);
    expect(values[1]).toBeLessThan(values[2]);
    expect(values[0] * values[1] * values[2]).toBeCloseTo(det3(m), 10);
    for (let r = 0; r < 3; r++) {
      for (let c = 0; c < 3; c++) {
        const rebuilt = vectors.reduce((s, v, k) => s + values[k] * v[r] * v[c], 0);
        expect(rebuilt).toBeCloseTo(m[r * 3 + c], 12);
      }
    }
    const x = solveSymmetric3(m, [1, 2, 3]);
    expectClose([0, 1, 2].map((r) => m[r * 3] * x[0] + m[r * 3 + 1] * x[1] + m[r * 3 + 2] * x[2]), [1, 2, 3]);
  });
});
