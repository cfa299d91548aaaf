/**
 * Lens distortion and its removal. Models follow OpenCV and COLMAP: a pinhole ray (x, y) = (X/Z, Y/Z) is bent to (xd,
 * yd), then u = fx·xd + cx, v = fy·yd + cy.
 */
import { SceneError } from '../binding/errors';
import { Camera } from './cameras';
import { createImage, Image } from './image';

export interface Lens {
  /**
   * 'radial': OpenCV's rational + tangential model. 'fisheye': OpenCV's equidistant model, and with p1, p2, sx1, sy1
   * COLMAP's thin prism fisheye, whose terms are taken in the angle. 'fov': Devernay and Faugeras, one angle omega.
   */
  readonly model: 'radial' | 'fisheye' | 'fov';
  readonly k1: number;
  readonly k2: number;
  readonly k3: number;
  readonly k4: number;
  /** k5 and k6 are used by the radial model only; k4..k6 form its denominator. */
  readonly k5: number;
  readonly k6: number;
  readonly p1: number;
  readonly p2: number;
  /** Thin prism terms, fisheye model only. */
  readonly sx1: number;
  readonly sy1: number;
  /** Field-of-view parameter in radians, fov model only. */
  readonly omega: number;
}

export type LensParameters = Partial<Omit<Lens, 'model'>>;

const coefficientsOf: Record<string, { model: Lens['model']; names: readonly (keyof LensParameters)[] }> = {
  SIMPLE_PINHOLE: { model: 'radial', names: [] },
  PINHOLE: { model: 'radial', names: [] },
  SIMPLE_RADIAL: { model: 'radial', names: ['k1'] },
  RADIAL: { model: 'radial', names: ['k1', 'k2'] },
  OPENCV: { model: 'radial', names: ['k1', 'k2', 'k3', 'p1', 'p2'] },
  FULL_OPENCV: { model: 'radial', names: ['k1', 'k2', 'k3', 'k4', 'k5', 'k6', 'p1', 'p2'] },
  SIMPLE_RADIAL_FISHEYE: { model: 'fisheye', names: ['k1'] },
  RADIAL_FISHEYE: { model: 'fisheye', names: ['k1', 'k2'] },
  OPENCV_FISHEYE: { model: 'fisheye', names: ['k1', 'k2', 'k3', 'k4'] },
  FOV: { model: 'fov', names: ['omega'] },
  THIN_PRISM_FISHEYE: { model: 'fisheye', names: ['k1', 'k2', 'k3', 'k4', 'p1', 'p2', 'sx1', 'sy1'] },
};

/** The camera model names that `lensFor` understands. */
export const cameraModels: readonly string[] = Object.keys(coefficientsOf);

/**
 * Lens of a COLMAP / nerfstudio camera model, or undefined when nothing is bent.
 * @throws SceneError for an unknown model, or a coefficient that the model does not have.
 */
export function lensFor(modelName: string, parameters: LensParameters, what: string): Lens | undefined {
  const known = Object.hasOwn(coefficientsOf, modelName) ? coefficientsOf[modelName] : undefined;
  if (!known) {
    throw new SceneError(
      `${what}: camera model "${modelName}" is not supported; supported: ${cameraModels.join(', ')}`,
    );
  }
  const lens: Record<keyof LensParameters, number> = {
    k1: 0, k2: 0, k3: 0, k4: 0, k5: 0, k6: 0, p1: 0, p2: 0, sx1: 0, sy1: 0, omega: 0,
  };
  let bent = known.model === 'fisheye';
  for (const [key, value] of Object.entries(parameters) as [keyof LensParameters, number | undefined][]) {
    if (value === undefined || value === 0) continue;
    if (!known.names.includes(key)) {
      throw new SceneError(
        `${what}: ${key} = ${value} has no meaning in camera model ${modelName}; use another camera_model`,
      );
    }
    lens[key] = value;
    bent = true;
  }
  if (Math.abs(lens.omega) >= Math.PI) {
    throw new SceneError(`${what}: omega = ${lens.omega}, expected a field of view between -pi and pi radians`);
  }
  // Below this the formula divides zero by zero, while the bend itself (omega² r² / 3) is beneath rounding.
  if (known.model === 'fov') bent = Math.abs(lens.omega) > 1e-7;
  return bent ? { model: known.model, ...lens } : undefined;
}

