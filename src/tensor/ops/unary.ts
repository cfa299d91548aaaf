import { onTape } from '../tape';
import type { Tensor } from '../tensor';
import { call } from './call';

/** Element-wise functions; their formulas and derivatives are in native/ops/elem/unary.h. */
export type UnaryKind =
  | 'gelu_tanh' | 'gelu_erf' | 'quick_gelu' | 'silu' | 'relu' | 'softplus' | 'exp' | 'expm1' | 'log' | 'sqrt' | 'square'
  | 'abs' | 'sigmoid' | 'tanh' | 'sign' | 'neg' | 'reciprocal';

/** An element-wise function by name. */
export function unary(x: Tensor, kind: UnaryKind): Tensor {
  const y = call('unary', x, kind);
  onTape([x], [y], [x], ([dy]) => [call('unary_bwd', dy!, x, kind)]);
  return y;
}

/** |x|. */
export function abs(x: Tensor): Tensor {
  return unary(x, 'abs');
}

/** e^x. */
export function exp(x: Tensor): Tensor {
  return unary(x, 'exp');
}

/** e^x - 1, exact near 0. */
export function expm1(x: Tensor): Tensor {
  return unary(x, 'expm1');
}

/** Natural logarithm. */
export function log(x: Tensor): Tensor {
  return unary(x, 'log');
}

/** Square root; its gradient is infinite at 0. */
export function sqrt(x: Tensor): Tensor {
  return unary(x, 'sqrt');
}

/** x². */
export function square(x: Tensor): Tensor {
  return unary(x, 'square');
}

/** 1 / x. */
export function reciprocal(x: Tensor): Tensor {
  return unary(x, 'reciprocal');
}

/** max(x, 0). */
export function relu(x: Tensor): Tensor {
  return unary(x, 'relu');
}

/** x sigmoid(x). */
export function silu(x: Tensor): Tensor {
  return unary(x, 'silu');
}

/** 1 / (1 + e^-x). */
export function sigmoid(x: Tensor): Tensor {
  return unary(x, 'sigmoid');
}

/** log(1 + e^x). */
export function softplus(x: Tensor): Tensor {
  return unary(x, 'softplus');
}

/** Hyperbolic tangent. */
export function tanh(x: Tensor): Tensor {
  return unary(x, 'tanh');
}
