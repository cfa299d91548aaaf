/** Sparse models in COLMAP's layout: cameras, images and points as binary and as text. */
import { type ColmapObservation, encodeColmapBinary, encodeColmapText } from '../datasets/write-colmap';
import { quaternionOf } from '../quaternion';
import { pixelCamera, type ProceduralCamera } from './cameras';
import type { Vec3 } from './math';
import type { RenderedViews, RenderSize } from './render';
import { project, sees, surfaceSamples } from './surface-samples';
import type { ProceduralScene } from './world';

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

/**
 * cameras, images and points3D, each as `.bin` and `.txt`, by file name. One PINHOLE camera (fx, fy, cx, cy in pixels,
 * pixel centres at +0.5 as COLMAP has them) per image; ids count from 1.
 */
export function encodeColmap(model: SparseModel, { width, height }: RenderSize): Record<string, Buffer | string> {
  const lists: ColmapObservation[][] = model.cameras.map(() => []);
  const points = model.points.map(({ position, colour, track }, i) => ({
    id: i + 1,
    position,
    color: colour,
    track: track.map(({ view, x, y }): [number, number] => [view + 1, lists[view].push({ x, y, point: i + 1 }) - 1]),
  }));
  const cameras = model.cameras.map((camera, i) => ({
    id: i + 1, model: 'PINHOLE', width, height, params: pixelCamera(camera, width, height).slice(0, 4),
  }));
  const images = model.cameras.map(({ worldToCam: m }, i) => ({
    id: i + 1, quaternion: quaternionOf([m[0], m[1], m[2], m[4], m[5], m[6], m[8], m[9], m[10]]),
    translation: [m[3], m[7], m[11]], cameraId: i + 1, name: model.names[i], observations: lists[i],
  }));
  const files = { cameras, images, points };
  return { ...encodeColmapBinary(files), ...encodeColmapText(files) };
}
