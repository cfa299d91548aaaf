/** Pictures of one size in rows, as one PNG. */
import { createImage, encodePng } from '../scene';
import type { Image } from '../scene';

/** @param rows pictures from left to right; rows may differ in length */
export async function encodeMosaic(rows: readonly (readonly Image[])[], gap = 2): Promise<Buffer> {
  const [{ width, height }] = rows.flat();
  const columns = Math.max(...rows.map((row) => row.length));
  const out = createImage(columns * (width + gap) - gap, rows.length * (height + gap) - gap);
  out.data.fill(1);
  rows.forEach((row, r) =>
    row.forEach((picture, c) => {
      for (let channel = 0; channel < 3; channel++) {
        for (let y = 0; y < height; y++) {
          const from = (channel * height + y) * width;
          const to = (channel * out.height + r * (height + gap) + y) * out.width + c * (width + gap);
          out.data.set(picture.data.subarray(from, from + width), to);
        }
      }
    }),
  );
  return encodePng(out);
}
