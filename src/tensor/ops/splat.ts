/**
 * Ops of Gaussian splatting; formulas and shapes in native/ops/splat. They are called with their backward by hand, not on the tape: the
 * host reads the number of (tile, Gaussian) pairs between two of them.
 */
import type { Tensor } from '../tensor';
import { call, callInPlace, callMany } from './call';

/** Parameters of N Gaussians before activation, f32; R = stored coefficients beyond the zeroth. */
export interface SplatParameters<T = Tensor> {
  /** [N, 3] */
  means: T;
  /** [N, 4] (w, x, y, z), of any length but 0. */
  quats: T;
  /** [N, 3] */
  logScales: T;
  /** [N] */
  opacityLogits: T;
  /** [N, 3] */
  sh0: T;
  /** [N, R, 3] */
  shRest: T;
}

export interface SplatView {
  /** f32 [16]: fx, fy, cx, cy, worldToCam 3x4 row-major; OpenCV axes. */
  camera: Tensor;
  width: number;
  height: number;
  /** Degree of the harmonics to evaluate, at most what is stored. */
  degree: number;
  /** Gaussians nearer than this are culled. */
  near: number;
}

/** Gaussians on the picture plane [N, 12]: u, v, conic A, B, C, opacity, RGB, depth, half width, half height. */
export function splatProject(p: SplatParameters, { camera, width, height, degree, near }: SplatView): Tensor {
  return call('splat_project', p.means, p.quats, p.logScales, p.opacityLogits, p.sh0, p.shRest, camera, width, height, degree, near);
}

/** Gradients of the parameters from those of the first ten projected columns [N, 10]. */
export function splatProjectBackward(
  p: SplatParameters,
  { camera, width, height, degree, near }: SplatView,
  projected: Tensor,
  dProjected: Tensor,
): SplatParameters {
  const [means, quats, logScales, opacityLogits, sh0, shRest] = callMany(
    'splat_project_backward', p.means, p.quats, p.logScales, p.opacityLogits, p.sh0, p.shRest, camera, width, height, degree, near,
    projected, dProjected,
  );
  return { means: means!, quats: quats!, logScales: logScales!, opacityLogits: opacityLogits!, sh0: sh0!, shRest: shRest! };
}

/** Exclusive prefix sums i32 [N + 1] of the tiles that each Gaussian touches, and their total i32 [1]. */
export function splatTileCounts(projected: Tensor, width: number, height: number): { offsets: Tensor; total: Tensor } {
  const [offsets, total] = callMany('splat_tile_counts', projected, width, height);
  return { offsets: offsets!, total: total! };
}

/** Pairs of tiles and Gaussians, sorted by tile, then depth, then Gaussian. */
export interface SplatBins {
  offsets: Tensor;
  /** i32 [P] Gaussian of each pair. */
  gaussians: Tensor;
  /** i32 [P] place of each pair before sorting. */
  slots: Tensor;
  /** i32 [tiles + 1] */
  tileRanges: Tensor;
}

/** @param total what splatTileCounts counted, read by the host */
export function splatBin(projected: Tensor, offsets: Tensor, total: number, width: number, height: number): SplatBins {
  const [gaussians, slots, tileRanges] = callMany('splat_bin', projected, offsets, total, width, height);
  return { offsets, gaussians: gaussians!, slots: slots!, tileRanges: tileRanges! };
}

export interface Blended {
  /** [3, H, W] */
  image: Tensor;
  /** [H, W] */
  alpha: Tensor;
  /** [H, W] sum of weight times depth. */
  depth: Tensor;
  /** [H, W] depth where the transmittance crosses one half; 0 where it never does. */
  medianDepth: Tensor;
  /** [H, W] what is left of the light, and i32 [H, W] where the walk ended: for the backward. */
  transmittance: Tensor;
  last: Tensor;
}

