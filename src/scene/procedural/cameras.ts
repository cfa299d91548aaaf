/** Cameras of a procedural scene: nine on an arc in arc order, and held-out ones between them. */
import { add, cos, cross, dot, rad, scale, sin, sub, tan, unit, type Vec3 } from './math';
import { Rng, stream } from './rng';
import { heldOut, splitOf } from './splits';

/**
 * Pinhole camera, OpenCV axes (x right, y down, z forward), pixel centres at +0.5. Focal lengths are fractions of the
 * image width; cx and cy are fractions of width and height, so one camera serves every resolution of one aspect.
 */
export interface ProceduralCamera {
  readonly fx: number;
  readonly fy: number;
  readonly cx: number;
  readonly cy: number;
  /** 3x4 camera-from-world, row-major. */
  readonly worldToCam: readonly number[];
}

export interface CameraSet {
  /** In arc order, left to right. */
  readonly views: readonly ProceduralCamera[];
  /** Held-out cameras on the same arc, each between two neighbours of `views`. */
  readonly heldOut: readonly ProceduralCamera[];
  readonly spanDeg: number;
}

/** Looks from `eye` to `target` with world z up; `rollRad` turns about the optical axis. */
export function lookAt(eye: Vec3, target: Vec3, rollRad: number): number[] {
  const forward = unit(sub(target, eye));
  const level = unit(cross(forward, [0, 0, 1]));
  const down = cross(forward, level);
  const right = add(scale(level, cos(rollRad)), scale(down, sin(rollRad)));
  const below = sub(scale(down, cos(rollRad)), scale(level, sin(rollRad)));
  return [right, below, forward].flatMap((axis) => [...axis, -dot(axis, eye)]);
}

/** World position of a camera. */
export function cameraCentre(camera: ProceduralCamera): Vec3 {
  const m = camera.worldToCam;
  return [0, 1, 2].map((k) => -(m[k] * m[3] + m[4 + k] * m[7] + m[8 + k] * m[11])) as unknown as Vec3;
}

/** [fx, fy, cx, cy, worldToCam 12] in pixels: one row of the ray caster's camera array. */
export function pixelCamera(camera: ProceduralCamera, width: number, height: number): number[] {
  return [camera.fx * width, camera.fy * width, camera.cx * width, camera.cy * height, ...camera.worldToCam];
}

/**
 * Samples an arc about `centroid`: azimuth span 60-160 degrees (at most 140 outside the unseen split), elevation
 * 15-35 degrees with a wave along the arc, radius 3.2-4.4 m, look-at within 0.15 m, roll up to 3 degrees, horizontal
 * field of view 40-60 degrees, principal point off by up to 3 %, fx and fy apart by up to 2 %.
 */
export function sampleCameras(seed: number, attempt: number, centroid: Vec3, count = 9, heldOutCount = 6): CameraSet {
  const rng = new Rng(seed, stream.cameras, attempt);
  const spanDeg = splitOf(seed) === 'unseen' ? rng.range(heldOut.maxSpanDeg, 160) : rng.range(60, heldOut.maxSpanDeg);
  const startDeg = rng.range(0, 360) - spanDeg / 2;
  const elevationDeg = rng.range(15, 32);
  const waveDeg = rng.range(0, 3);
  const wavePhase = rng.range(0, 6.28);
  const radius = rng.range(3.2, 4.4);
  const fx = 0.5 / tan(rad(rng.range(42, 60)) / 2);
  const fy = fx * rng.range(0.98, 1.02);
  const cx = 0.5 + rng.range(-0.03, 0.03);
  const cy = 0.5 + rng.range(-0.03, 0.03);
  const at = (t: number, stepDeg: number): ProceduralCamera => {
    const azimuth = rad(startDeg + t * spanDeg + rng.range(-0.2, 0.2) * stepDeg);
    const elevation = rad(elevationDeg + waveDeg * sin(wavePhase + 6.28 * t) + rng.range(-0.5, 0.5));
    const distance = radius + rng.range(-0.15, 0.15);
    const ring = distance * cos(elevation);
    const eye: Vec3 = add(centroid, [ring * cos(azimuth), ring * sin(azimuth), distance * sin(elevation)]);
    const target = add(centroid, [rng.range(-0.08, 0.08), rng.range(-0.08, 0.08), rng.range(-0.08, 0.08)]);
    return { fx, fy, cx, cy, worldToCam: lookAt(eye, target, rad(rng.range(-3, 3))) };
  };
  const step = count > 1 ? 1 / (count - 1) : 1;
  const views = Array.from({ length: count }, (_, i) => at(count > 1 ? i * step : 0.5, spanDeg * step));
  const between = Array.from({ length: heldOutCount }, (_, i) => {
    const gap = Math.floor(((i + 0.5) * Math.max(count - 1, 1)) / heldOutCount);
    return at((gap + 0.5) * step, 0);
  });
  return { views, heldOut: between, spanDeg };
}