/** Tangential and thin prism terms at (x, y) with r2 = x² + y². */
function decentring({ p1, p2, sx1, sy1 }: Lens, x: number, y: number, r2: number): [number, number] {
  return [
    2 * p1 * x * y + p2 * (r2 + 2 * x * x) + sx1 * r2,
    p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + sy1 * r2,
  ];
}

/** Bends the ray (x, y): the distortion formula of the lens's model. */
export function distort(lens: Lens, x: number, y: number): [number, number] {
  const r2 = x * x + y * y;
  if (lens.model === 'fov') {
    const r = Math.sqrt(r2);
    const slope = 2 * Math.tan(lens.omega / 2);
    const scale = r < 1e-12 ? slope / lens.omega : Math.atan(r * slope) / (r * lens.omega);
    return [x * scale, y * scale];
  }
  if (lens.model === 'fisheye') {
    const r = Math.sqrt(r2);
    if (r < 1e-12) return [x, y];
    const theta = Math.atan(r);
    const t2 = theta * theta;
    const bent = theta * (1 + t2 * (lens.k1 + t2 * (lens.k2 + t2 * (lens.k3 + t2 * lens.k4))));
    const [dx, dy] = decentring(lens, (x * theta) / r, (y * theta) / r, t2);
    return [(x * bent) / r + dx, (y * bent) / r + dy];
  }
  const radial =
    (1 + r2 * (lens.k1 + r2 * (lens.k2 + r2 * lens.k3))) / (1 + r2 * (lens.k4 + r2 * (lens.k5 + r2 * lens.k6)));
  const [dx, dy] = decentring(lens, x, y, r2);
  return [x * radial + dx, y * radial + dy];
}

/**
 * Straightens the bent ray (xd, yd): Newton steps on `distort` with a central-difference Jacobian; the fov model has a
 * closed form, which holds for bent radii below pi / (2 omega).
 */
export function undistort(lens: Lens, xd: number, yd: number): [number, number] {
  if (lens.model === 'fov') {
    const r = Math.hypot(xd, yd);
    const slope = 2 * Math.tan(lens.omega / 2);
    const scale = r < 1e-12 ? lens.omega / slope : Math.tan(r * lens.omega) / (r * slope);
    return [xd * scale, yd * scale];
  }
  let x = xd;
  let y = yd;
  const h = 1e-6;
  for (let step = 0; step < 30; step++) {
    const [fx, fy] = distort(lens, x, y);
    const ex = fx - xd;
    const ey = fy - yd;
    if (Math.abs(ex) + Math.abs(ey) < 1e-14) break;
    const [ax, ay] = distort(lens, x + h, y);
    const [bx, by] = distort(lens, x - h, y);
    const [cx, cy] = distort(lens, x, y + h);
    const [dx, dy] = distort(lens, x, y - h);
    const j00 = (ax - bx) / (2 * h);
    const j10 = (ay - by) / (2 * h);
    const j01 = (cx - dx) / (2 * h);
    const j11 = (cy - dy) / (2 * h);
    const det = j00 * j11 - j01 * j10;
    x -= (j11 * ex - j01 * ey) / det;
    y -= (j00 * ey - j10 * ex) / det;
  }
  return [x, y];
}

/**
 * Pinhole camera for the straightened image: the same size, pose and principal point; focal lengths are the given ones,
 * enlarged by the smallest common factor for which every pixel comes from inside the photograph (half a pixel of
 * slack), so that no pixel is invented.
 * @throws SceneError when even twice the focal length does not suffice, which only wrong coefficients cause.
 */
export function straightenedCamera(source: Camera, lens: Lens, what: string): Camera {
  const zoom = straighteningZoom(source, lens);
  if (zoom === undefined) {
    throw new SceneError(
      `${what}: the distortion coefficients bend rays out of the ${source.width}x${source.height} image even at ` +
        'twice the focal length; check the coefficients and the focal lengths',
    );
  }
  return zoom === 1 ? source : { ...source, fx: source.fx * zoom, fy: source.fy * zoom };
}

