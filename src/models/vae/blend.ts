import { add, concat, mul, slice, sub } from '../../tensor/ops';
import type { Tensor } from '../../tensor/tensor';

/**
 * The first `band` rows (axis 2) or columns (axis 3) of `next` fade in from the last ones of `previous`, linearly: element k of
 * the band is previous · (1 − k/band) + next · k/band. Both [B, C, h, w].
 */
export function blendEdge(previous: Tensor, next: Tensor, axis: 2 | 3, band: number): Tensor {
  const width = Math.min(band, previous.dim(axis), next.dim(axis));
  if (width === 0) return next;
  const ramp = Float32Array.from({ length: width }, (_, k) => k / width);
  const weight = next.device.tensor(ramp, axis === 2 ? [1, 1, width, 1] : [1, 1, 1, width]);
  const old = slice(previous, axis, previous.dim(axis) - width, width);
  const head = slice(next, axis, 0, width);
  const mixed = add(old, mul(sub(head, old), weight));
  const rest = next.dim(axis) - width;
  return rest === 0 ? mixed : concat([mixed, slice(next, axis, width, rest)], axis);
}
