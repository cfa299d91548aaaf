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
export function ssimPlane(a: Float32Array | Float64Array, b: Float32Array | Float64Array, width: number, height: number, at = 0): Float64Array {
  const out = new Float64Array(width * height);
  const columns = new Int32Array(3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let k = 0; k < 3; k++) columns[k] = mirror(x + k - 1, width);
      let sa = 0;
      let sb = 0;
      let aa = 0;
      let bb = 0;
      let ab = 0;
      for (let dy = -1; dy <= 1; dy++) {
        const row = at + mirror(y + dy, height) * width;
        for (let k = 0; k < 3; k++) {
          const i = row + columns[k];
          const p = a[i];
          const q = b[i];
          sa += p;
          sb += q;
          aa += p * p;
          bb += q * q;
          ab += p * q;
        }
      }
      const ma = sa / 9;
      const mb = sb / 9;
      const [va, vb, cov] = [aa / 9 - ma * ma, bb / 9 - mb * mb, ab / 9 - ma * mb];
      out[y * width + x] = ((2 * ma * mb + c1) * (2 * cov + c2)) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
    }
  }
  return out;
}
