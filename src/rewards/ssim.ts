/** Structural similarity with 3x3 mean windows, as in Monodepth2's photometric loss (RL3DEdit's Ph-Loss uses the same). */

/** Values in [0, 1]: K = (0.01, 0.03). */
const c1 = 0.01 ** 2;
const c2 = 0.03 ** 2;

/** Index mirrored at the border without repeating it (one pixel beyond at most); a side of one pixel is its own mirror. */
function mirror(i: number, size: number): number {
  if (size === 1) return 0;
  return i < 0 ? 1 : i >= size ? size - 2 : i;
}

/**
 * SSIM of every pixel of two planes [height, width] at offset `at`, in [−1, 1], over 3x3 windows mirrored at the border.
 * Computed in float64.
 */
export function ssimPlane(a: ArrayLike<number>, b: ArrayLike<number>, width: number, height: number, at = 0): Float64Array {
  const out = new Float64Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let [sa, sb, aa, bb, ab] = [0, 0, 0, 0, 0];
      for (let dy = -1; dy <= 1; dy++) {
        const row = at + mirror(y + dy, height) * width;
        for (let dx = -1; dx <= 1; dx++) {
          const i = row + mirror(x + dx, width);
          const [p, q] = [a[i], b[i]];
          sa += p;
          sb += q;
          aa += p * p;
          bb += q * q;
          ab += p * q;
        }
      }
      const [ma, mb] = [sa / 9, sb / 9];
      const [va, vb, cov] = [aa / 9 - ma * ma, bb / 9 - mb * mb, ab / 9 - ma * mb];
      out[y * width + x] = ((2 * ma * mb + c1) * (2 * cov + c2)) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
    }
  }
  return out;
}
