/**
 * Pinhole cameras. One convention everywhere: OpenCV axes (x right, y down, z forward), `worldToCam` =
 * camera-from-world as a 4x4 row-major rigid matrix, focal lengths and principal point in pixels, the centre of pixel
 * (column i, row j) at (i + 0.5, j + 0.5). Other conventions are converted once, when a scene is loaded.
 */
import { SceneError, ShapeError } from '../binding/errors';
import { det3, Vec3 } from './vec3';

export interface Camera {
  /** Image width in pixels. */
  readonly width: number;
  /** Image height in pixels. */
  readonly height: number;
  /** Focal lengths in pixels. */
  readonly fx: number;
  readonly fy: number;
  /** Principal point in pixels (pixel centres at +0.5). */
  readonly cx: number;
  readonly cy: number;
  /** 4x4 row-major, camera-from-world, OpenCV axes. */
  readonly worldToCam: Float64Array;
}

/** A crop window in pixels; need not be whole numbers for the intrinsics. */
export interface Rect {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** Largest deviation of R Rᵀ from the identity that still counts as a rotation written with few digits. */
const rigidTolerance = 1e-3;

/**
 * Checks a rigid 4x4 (or 3x4) row-major matrix and returns it as 4x4 with its rotation made orthonormal to rounding.
 * @param what named in the error message.
 * @throws SceneError when an entry is not finite, the last row is not [0,0,0,1], or the 3x3 part is no rotation
 *   (scaled, sheared or mirrored).
 */
export function rigidMatrix(values: ArrayLike<number>, what: string): Float64Array {
  if (values.length !== 16 && values.length !== 12) {
    throw new SceneError(`${what}: expected a 4x4 or 3x4 matrix, got ${values.length} numbers`);
  }
  const m = new Float64Array(16);
  for (let i = 0; i < 16; i++) m[i] = i < values.length ? values[i] : i === 15 ? 1 : 0;
  for (let i = 0; i < 16; i++) {
    if (!Number.isFinite(m[i])) {
      throw new SceneError(`${what}: entry [${i >> 2}][${i & 3}] is ${m[i]}, expected a number`);
    }
  }
  if (m[12] !== 0 || m[13] !== 0 || m[14] !== 0 || Math.abs(m[15] - 1) > 1e-9) {
    throw new SceneError(`${what}: last row is [${m.slice(12).join(', ')}], expected [0, 0, 0, 1]`);
  }
  let r = [m[0], m[1], m[2], m[4], m[5], m[6], m[8], m[9], m[10]];
  let worst = 0;
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) {
      const d = r[i * 3] * r[j * 3] + r[i * 3 + 1] * r[j * 3 + 1] + r[i * 3 + 2] * r[j * 3 + 2];
      worst = Math.max(worst, Math.abs(d - (i === j ? 1 : 0)));
    }
  }
  const det = det3(r);
  if (worst > rigidTolerance || det <= 0) {
    throw new SceneError(
      `${what}: the 3x3 part is not a rotation (|R Rᵀ - I| = ${worst.toPrecision(3)}, determinant ` +
        `${det.toPrecision(4)}); ` +
        'poses must be rigid, without scale, shear or mirroring',
    );
  }
  // Newton iteration for the polar factor: R <- (R + R^-T) / 2 converges quadratically to the nearest rotation.
  for (let step = 0; step < 3; step++) {
    const t = inverseTranspose3(r);
    r = r.map((x, i) => (x + t[i]) / 2);
  }
  for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++) m[i * 4 + j] = r[i * 3 + j];
  m[15] = 1;
  return m;
}

function inverseTranspose3(m: readonly number[]): number[] {
  const d = 1 / det3(m);
  return [
    (m[4] * m[8] - m[5] * m[7]) * d, (m[5] * m[6] - m[3] * m[8]) * d, (m[3] * m[7] - m[4] * m[6]) * d,
    (m[2] * m[7] - m[1] * m[8]) * d, (m[0] * m[8] - m[2] * m[6]) * d, (m[1] * m[6] - m[0] * m[7]) * d,
    (m[1] * m[5] - m[2] * m[4]) * d, (m[2] * m[3] - m[0] * m[5]) * d, (m[0] * m[4] - m[1] * m[3]) * d,
  ];
}

/** Product of two 4x4 row-major matrices. */
export function multiply(a: ArrayLike<number>, b: ArrayLike<number>): Float64Array {
  const out = new Float64Array(16);
  for (let i = 0; i < 4; i++) {
    for (let j = 0; j < 4; j++) {
      let s = 0;
      for (let k = 0; k < 4; k++) s += a[i * 4 + k] * b[k * 4 + j];
      out[i * 4 + j] = s;
    }
  }
  return out;
}

/** Inverse of a rigid 4x4 row-major matrix: [Rᵀ | -Rᵀ t]. */
export function invertRigid(m: ArrayLike<number>): Float64Array {
  const out = new Float64Array(16);
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) out[i * 4 + j] = m[j * 4 + i];
    out[i * 4 + 3] = -(m[i] * m[3] + m[4 + i] * m[7] + m[8 + i] * m[11]);
  }
  out[15] = 1;
  return out;
}

/**
 * OpenGL camera-to-world (x right, y up, z backward; nerfstudio, Blender) to OpenCV camera-from-world: R_cv = R_gl ·
 * diag(1, -1, -1) with the same centre, then the rigid inverse.
 */
