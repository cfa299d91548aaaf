import type { Device } from '../device';
import { onTape } from '../tape';
import type { DType, Shape, Tensor } from '../tensor';
import { call, callInPlace } from './call';

/** A tensor of one value. */
export function full(device: Device, shape: Shape, value: number, dtype: DType = 'f32'): Tensor {
  const y = device.empty(shape, dtype);
  callInPlace('fill', y, value);
  return y;
}

/** Overwrites every element, in place. */
export function fill(x: Tensor, value: number): void {
  callInPlace('fill', x, value);
}

export function onesLike(x: Tensor): Tensor {
  return full(x.device, x.shape, 1, x.dtype);
}

export function zerosLike(x: Tensor): Tensor {
  return full(x.device, x.shape, 0, x.dtype);
}

/** The same elements in memory of their own. */
export function copy(x: Tensor): Tensor {
  const y = call('cast', x, x.dtype);
  onTape([x], [y], [], ([dy]) => [dy]);
  return y;
}