/** The photographs of a scene mostly share one lens: its zoom is searched once. */
let lastZoom: { key: string; zoom: number | undefined } | undefined;

/** Smallest factor of the focal lengths in [1, 2] that keeps the border inside the photograph; undefined for none. */
function straighteningZoom(source: Camera, lens: Lens): number | undefined {
  const { width, height, fx, fy, cx, cy } = source;
  const key = JSON.stringify([width, height, fx, fy, cx, cy, lens]);
  if (lastZoom?.key !== key) lastZoom = { key, zoom: searchZoom(source, lens) };
  return lastZoom.zoom;
}

function searchZoom(source: Camera, lens: Lens): number | undefined {
  const fits = (zoom: number): boolean => borderStaysInside(source, lens, zoom);
  if (fits(1)) return 1;
  if (!fits(2)) return undefined;
  let low = 1;
  let high = 2;
  for (let step = 0; step < 30; step++) {
    const mid = (low + high) / 2;
    if (fits(mid)) high = mid;
    else low = mid;
  }
  return high;
}

function borderStaysInside(source: Camera, lens: Lens, zoom: number): boolean {
  const { width, height, fx, fy, cx, cy } = source;
  const steps = 64;
  for (let i = 0; i <= steps; i++) {
    const u = 0.5 + ((width - 1) * i) / steps;
    const v = 0.5 + ((height - 1) * i) / steps;
    for (const [a, b] of [[u, 0.5], [u, height - 0.5], [0.5, v], [width - 0.5, v]]) {
      const [xd, yd] = distort(lens, (a - cx) / (fx * zoom), (b - cy) / (fy * zoom));
      const us = fx * xd + cx;
      const vs = fy * yd + cy;
      if (!(us >= 0 && vs >= 0 && us <= width && vs <= height)) return false;
    }
  }
  return true;
}

/**
 * Where each target pixel samples the source: interleaved (column, row) in array coordinates, [height, width, 2]
 * float32.
 */
export interface UndistortMap {
  readonly width: number;
  readonly height: number;
  readonly at: Float32Array;
}

/**
 * Sampling map from the straightened image (camera `target`) into the photograph (intrinsics of `source`, bent by
 * `lens`).
 */
export function undistortMap(source: Camera, lens: Lens, target: Camera): UndistortMap {
  const { width, height } = target;
  const at = new Float32Array(width * height * 2);
  let o = 0;
  for (let j = 0; j < height; j++) {
    const y = (j + 0.5 - target.cy) / target.fy;
    for (let i = 0; i < width; i++) {
      const [xd, yd] = distort(lens, (i + 0.5 - target.cx) / target.fx, y);
      at[o++] = source.fx * xd + source.cx - 0.5;
      at[o++] = source.fy * yd + source.cy - 0.5;
    }
  }
  return { width, height, at };
}

/** Bilinear resampling of `image` through a map; positions outside the image take the nearest border pixel. */
export function remap(image: Image, map: UndistortMap): Image {
  const { min, max, floor } = Math;
  const out = createImage(map.width, map.height);
  const { width: w, height: h, data } = image;
  const plane = map.width * map.height;
  for (let p = 0; p < plane; p++) {
    const x = min(max(map.at[2 * p], 0), w - 1);
    const y = min(max(map.at[2 * p + 1], 0), h - 1);
    const x0 = min(floor(x), max(w - 2, 0));
    const y0 = min(floor(y), max(h - 2, 0));
    const ax = x - x0;
    const ay = y - y0;
    const right = w > 1 ? 1 : 0;
    const down = h > 1 ? w : 0;
    const o = y0 * w + x0;
    for (let c = 0; c < 3; c++) {
      const q = c * w * h + o;
      const top = data[q] + ax * (data[q + right] - data[q]);
      const bottom = data[q + down] + ax * (data[q + down + right] - data[q + down]);
      out.data[c * plane + p] = top + ay * (bottom - top);
    }
  }
  return out;
}
