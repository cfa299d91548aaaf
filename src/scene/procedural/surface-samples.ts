/** Points of the visible surfaces of rendered views, with exact normals: for sparse models and ground-truth splats. */
import { cameraCentre, pixelCamera, type ProceduralCamera } from './cameras';
import { dot, sub, type Vec3 } from './math';
import { normalAt } from './object-geometry';
import { farDepth, type RenderedViews, type RenderSize } from './render';
import type { ProceduralScene } from './world';

export interface SurfaceSample {
  readonly position: Vec3;
  /** Unit, outward, world axes. */
  readonly normal: Vec3;
  /** Display values in [0, 1]: the mean of the pixel. */
  readonly colour: Vec3;
  readonly view: number;
  /** Width of one pixel at this depth, metres, across the line of sight. */
  readonly footprint: number;
  /** Angle of sight: |cos| between normal and line of sight. */
  readonly slant: number;
}

/** Where a world point falls in a picture: pixels (centres at +0.5) and z-depth. */
export function project(row: readonly number[], point: Vec3): { x: number; y: number; depth: number } {
  const m = row.slice(4);
  const [x, y, depth] = [0, 4, 8].map((k) => m[k] * point[0] + m[k + 1] * point[1] + m[k + 2] * point[2] + m[k + 3]);
  return { x: (row[0] * x) / depth + row[2], y: (row[1] * y) / depth + row[3], depth };
}

/** World point at z-depth `depth` on the ray through picture position (x, y). */
export function unproject(row: readonly number[], x: number, y: number, depth: number): Vec3 {
  const m = row.slice(4);
  const local = [((x - row[2]) / row[0]) * depth - m[3], ((y - row[3]) / row[1]) * depth - m[7], depth - m[11]];
  const at = (k: number): number => m[k] * local[0] + m[4 + k] * local[1] + m[8 + k] * local[2];
  return [at(0), at(1), at(2)];
}

/** Largest relative difference of depths at which a pixel still shows the point. */
const sameDepth = 0.01;

/** Whether view `v` shows the point at the pixel it falls into. */
export function sees(row: readonly number[], views: RenderedViews, v: number, size: RenderSize, point: Vec3): boolean {
  const { x, y, depth } = project(row, point);
  if (!(depth > 0 && x >= 0 && y >= 0 && x < size.width && y < size.height)) return false;
  const shown = views.depth[(v * size.height + Math.floor(y)) * size.width + Math.floor(x)];
  return Math.abs(shown - depth) < sameDepth * depth;
}

/**
 * The centre of every `step`-th pixel in both directions, sky left out, once per surface point: a point that an earlier
 * view shows at no less than 0.8 times the sampling density is not taken again.
 */
export function surfaceSamples(
  scene: ProceduralScene,
  cameras: readonly ProceduralCamera[],
  views: RenderedViews,
  size: RenderSize,
  step = 1,
): SurfaceSample[] {
  const { width, height } = size;
  const plane = width * height;
  const solids = [...scene.objects, ...(scene.extras ?? [])];
  const rows = cameras.map((camera) => pixelCamera(camera, width, height));
  const centres = cameras.map(cameraCentre);
  // Of a pixel on a surface seen at an angle: its area on the surface, up to a factor that all views share.
  const density = (v: number, point: Vec3, normal: Vec3): number => {
    const to = sub(centres[v], point);
    const square = dot(to, to);
    return Math.abs(dot(to, normal)) / (square * Math.sqrt(square));
  };
  const samples: SurfaceSample[] = [];
  cameras.forEach((_, v) => {
    for (let y = Math.floor(step / 2); y < height; y += step) {
      for (let x = Math.floor(step / 2); x < width; x += step) {
        const pixel = v * plane + y * width + x;
        const id = views.ids[pixel];
        if (id === 0 || views.depth[pixel] >= farDepth) continue;
        const position = unproject(rows[v], x + 0.5, y + 0.5, views.depth[pixel]);
        const normal: Vec3 = id === 1 ? [0, 0, 1] : normalAt(solids[id - 2], position);
        const own = density(v, position, normal);
        const known = (u: number): boolean => sees(rows[u], views, u, size, position) && density(u, position, normal) > 0.8 * own;
        if (Array.from({ length: v }, (_u, u) => u).some(known)) continue;
        const at = (c: number): number => views.rgb[(3 * v + c) * plane + y * width + x];
        const to = sub(centres[v], position);
        samples.push({
          position,
          normal,
          colour: [at(0), at(1), at(2)],
          view: v,
          footprint: (step * views.depth[pixel]) / rows[v][0],
          slant: Math.abs(dot(to, normal)) / Math.sqrt(dot(to, to)),
        });
      }
    }
  });
  return samples;
}