export function worldToCamFromOpenGl(camToWorld: ArrayLike<number>): Float64Array {
  const m = Float64Array.from(camToWorld);
  for (let i = 0; i < 3; i++) {
    m[i * 4 + 1] = -m[i * 4 + 1];
    m[i * 4 + 2] = -m[i * 4 + 2];
  }
  return invertRigid(m);
}

/** OpenCV camera-from-world to OpenGL camera-to-world; the inverse of `worldToCamFromOpenGl`. */
export function openGlFromWorldToCam(worldToCam: ArrayLike<number>): Float64Array {
  const m = invertRigid(worldToCam);
  for (let i = 0; i < 3; i++) {
    m[i * 4 + 1] = -m[i * 4 + 1];
    m[i * 4 + 2] = -m[i * 4 + 2];
  }
  return m;
}

/**
 * Relative pose T_to · T_from⁻¹ (RL3DEdit's T_rel for from = m, to = m + 1): maps camera `from` coordinates to camera
 * `to`.
 */
export function relativePose(from: Camera, to: Camera): Float64Array {
  return multiply(to.worldToCam, invertRigid(from.worldToCam));
}

/** Camera centre in world coordinates, -Rᵀ t. */
export function cameraCentre(camera: Camera): Vec3 {
  const m = invertRigid(camera.worldToCam);
  return [m[3], m[7], m[11]];
}

/** Unit viewing direction (optical axis) in world coordinates. */
export function viewDirection(camera: Camera): Vec3 {
  const m = camera.worldToCam;
  return [m[8], m[9], m[10]];
}

/** Unit vector towards the top of the image, in world coordinates. */
export function upDirection(camera: Camera): Vec3 {
  const m = camera.worldToCam;
  return [-m[4], -m[5], -m[6]];
}

/** Unit vector towards the right of the image, in world coordinates. */
export function rightDirection(camera: Camera): Vec3 {
  const m = camera.worldToCam;
  return [m[0], m[1], m[2]];
}

/**
 * World point to pixel (u, v) and camera depth z. Points with z <= 0 lie behind the camera; u, v mean nothing there.
 */
export function project(camera: Camera, p: Vec3): { u: number; v: number; z: number } {
  const m = camera.worldToCam;
  const x = m[0] * p[0] + m[1] * p[1] + m[2] * p[2] + m[3];
  const y = m[4] * p[0] + m[5] * p[1] + m[6] * p[2] + m[7];
  const z = m[8] * p[0] + m[9] * p[1] + m[10] * p[2] + m[11];
  return { u: (camera.fx * x) / z + camera.cx, v: (camera.fy * y) / z + camera.cy, z };
}

/** Pixel (u, v) at camera depth z to the world point. */
export function unproject(camera: Camera, u: number, v: number, z: number): Vec3 {
  const c = invertRigid(camera.worldToCam);
  const x = ((u - camera.cx) / camera.fx) * z;
  const y = ((v - camera.cy) / camera.fy) * z;
  return [
    c[0] * x + c[1] * y + c[2] * z + c[3],
    c[4] * x + c[5] * y + c[6] * z + c[7],
    c[8] * x + c[9] * y + c[10] * z + c[11],
  ];
}

/** Whether a world point lies in front of the camera and inside its image. */
export function sees(camera: Camera, p: Vec3): boolean {
  const { u, v, z } = project(camera, p);
  return z > 0 && u >= 0 && v >= 0 && u < camera.width && v < camera.height;
}

/** Camera of the same image resized to width x height; x and y scale on their own. */
export function scaleCamera(camera: Camera, width: number, height: number): Camera {
  if (!(width > 0 && height > 0)) throw new ShapeError(`scaleCamera: expected a positive size, got ${width}x${height}`);
  const sx = width / camera.width;
  const sy = height / camera.height;
  return { ...camera, width, height, fx: camera.fx * sx, fy: camera.fy * sy, cx: camera.cx * sx, cy: camera.cy * sy };
}

/** Camera of a crop of the image. */
export function cropCamera(camera: Camera, rect: Rect): Camera {
  return { ...camera, width: rect.width, height: rect.height, cx: camera.cx - rect.left, cy: camera.cy - rect.top };
}

/** Full horizontal and vertical field of view in radians, also right for an off-centre principal point. */
export function fieldOfView(camera: Camera): { xRad: number; yRad: number } {
  const { width, height, fx, fy, cx, cy } = camera;
  return {
    xRad: Math.atan(cx / fx) + Math.atan((width - cx) / fx),
    yRad: Math.atan(cy / fy) + Math.atan((height - cy) / fy),
  };
}

/** Largest centred whole-pixel window with the aspect of width x height inside a sourceWidth x sourceHeight image. */
export function centreCrop(sourceWidth: number, sourceHeight: number, width: number, height: number): Rect {
  const aspect = width / height;
  const w = Math.max(1, Math.min(sourceWidth, Math.round(sourceHeight * aspect)));
  const h = Math.max(1, Math.min(sourceHeight, Math.round(sourceWidth / aspect)));
  return { left: Math.floor((sourceWidth - w) / 2), top: Math.floor((sourceHeight - h) / 2), width: w, height: h };
}
