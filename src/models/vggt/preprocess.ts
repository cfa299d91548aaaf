/** From pictures of any size to the network's input. */
import { ShapeError } from '../../binding/errors';
import { clamp, concat, full, reshape, resizeBicubic, slice } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';

export interface PreprocessOptions {
  /**
   * `crop`: width `size`, the height follows in whole patches and is cut centrally to `size`. `pad`: the longer side is `size`,
   * then white to a square. `native`: as they are, sides multiples of the patch.
   */
  mode?: 'crop' | 'pad' | 'native';
  size?: number;
  patch?: number;
}

/** How one picture becomes an input: resized, then rows cut or white put around. */
export interface InputPlan {
  readonly resizedWidth: number;
  readonly resizedHeight: number;
  /** First of the rows kept, and their number. */
  readonly top: number;
  readonly rows: number;
  /** White pixels left of and above what was kept, and the input's size. */
  readonly padLeft: number;
  readonly padTop: number;
  readonly width: number;
  readonly height: number;
}

/** Halves go to the even neighbour, as in Python. */
export function roundHalfEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
}

/** The plan for a picture of width × height pixels. @throws ShapeError */
export function planInput(width: number, height: number, { mode = 'crop', size = 518, patch = 14 }: PreprocessOptions = {}): InputPlan {
  if (!(width >= 1 && height >= 1)) throw new ShapeError(`preprocess: expected a picture, got ${width} x ${height} pixels`);
  if (mode === 'native') {
    if (width % patch !== 0 || height % patch !== 0) {
      throw new ShapeError(`preprocess: sides must be multiples of ${patch} in mode 'native', got ${width} x ${height}`);
    }
    return { resizedWidth: width, resizedHeight: height, top: 0, rows: height, padLeft: 0, padTop: 0, width, height };
  }
  if (size % patch !== 0) throw new ShapeError(`preprocess: size ${size} is not a multiple of the patch ${patch}`);
  const whole = (pixels: number): number => Math.max(patch, roundHalfEven(pixels / patch) * patch);
  if (mode === 'crop') {
    const resizedHeight = whole((height * size) / width);
    const rows = Math.min(resizedHeight, size);
    return {
      resizedWidth: size,
      resizedHeight,
      rows,
      top: Math.floor((resizedHeight - rows) / 2),
      padLeft: 0,
      padTop: 0,
      width: size,
      height: rows,
    };
  }
  const resizedWidth = width >= height ? size : whole((width * size) / height);
  const resizedHeight = width >= height ? whole((height * size) / width) : size;
  const padLeft = Math.floor((size - resizedWidth) / 2);
  const padTop = Math.floor((size - resizedHeight) / 2);
  return { resizedWidth, resizedHeight, top: 0, rows: resizedHeight, padLeft, padTop, width: size, height: size };
}

/**
 * Pictures [3, h, w] in [0, 1], of any sizes -> [S, 3, H, W]. Sizes that still differ are evened out with white around the
 * smaller ones. The resampling is bicubic with antialiasing (a = −0.5) in float; the reference rounds to 8 bits on the way.
 */
export function preprocess(images: readonly Tensor[], options: PreprocessOptions = {}): { input: Tensor; plans: InputPlan[] } {
  if (images.length === 0) throw new ShapeError('preprocess: needs at least one picture');
  const own = images.map((image) => planInput(image.dim(2), image.dim(1), options));
  const width = Math.max(...own.map((plan) => plan.width));
  const height = Math.max(...own.map((plan) => plan.height));
  const plans = own.map((plan) => ({
    ...plan,
    padLeft: plan.padLeft + Math.floor((width - plan.width) / 2),
    padTop: plan.padTop + Math.floor((height - plan.height) / 2),
    width,
    height,
  }));
  const input = scope(() => concat(images.map((image, i) => apply(image, plans[i])), 0));
  return { input, plans };
}

function apply(image: Tensor, plan: InputPlan): Tensor {
  const { resizedWidth, resizedHeight, top, rows, padLeft, padTop, width, height } = plan;
  let x = reshape(image, [1, ...image.shape]);
  if (x.dim(2) !== resizedHeight || x.dim(3) !== resizedWidth) {
    x = clamp(resizeBicubic(x, resizedHeight, resizedWidth, { antialias: true }), 0, 1);
  }
  if (rows !== resizedHeight) x = slice(x, 2, top, rows);
  return surround(surround(x, 3, padLeft, width - padLeft - resizedWidth), 2, padTop, height - padTop - rows);
}

/** White before and behind along a dimension. */
function surround(x: Tensor, dim: number, before: number, behind: number): Tensor {
  const white = (length: number): Tensor[] =>
    length > 0 ? [full(x.device, x.shape.map((size, i) => (i === dim ? length : size)), 1, x.dtype)] : [];
  return before + behind === 0 ? x : concat([...white(before), x, ...white(behind)], dim);
}

/** Intrinsics fx, fy, cx, cy of the original picture (width × height pixels) from those of the input. */
export function originalIntrinsics(
  input: { fx: number; fy: number; cx: number; cy: number },
  plan: InputPlan,
  width: number,
  height: number,
): { fx: number; fy: number; cx: number; cy: number } {
  const sx = plan.resizedWidth / width;
  const sy = plan.resizedHeight / height;
  return {
    fx: input.fx / sx,
    fy: input.fy / sy,
    cx: (input.cx - plan.padLeft) / sx,
    cy: (input.cy - plan.padTop + plan.top) / sy,
  };
}
