/**
 * Tiled encoding and decoding: bounded memory for large pictures. Tiles overlap by a quarter and are blended linearly, top to
 * bottom, then left to right. The result differs slightly from an untiled pass: GroupNorm and the mid attention see one tile.
 */
import { concat, slice } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { blendEdge } from './blend';

export interface TileOptions {
  /** Side of a tile, in input units of the pass (pixels to encode, latents to decode). */
  tile: number;
  /** Output units per input unit: 1/8 to encode, 8 to decode. */
  ratio: number;
}

const OVERLAP = 0.25;

/** Runs `pass` [B, C, h, w] -> [B, C', h·ratio, w·ratio] over overlapping tiles of `x`. */
export function tiled(x: Tensor, { tile, ratio }: TileOptions, pass: (tile: Tensor) => Tensor): Tensor {
  const [, , height, width] = x.shape;
  if (height <= tile && width <= tile) return pass(x);
  const stride = Math.max(1, Math.round((tile * (1 - OVERLAP)) / Math.max(1, 1 / ratio)) * Math.max(1, Math.round(1 / ratio)));
  const band = Math.round((tile - stride) * ratio);
  const keep = Math.round(stride * ratio);
  return scope(() => {
    const rows: Tensor[][] = [];
    for (let y = 0; y < height; y += stride) {
      const row: Tensor[] = [];
      for (let left = 0; left < width; left += stride) {
        row.push(scope(() => {
          const cut = slice(slice(x, 2, y, Math.min(tile, height - y)), 3, left, Math.min(tile, width - left));
          return pass(cut);
        }));
      }
      rows.push(row);
    }
    const joined = rows.map((row, i) => {
      const cells = row.map((cell, j) => {
        let blended = i > 0 ? blendEdge(rows[i - 1][j], cell, 2, band) : cell;
        if (j > 0) blended = blendEdge(row[j - 1], blended, 3, band);
        row[j] = blended;
        const h = i + 1 < rows.length ? keep : blended.dim(2);
        const w = j + 1 < row.length ? keep : blended.dim(3);
        return slice(slice(blended, 2, 0, Math.min(h, blended.dim(2))), 3, 0, Math.min(w, blended.dim(3)));
      });
      return concat(cells, 3);
    });
    return concat(joined, 2);
  });
}