/** Blends front to back over `background` f32 [3]. */
export function splatBlend(projected: Tensor, bins: SplatBins, background: Tensor, width: number, height: number): Blended {
  const [image, alpha, depth, medianDepth, transmittance, last] = callMany(
    'splat_blend', projected, bins.gaussians, bins.tileRanges, background, width, height,
  );
  return { image: image!, alpha: alpha!, depth: depth!, medianDepth: medianDepth!, transmittance: transmittance!, last: last! };
}

export interface BlendGradients {
  /** [3, H, W] */
  image: Tensor;
  /** [H, W] */
  alpha?: Tensor;
  /** [H, W] */
  depth?: Tensor;
}

/** Gradients of the first ten projected columns, [N, 10]. */
export function splatBlendBackward(
  projected: Tensor,
  bins: SplatBins,
  background: Tensor,
  { transmittance, last }: Pick<Blended, 'transmittance' | 'last'>,
  d: BlendGradients,
  width: number,
  height: number,
): Tensor {
  return call(
    'splat_blend_backward', projected, bins.offsets, bins.gaussians, bins.slots, bins.tileRanges, background, transmittance, last,
    d.image, d.alpha, d.depth, width, height,
  );
}

/**
 * Per Gaussian [N, 2] the sum of weight · mask and the sum of weights over the pixels, mask [H, W]; with `medianDepth` over those
 * pixels alone whose median depth the Gaussian lies within 5 % of.
 */
export function splatLift(
  projected: Tensor,
  bins: SplatBins,
  mask: Tensor,
  medianDepth: Tensor | undefined,
  width: number,
  height: number,
): Tensor {
  return call('splat_lift', projected, bins.gaussians, bins.tileRanges, bins.offsets, bins.slots, mask, medianDepth, width, height);
}

/**
 * (1 − w) · L1 + w · (1 − SSIM) of two pictures [3, H, W], both multiplied by `mask` [H, W]: the terms f32 [2] (mean |x − y|, mean SSIM)
 * and the gradient of the picture.
 */
export function photometricLoss(image: Tensor, target: Tensor, mask: Tensor | undefined, ssimWeight: number): { terms: Tensor; gradient: Tensor } {
  const [terms, gradient] = callMany('photometric_loss', image, target, mask, ssimWeight);
  return { terms: terms!, gradient: gradient! };
}

export interface SplatAdamStep {
  lr: number;
  beta1: number;
  beta2: number;
  eps: number;
  /** Counts from 1. */
  step: number;
}

/** Adam of one parameter group [N, ...] in place; `rowScale` [N] scales the learning rate of each Gaussian. */
export function splatAdam(
  parameter: Tensor, gradient: Tensor, first: Tensor, second: Tensor, rowScale: Tensor | undefined, { lr, beta1, beta2, eps, step }: SplatAdamStep,
): void {
  callInPlace('splat_adam', parameter, gradient, first, second, rowScale, lr, beta1, beta2, eps, step);
}

/** Moves faint Gaussians at random, along their own shape, in place (3DGS as MCMC, arXiv 2404.09591, eq. 9). */
export function mcmcNoise(p: SplatParameters, noiseRate: number, { seed, offset }: { seed: number; offset: number }): void {
  callInPlace('mcmc_noise', p.means, p.quats, p.logScales, p.opacityLogits, noiseRate, seed, offset);
}

/** Opacities [N] and scales [N, 3] of `copies` i32 [N] equal Gaussians that together look as one did. */
export function mcmcRelocation(opacities: Tensor, scales: Tensor, copies: Tensor): { opacities: Tensor; scales: Tensor } {
  const [o, s] = callMany('mcmc_relocation', opacities, scales, copies);
  return { opacities: o!, scales: s! };
}

/** Adds a view's picture-plane gradient norms [N] and visits [N] in place. */
export function densifyStats(
  projected: Tensor, dProjected: Tensor, gradientSums: Tensor, viewCounts: Tensor, width: number, height: number,
): void {
  callInPlace('densify_stats', projected, dProjected, gradientSums, viewCounts, width, height);
}
