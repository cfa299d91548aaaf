/** Sparse models in COLMAP's layout: cameras, images and points as binary and as text. */
import { pixelCamera, type ProceduralCamera } from './cameras';
import type { Vec3 } from './math';
import type { RenderedViews, RenderSize } from './render';
import { project, sees, surfaceSamples } from './surface-samples';
import type { ProceduralScene } from './world';
import { quaternionOf } from './write-splat';

export interface SparsePoint {
  readonly position: Vec3;
  /** 0-255. */
  readonly colour: readonly [number, number, number];
  /** Views that see the point, and where, in pixels. */
  readonly track: readonly { readonly view: number; readonly x: number; readonly y: number }[];
}

export interface SparseModel {
  readonly cameras: readonly ProceduralCamera[];
  /** File names inside the image folder, one per camera. */
  readonly names: readonly string[];
  readonly points: readonly SparsePoint[];
}

/**
 * Exact points on a grid of pixels of the first `count` views, each with the projections into all of these views that see
 * it. Points seen once are left out: a sparse model holds triangulated points only.
 */
export function sparsePoints(
  scene: ProceduralScene,
  views: RenderedViews,
  size: RenderSize,
  count = scene.cameras.views.length,
): SparsePoint[] {
  const cameras = scene.cameras.views.slice(0, count);
  const rows = cameras.map((camera) => pixelCamera(camera, size.width, size.height));
  const step = Math.max(1, Math.round(Math.min(size.width, size.height) / 24));
  const byte = (x: number): number => Math.floor(x * 255 + 0.5);
  return surfaceSamples(scene, cameras, views, size, step).map(({ position, colour }) => ({
    position,
    colour: [byte(colour[0]), byte(colour[1]), byte(colour[2])] as const,
    track: rows.flatMap((row, view) => {
      if (!sees(row, views, view, size, position)) return [];
      const { x, y } = project(row, position);
      return [{ view, x, y }];
    }),
  })).filter(({ track }) => track.length > 1);
}

interface Observation {
  readonly x: number;
  readonly y: number;
  /** 1-based. */
  readonly point: number;
}

/** Per view its observations, and per point its place in each view's list. */
function observations({ cameras, points }: SparseModel): { lists: Observation[][]; tracks: [number, number][][] } {
  const lists: Observation[][] = cameras.map(() => []);
  const tracks = points.map(({ track }, i) =>
    track.map(({ view, x, y }): [number, number] => [view + 1, lists[view].push({ x, y, point: i + 1 }) - 1]),
  );
  return { lists, tracks };
}

const pinhole = 1;

class Writer {
  private readonly parts: Buffer[] = [];
  private put(bytes: number, write: (buffer: Buffer) => void): void {
    const buffer = Buffer.alloc(bytes);
    write(buffer);
    this.parts.push(buffer);
  }
  i32(...values: number[]): void {
    for (const value of values) this.put(4, (b) => b.writeInt32LE(value));
  }
  u64(value: number): void {
    this.put(8, (b) => b.writeBigUInt64LE(BigInt(value)));
  }
  f64(...values: number[]): void {
    for (const value of values) this.put(8, (b) => b.writeDoubleLE(value));
  }
  bytes(...values: number[]): void {
    this.parts.push(Buffer.from(values));
  }
  end(): Buffer {
    return Buffer.concat(this.parts);
  }
}

/** COLMAP's pose of a camera: quaternion (w, x, y, z) and translation, camera-from-world. */
function pose({ worldToCam: m }: ProceduralCamera): number[] {
  return [...quaternionOf([m[0], m[1], m[2], m[4], m[5], m[6], m[8], m[9], m[10]]), m[3], m[7], m[11]];
}

/**
 * cameras, images and points3D, each as `.bin` and `.txt`, by file name. One PINHOLE camera (fx, fy, cx, cy in pixels,
 * pixel centres at +0.5 as COLMAP has them) per image; ids count from 1.
 */
export function encodeColmap(model: SparseModel, { width, height }: RenderSize): Record<string, Buffer | string> {
  const { cameras, names, points } = model;
  const { lists, tracks } = observations(model);
  const [cameraBin, imageBin, pointBin] = [new Writer(), new Writer(), new Writer()];
  const cameraText = ['# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]'];
  const imageText = ['# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME', '# POINTS2D[] as (X, Y, POINT3D_ID)'];
  const pointText = ['# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)'];
  cameraBin.u64(cameras.length);
  imageBin.u64(cameras.length);
  pointBin.u64(points.length);
  cameras.forEach((camera, i) => {
    const id = i + 1;
    const intrinsics = pixelCamera(camera, width, height).slice(0, 4);
    cameraBin.i32(id, pinhole);
    cameraBin.u64(width);
    cameraBin.u64(height);
    cameraBin.f64(...intrinsics);
    cameraText.push([id, 'PINHOLE', width, height, ...intrinsics].join(' '));
    imageBin.i32(id);
    imageBin.f64(...pose(camera));
    imageBin.i32(id);
    imageBin.bytes(...Buffer.from(`${names[i]}\0`, 'utf8'));
    imageBin.u64(lists[i].length);
    for (const { x, y, point } of lists[i]) {
      imageBin.f64(x, y);
      imageBin.u64(point);
    }
    imageText.push([id, ...pose(camera), id, names[i]].join(' '));
    imageText.push(lists[i].map(({ x, y, point }) => `${x} ${y} ${point}`).join(' '));
  });
  points.forEach(({ position, colour }, i) => {
    pointBin.u64(i + 1);
    pointBin.f64(...position);
    pointBin.bytes(...colour);
    pointBin.f64(0);
    pointBin.u64(tracks[i].length);
    pointBin.i32(...tracks[i].flat());
    pointText.push([i + 1, ...position, ...colour, 0, ...tracks[i].flat()].join(' '));
  });
  const text = (lines: string[]): string => `${lines.join('\n')}\n`;
  return {
    'cameras.bin': cameraBin.end(),
    'cameras.txt': text(cameraText),
    'images.bin': imageBin.end(),
    'images.txt': text(imageText),
    'points3D.bin': pointBin.end(),
    'points3D.txt': text(pointText),
  };
}
