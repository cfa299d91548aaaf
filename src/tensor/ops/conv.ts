import { onTape } from '../tape';
import type { Tensor } from '../tensor';
import { call, callMany } from './call';

/** Zeros around an image: [top, left, bottom, right]. */
export type Padding = readonly [number, number, number, number];

/**
 * 2-D convolution (cross-correlation): x [B,C,H,W], weight [O,C,kh,kw], bias [O] -> [B,O,Ho,Wo] with
 * Ho = floor((H + top + bottom - kh) / stride) + 1. Throws ShapeError when channels differ or the kernel does not fit.
 */
export function conv2d(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor | null,
  { stride = 1, padding = [0, 0, 0, 0] }: { stride?: number; padding?: Padding } = {},
): Tensor {
  const sides = [...padding];
  const y = call('conv2d', x, weight, bias ?? null, stride, sides);
  onTape([x, weight, bias ?? null], [y], [x, weight], ([dy], needs) =>
    callMany('conv2d_bwd', dy, x, weight, stride, sides, needs[0], needs[1], needs[2]),
  );
  return y;
}

/** Transposed convolution without padding: x [B,C,H,W], weight [C,O,kh,kw], bias [O] ->
 * [B,O,(H-1)·stride+kh,(W-1)·stride+kw]. */
export function convTranspose2d(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor | null,
  { stride = 1 }: { stride?: number } = {},
): Tensor {
  const y = call('conv_transpose2d', x, weight, bias ?? null, stride);
  onTape([x, weight, bias ?? null], [y], [x, weight], ([dy], needs) =>
    callMany('conv_transpose2d_bwd', dy, x, weight, stride, needs[0], needs[1], needs[2]),
  );
  return y;
}

/**
 * Group normalisation of x [B,C,...] over `groups` runs of channels and all pixels, then weight [C] and bias [C]; with
 * `silu` the result goes through SiLU in the same pass.
 */
export function groupNorm(
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
  groups: number,
  eps = 1e-6,
  { silu = false }: { silu?: boolean } = {},
): Tensor {
  const [y, stats] = callMany('group_norm', x, weight, bias, groups, eps, silu) as [Tensor, Tensor];
  onTape([x, weight, bias], [y], [x, weight, bias, stats], ([dy], needs) =>
    callMany('group_norm_bwd', dy, x, weight, bias, stats, groups, silu, needs[1] || needs[2]),
  );
  stats.dispose();
  return y;
}

/** x [B,C,H,W] -> [B,C,2H,2W], every pixel doubled in both directions. */
export function upsampleNearest2x(x: Tensor): Tensor {
  const y = call('upsample_nearest2x', x);
  onTape([x], [y], [], ([dy]) => [call('upsample_nearest2x_bwd', dy)]);
  return y;
}

/**
 * Bilinear resize of x [B,C,H,W] to [B,C,height,width]. alignCorners: the corner pixels' centres map onto each other
 * (VGGT's DPT heads); otherwise the image borders do.
 */
export function resizeBilinear(
  x: Tensor,
  height: number,
  width: number,
  { alignCorners = false }: { alignCorners?: boolean } = {},
): Tensor {
  const y = call('resize_bilinear', x, height, width, alignCorners);
  const inHeight = x.dim(2);
  const inWidth = x.dim(3);
  onTape([x], [y], [], ([dy]) => [call('resize_bilinear_bwd', dy, inHeight, inWidth, alignCorners)]);
  return y;
}

/**
 * Bicubic resize of x [B,C,H,W] to [B,C,height,width], as PyTorch does it. antialias: Keys' kernel with a = -0.5,
 * widened when
 * shrinking (position embeddings of VGGT); otherwise a = -0.75 over four clamped taps.
 */
export function resizeBicubic(
  x: Tensor,
  height: number,
  width: number,
  { antialias = false }: { antialias?: boolean } = {},
): Tensor {
  const y = call('resize_bicubic', x, height, width, antialias);
  const inHeight = x.dim(2);
  const inWidth = x.dim(3);
  onTape([x], [y], [], ([dy]) => [call('resize_bicubic_bwd', dy, inHeight, inWidth, antialias)]);
  return y;
}

/** x [B,C,H,W] -> tokens [B,(H/p)(W/p),C·p·p]; within a token the order is (channel, row, column). */
export function patchify(x: Tensor, patch: number): Tensor {
  const y = call('patchify', x, patch);
  const height = x.dim(2);
  const width = x.dim(3);
  onTape([x], [y], [], ([dy]) => [call('unpatchify', dy, patch, height, width)]);
  return y;
}

/** The inverse of patchify: tokens [B,(height/p)(width/p),C·p·p] -> [B,C,height,width]. */
export function unpatchify(x: Tensor, patch: number, height: number, width: number): Tensor {
  const y = call('unpatchify', x, patch, height, width);
  onTape([x], [y], [], ([dy]) => [call('patchify', dy, patch)]);
  return y;
}
