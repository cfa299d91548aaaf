/**
 * The grid of views that the editor sees as one picture (RL3DEdit: 3x3, row-major: view i in row floor(i / cols),
 * column i mod cols, no gaps).
 */
import { ConfigError, ShapeError } from '../binding/errors';
import { createImage, cropImage, Image, pasteRows } from './image';
import { resizeImage } from './resize';

export type GridLayout = 'aligned' | 'kontext-bucket';

export interface GridPlan {
  readonly rows: number;
  readonly cols: number;
  /** Size of one view cut from the grid. */
  readonly cellWidth: number;
  readonly cellHeight: number;
  /** Size of the whole grid. */
  readonly width: number;
  readonly height: number;
  /** Side of one editor token in pixels. */
  readonly tokenPx: number;
  /**
   * 'aligned': cells are whole tokens and the split is exact. 'kontext-bucket': the size rule of the released weights.
   */
  readonly layout: GridLayout;
}

export interface PlanGridOptions {
  /** Width / height of the views. */
  viewAspect: number;
  rows?: number;
  cols?: number;
  tokenPx?: number;
  /** Long side of a cell in pixels (a multiple of tokenPx). */
  cellLongSide?: number;
  /** The grid may have up to resolution² pixels; default 1024. Not together with cellLongSide. */
  resolution?: number;
  layout?: GridLayout;
}

/** The sizes FLUX.1-Kontext was trained at, landscape and square; portrait ones are their transposes. */
const landscapeBuckets: readonly (readonly [number, number])[] = [
  [1568, 672], [1504, 688], [1456, 720], [1392, 752], [1328, 800], [1248, 832], [1184, 880], [1104, 944], [1024, 1024],
];
const buckets = [...landscapeBuckets.map(([w, h]) => [h, w] as const).slice(0, -1), ...[...landscapeBuckets].reverse()];

/** The Kontext size (width, height) whose aspect is nearest to the given one. */
export function kontextBucket(aspect: number): readonly [number, number] {
  const error = (size: readonly [number, number]): number => Math.abs(size[0] / size[1] - aspect);
  return buckets.reduce((best, size) => (error(size) < error(best) ? size : best));
}

/** Cell size in tokens: near the pixel budget from below, with an aspect near the views'. */
function cellTokens(aspect: number, budget: number): [number, number] {
  let best: [number, number] = [1, 1];
  let bestCost = Infinity;
  const widest = Math.min(budget, Math.ceil(2 * Math.sqrt(budget * aspect)));
  for (let w = 1; w <= widest; w++) {
    for (const h of new Set([Math.floor(w / aspect), Math.ceil(w / aspect)])) {
      if (h < 1 || w * h > budget) continue;
      // A wrong aspect loses picture to the crop, an unused budget loses detail; an aspect error weighs four times its
      // share.
      const cost = Math.abs(Math.log(w / h / aspect)) + 0.25 * Math.log(budget / (w * h));
      if (cost < bestCost) [best, bestCost] = [[w, h], cost];
    }
  }
  return best;
}

/**
 * Chooses the grid's size. Aligned layout: cells are multiples of tokenPx, so that no token straddles two views (1:1
 * gives 1008x1008 with 336-px cells, 4:3 gives 1152x864). Bucket layout: the nearest Kontext size, cells floor(size /
 * count), as the released weights expect.
 * @throws ConfigError for sizes that cannot be met.
 */
