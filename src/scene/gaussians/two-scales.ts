/** Pictures rendered at twice the resolution and averaged: nearer to what a camera's pixel sees than one splat per pixel. */
import { mean, reshape, scale, upsampleNearest2x } from '../../tensor/ops';
import type { Tensor } from '../../tensor/tensor';
import type { Camera } from '../cameras';

/** The same view in twice as many pixels each way. */
export function twiceAsFine({ width, height, fx, fy, cx, cy, worldToCam }: Camera): Camera {
  return { width: 2 * width, height: 2 * height, fx: 2 * fx, fy: 2 * fy, cx: 2 * cx, cy: 2 * cy, worldToCam };
}

/** [3, 2H, 2W] -> [3, H, W], the mean of each 2×2 pixels. */
export function halved(image: Tensor): Tensor {
  const [channels, height, width] = image.shape;
  return mean(reshape(image, [channels, height / 2, 2, width / 2, 2]), [2, 4]);
}

/** Gradient of `halved`: [3, H, W] -> [3, 2H, 2W]. */
export function halvedBackward(gradient: Tensor): Tensor {
  const [channels, height, width] = gradient.shape;
  return reshape(scale(upsampleNearest2x(reshape(gradient, [1, channels, height, width])), 0.25), [channels, 2 * height, 2 * width]);
}
