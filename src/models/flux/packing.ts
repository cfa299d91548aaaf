/** Latents to tokens and back, and the positions of tokens. */
import { ShapeError } from '../../binding/errors';
import { patchify, unpatchify } from '../../tensor/ops';
import type { Tensor } from '../../tensor/tensor';
import { positionIds } from './math';
import type { PositionIds } from './math';

/** A token covers 2×2 latent pixels. */
export const tokenLatentSize = 2;

/**
 * Latents [B, C, h, w] -> tokens [B, (h/2)(w/2), 4 C], row-major; channel of a token = 4 c + 2 (row in patch) + column.
 * @throws ShapeError for odd sizes
 */
export function packLatents(latents: Tensor): Tensor {
  const [, , height, width] = latents.shape;
  if (height % tokenLatentSize !== 0 || width % tokenLatentSize !== 0) {
    throw new ShapeError(`packLatents: expected even latent sizes (images in multiples of 16 pixels), got [${latents.shape}]`);
  }
  return patchify(latents, tokenLatentSize);
}

/** Inverse of packLatents: tokens [B, rows · columns, 4 C] -> latents [B, C, 2 rows, 2 columns]. */
export function unpackLatents(packed: Tensor, rows: number, columns: number): Tensor {
  if (packed.dim(1) !== rows * columns) {
    throw new ShapeError(`unpackLatents: expected ${rows}×${columns} tokens, got [${packed.shape}]`);
  }
  return unpatchify(packed, tokenLatentSize, rows * tokenLatentSize, columns * tokenLatentSize);
}

/** A rectangle of tokens and where it lies on the position axes. */
export interface TokenGrid {
  rows: number;
  columns: number;
  /** Axis 0: 0 for targets, 1 for the reference. */
  image?: number;
  rowOffset?: number;
  columnOffset?: number;
}

/** Ids (image, row, column) of the tokens of each grid in turn, row-major. */
export function gridIds(grids: readonly TokenGrid[]): PositionIds {
  const ids: number[] = [];
  for (const { rows, columns, image = 0, rowOffset = 0, columnOffset = 0 } of grids) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) ids.push(image, row + rowOffset, column + columnOffset);
    }
  }
  return positionIds(ids);
}

/** Kontext's ids: the target grid on image axis 0, the reference grid, of any size, on 1, both from (0, 0). */
export function kontextIds(target: TokenGrid, reference?: TokenGrid): PositionIds {
  return gridIds([{ ...target, image: 0 }, ...(reference ? [{ ...reference, image: 1 }] : [])]);
}

/**
 * How several views share one sequence, all targets first, then all references in the same order:
 * - `grid`: view v lies at its cell of a `columns`-wide mosaic; exactly the positions of one tiled image;
 * - `index`: every view starts at (0, 0) and has image ids of its own, 2v and 2v + 1 (needs a network trained so).
 */
export type ViewLayout = { kind: 'grid'; columns: number } | { kind: 'index' };

/** Ids of `views` target grids followed by as many reference grids of the same size. */
export function multiViewIds(views: number, { rows, columns }: TokenGrid, layout: ViewLayout): PositionIds {
  const grids = (reference: 0 | 1): TokenGrid[] =>
    Array.from({ length: views }, (_, v) => {
      if (layout.kind === 'index') return { rows, columns, image: 2 * v + reference };
      const cellRow = Math.floor(v / layout.columns);
      const cellColumn = v % layout.columns;
      return { rows, columns, image: reference, rowOffset: cellRow * rows, columnOffset: cellColumn * columns };
    });
  return gridIds([...grids(0), ...grids(1)]);
}

/** Cells along a row of the mosaic in which finished views may stand beside those that are edited. */
export const contextGridColumns = 3;

/**
 * Ids of one sequence with finished views: targets on image axis 0, the unedited views of targets and contexts on 1, the finished
 * edits of the contexts on 2, each at its cell of the 3×3 mosaic.
 */
export function contextViewIds(targets: readonly number[], contexts: readonly number[], { rows, columns }: TokenGrid): PositionIds {
  const grids = (image: number, cells: readonly number[]): TokenGrid[] =>
    cells.map((cell) => ({
      rows,
      columns,
      image,
      rowOffset: Math.floor(cell / contextGridColumns) * rows,
      columnOffset: (cell % contextGridColumns) * columns,
    }));
  return gridIds([...grids(0, targets), ...grids(1, [...targets, ...contexts]), ...grids(2, contexts)]);
}