export function planGrid(options: PlanGridOptions): GridPlan {
  const { viewAspect, rows = 3, cols = 3, tokenPx = 16, cellLongSide, layout = 'aligned' } = options;
  const whole = { rows, cols, tokenPx };
  for (const [name, value] of Object.entries(whole)) {
    if (!Number.isInteger(value) || value < 1 || value > 1024) {
      throw new ConfigError(`grid: ${name} is ${value}, expected 1 to 1024`);
    }
  }
  if (!(viewAspect >= 0.1 && viewAspect <= 10)) {
    throw new ConfigError(`grid: views have the aspect ${viewAspect}, expected 0.1 to 10`);
  }
  if (layout === 'kontext-bucket') {
    if (cellLongSide !== undefined || options.resolution !== undefined) {
      throw new ConfigError('grid: the kontext-bucket layout fixes the size; give no cellLongSide and no resolution');
    }
    const [width, height] = kontextBucket((viewAspect * cols) / rows);
    const cellWidth = Math.floor(width / cols);
    const cellHeight = Math.floor(height / rows);
    if (cellWidth < 1 || cellHeight < 1) {
      throw new ConfigError(`grid: ${rows}x${cols} cells do not fit ${width}x${height}`);
    }
    return { rows, cols, cellWidth, cellHeight, width, height, tokenPx, layout };
  }
  let w: number;
  let h: number;
  if (cellLongSide !== undefined) {
    if (options.resolution !== undefined) throw new ConfigError('grid: give cellLongSide or resolution, not both');
    const tokens = cellLongSide / tokenPx;
    if (!Number.isInteger(tokens) || tokens < 1 || cellLongSide > 16384) {
      const near = Math.max(1, Math.round(tokens)) * tokenPx;
      throw new ConfigError(
        `grid: cellLongSide ${cellLongSide} is not a multiple of ${tokenPx}; use ${Number.isFinite(near) ? near : 336}`,
      );
    }
    w = viewAspect >= 1 ? tokens : Math.max(1, Math.round(tokens * viewAspect));
    h = viewAspect >= 1 ? Math.max(1, Math.round(tokens / viewAspect)) : tokens;
  } else {
    const resolution = options.resolution ?? 1024;
    const budget = (resolution * resolution) / (rows * cols * tokenPx * tokenPx);
    if (!(budget >= 1) || resolution > 16384) {
      throw new ConfigError(
        `grid: resolution ${resolution} does not fit ${rows}x${cols} cells of at least ${tokenPx} px`,
      );
    }
    [w, h] = cellTokens(viewAspect, budget);
  }
  const cellWidth = w * tokenPx;
  const cellHeight = h * tokenPx;
  return { rows, cols, cellWidth, cellHeight, width: cols * cellWidth, height: rows * cellHeight, tokenPx, layout };
}

/**
 * Puts rows·cols images of one size into a grid, row-major. Aligned layout: the images must have the cell size and are
 * copied unchanged. Bucket layout: tiles them at their size, then resizes the whole to the bucket (Lanczos).
 * @throws ShapeError for a wrong count or size.
 */
export function composeGrid(images: readonly Image[], plan: GridPlan): Image {
  const { rows, cols, layout } = plan;
  if (images.length !== rows * cols) {
    throw new ShapeError(`grid: expected ${rows * cols} images for ${rows}x${cols}, got ${images.length}`);
  }
  const width = layout === 'aligned' ? plan.cellWidth : images[0].width;
  const height = layout === 'aligned' ? plan.cellHeight : images[0].height;
  const grid = createImage(cols * width, rows * height);
  images.forEach((image, i) => {
    if (image.width !== width || image.height !== height) {
      throw new ShapeError(`grid: image ${i} is ${image.width}x${image.height}, expected ${width}x${height}`);
    }
    pasteRows(image, 0, 0, grid, (i % cols) * width, Math.floor(i / cols) * height, width, height);
  });
  return resizeImage(grid, plan.width, plan.height, 'lanczos');
}

/** Cuts the grid into its cells, row-major; pixels beyond the last whole cell (bucket layout) are dropped. */
export function splitGrid(grid: Image, plan: GridPlan): Image[] {
  const { rows, cols, cellWidth: width, cellHeight: height } = plan;
  if (grid.width !== plan.width || grid.height !== plan.height) {
    throw new ShapeError(`grid: expected a ${plan.width}x${plan.height} image, got ${grid.width}x${grid.height}`);
  }
  return Array.from({ length: rows * cols }, (_, i) =>
    cropImage(grid, { left: (i % cols) * width, top: Math.floor(i / cols) * height, width, height }),
  );
}
