/** How well a splat scene shows pictures. */
import { photometricLoss } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import type { FitView } from './fit';
import type { Gaussians } from './gaussians';
import { renderImage } from './rasterize';
import type { RasterizeOptions } from './rasterize';
import type { Image } from '../image';

export interface ViewFigures {
  /** dB over all channels of the pixels that count. */
  psnr: number;
  /** Mean SSIM over all pixels (11×11 Gaussian, zero padding). */
  ssim: number;
}

/** PSNR of pictures in [0, 1] over the pixels where `mask` [H, W] is not 0, in dB; Infinity where they are equal. */
export function psnr(a: Image, b: Image, mask?: ArrayLike<number>): number {
  const pixels = a.width * a.height;
  let [sum, count] = [0, 0];
  for (let i = 0; i < a.data.length; i++) {
    if (mask && mask[i % pixels] === 0) continue;
    sum += (a.data[i] - b.data[i]) ** 2;
    count += 1;
  }
  return -10 * Math.log10(sum / Math.max(1, count));
}

/** Renders each view and compares. */
export async function evaluateViews(
  gaussians: Gaussians,
  views: readonly FitView[],
  options?: RasterizeOptions,
): Promise<(ViewFigures & { rendered: Image })[]> {
  const { device } = gaussians;
  const figures = [];
  for (const { image, camera, mask } of views) {
    const rendered = await renderImage(gaussians, camera, options);
    const shape = [3, image.height, image.width];
    const terms = scope(
      () => photometricLoss(device.tensor(rendered.data, shape), device.tensor(image.data, shape), mask && device.tensor(mask, shape.slice(1)), 1).terms,
    );
    const [, ssim] = await terms.toFloat32();
    terms.dispose();
    figures.push({ psnr: psnr(rendered, image, mask), ssim, rendered });
  }
  return figures;
}

/** Means over views. */
export function meanFigures(figures: readonly ViewFigures[]): ViewFigures {
  const mean = (key: keyof ViewFigures): number => figures.reduce((sum, figure) => sum + figure[key], 0) / figures.length;
  return { psnr: mean('psnr'), ssim: mean('ssim') };
}
