/** Where an edit changed pictures, and which Gaussians show it. */
import type { Camera } from '../cameras';
import type { Image } from '../image';
import { add } from '../../tensor/ops';
import { unscoped } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import type { Gaussians } from './gaussians';
import { rasterize } from './rasterize';

/** Mean absolute change of a pixel's channels from which it counts as edited: above what an autoencoder alone changes. */
const changed = 0.08;
/** An edit of a larger share of the pixels is one of the whole picture. */
const globalShare = 0.6;
/** Pixels by which an edit's edge is closed. */
const closing = 3;

/** [H, W] per view, 1 where the edit changed the picture; undefined for an edit of whole pictures. */
export function editMasks(before: readonly Image[], after: readonly Image[]): Float32Array[] | undefined {
  const masks = before.map((image, v) => changedPixels(image, after[v]));
  const share = masks.reduce((sum, mask) => sum + mask.reduce((s, x) => s + x, 0) / mask.length, 0) / masks.length;
  if (share > globalShare) return undefined;
  return masks.map((mask, v) => closed(mask, before[v].width, before[v].height));
}

function changedPixels(a: Image, b: Image): Float32Array {
  const pixels = a.width * a.height;
  return Float32Array.from({ length: pixels }, (_, i) => {
    let sum = 0;
    for (let c = 0; c < 3; c++) sum += Math.abs(a.data[c * pixels + i] - b.data[c * pixels + i]);
    return sum / 3 > changed ? 1 : 0;
  });
}

/** Dilates and erodes again: gaps and holes narrower than twice the radius close. */
function closed(mask: Float32Array, width: number, height: number): Float32Array {
  return spread(spread(mask, width, height, closing, Math.max), width, height, closing, Math.min);
}

/** The largest (or smallest) value within a square of that radius. */
export function spread(
  mask: Float32Array, width: number, height: number, radius: number, pick: (a: number, b: number) => number,
): Float32Array {
  const along = (from: Float32Array, length: number, step: number, lines: number, stride: number): Float32Array => {
    const to = new Float32Array(from.length);
    for (let line = 0; line < lines; line++) {
      for (let i = 0; i < length; i++) {
        let value = from[line * stride + i * step];
        for (let k = Math.max(0, i - radius); k <= Math.min(length - 1, i + radius); k++) value = pick(value, from[line * stride + k * step]);
        to[line * stride + i * step] = value;
      }
    }
    return to;
  };
  return along(along(mask, width, 1, height, width), height, width, width, 1);
}

/**
 * Share of each Gaussian's visible weight that falls on edited pixels, [N]: Σ w·m / Σ w over the views, at pixels whose surface it is part
 * of (GaussianEditor 2023, weighted by the blend weight). 0 for Gaussians that no view sees.
 */
export async function liftMasks(gaussians: Gaussians, cameras: readonly Camera[], masks: readonly Float32Array[]): Promise<Float32Array> {
  const { device } = gaussians;
  let total: Tensor | undefined;
  for (const [v, camera] of cameras.entries()) {
    using rendering = await rasterize(gaussians, camera);
    const mask = unscoped(() => device.tensor(masks[v], [camera.height, camera.width]));
    const lifted = unscoped(() => rendering.lift(mask));
    mask.dispose();
    const sum: Tensor = total ? unscoped(() => add(total!, lifted)) : lifted;
    if (total) [total, lifted].forEach((tensor) => tensor.dispose());
    total = sum;
  }
  const sums = total ? await total.toFloat32() : new Float32Array(2 * gaussians.count);
  total?.dispose();
  return Float32Array.from({ length: gaussians.count }, (_, i) => (sums[2 * i + 1] > 0 ? sums[2 * i] / sums[2 * i + 1] : 0));
}
