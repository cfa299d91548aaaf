import { ConfigError, ShapeError } from '../../binding/errors';
import { onTape, recording } from '../tape';
import { Tensor } from '../tensor';
import type { DType, Shape } from '../tensor';
import { call, callInPlace } from './call';
import { full, zerosLike } from './create';

export * from './create';
export * from './unary';

/** Sums `x` down to `shape`, which broadcasts to x's shape: the gradient of broadcasting. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  const lead = x.rank - shape.length;
  const dims = x.shape.flatMap((size, i) => (i < lead || (shape[i - lead] === 1 && size !== 1) ? [i] : []));
  if (dims.length === 0) return x;
  return reshape(sum(x, dims, true), shape);
}

/** a + b with NumPy broadcasting on either side. */
export function add(a: Tensor, b: Tensor): Tensor {
  const y = call('binary', a, b, 'add');
  if (recording()) {
    const [shapeA, shapeB] = [a.shape, b.shape];
    onTape([a, b], [y], [], ([dy], needs) => [needs[0] ? sumTo(dy!, shapeA) : null, needs[1] ? sumTo(dy!, shapeB) : null]);
  }
  return y;
}

/** a - b with broadcasting. */
export function sub(a: Tensor, b: Tensor): Tensor {
  const y = call('binary', a, b, 'sub');
  if (recording()) {
    const [shapeA, shapeB] = [a.shape, b.shape];
    onTape([a, b], [y], [], ([dy], needs) => [
      needs[0] ? sumTo(dy!, shapeA) : null,
      needs[1] ? scale(sumTo(dy!, shapeB), -1) : null,
    ]);
  }
  return y;
}

/** a * b with broadcasting. */
export function mul(a: Tensor, b: Tensor): Tensor {
  const y = call('binary', a, b, 'mul');
  onTape([a, b], [y], [a, b], ([dy], needs) => [
    needs[0] ? sumTo(mul(dy!, b), a.shape) : null,
    needs[1] ? sumTo(mul(dy!, a), b.shape) : null,
  ]);
  return y;
}

/** a / b with broadcasting. */
export function div(a: Tensor, b: Tensor): Tensor {
  const y = call('binary', a, b, 'div');
  onTape([a, b], [y], [a, b, y], ([dy], needs) => {
    const da = div(dy!, b);
    return [needs[0] ? sumTo(da, a.shape) : null, needs[1] ? sumTo(scale(mul(da, y), -1), b.shape) : null];
  });
  return y;
}

/** Element-wise maximum with broadcasting; equal elements share the gradient. */
export function maximum(a: Tensor, b: Tensor): Tensor {
  return extremum(a, b, 'maximum');
}

/** Element-wise minimum with broadcasting; equal elements share the gradient. */
export function minimum(a: Tensor, b: Tensor): Tensor {
  return extremum(a, b, 'minimum');
}

function extremum(a: Tensor, b: Tensor, kind: 'maximum' | 'minimum'): Tensor {
  const y = call('binary', a, b, kind);
  onTape([a, b], [y], [a, b], ([dy], needs) => {
    const [winner, loser] = kind === 'maximum' ? [a, b] : [b, a];
    return [
      needs[0] ? sumTo(mul(dy!, call('binary', winner, loser, 'heaviside')), a.shape) : null,
      needs[1] ? sumTo(mul(dy!, call('binary', loser, winner, 'heaviside')), b.shape) : null,
    ];
  });
  return y;
}

/** 1 where a > b, 1/2 where equal, 0 where a < b, with broadcasting. Constant for the gradient. */
export function heaviside(a: Tensor, b: Tensor): Tensor {
  return call('binary', a, b, 'heaviside');
}

/** x * factor + shift, for numbers. */
export function affine(x: Tensor, factor: number, shift: number): Tensor {
  const y = call('scalar', x, 'affine', factor, shift);
  onTape([x], [y], [], ([dy]) => [factor === 1 ? dy : scale(dy!, factor)]);
  return y;
}

/** x + value. */
export function addScalar(x: Tensor, value: number): Tensor {
  return affine(x, 1, value);
}

/** x * factor. */
export function scale(x: Tensor, factor: number): Tensor {
  return affine(x, factor, 0);
}

/** min(max(x, low), high); the gradient passes where low <= x <= high. */
export function clamp(x: Tensor, low: number, high: number): Tensor {
  const y = call('scalar', x, 'clamp', low, high);
  onTape([x], [y], [x], ([dy]) => [mul(dy!, call('scalar', x, 'within', low, high))]);
  return y;
}

/** x^exponent. */
export function powScalar(x: Tensor, exponent: number): Tensor {
  const y = call('scalar', x, 'power', exponent, 0);
  onTape([x], [y], [x], ([dy]) => [mul(dy!, scale(call('scalar', x, 'power', exponent - 1, 0), exponent))]);
  return y;
}

/** y = a where mask is not 0, else b; the three have one shape. The mask gets no gradient. */
export function select(mask: Tensor, a: Tensor, b: Tensor): Tensor {
  const y = call('select', mask, a, b);
  onTape([a, b], [y], [mask], ([dy], needs) => {
    const zeros = zerosLike(dy!);
    return [needs[0] ? call('select', mask, dy!, zeros) : null, needs[1] ? call('select', mask, zeros, dy!) : null];
  });
  return y;
}

/** Sum over `dims` (all when left out); kept dimensions have size 1. */
export function sum(x: Tensor, dims?: readonly number[], keepDims = false): Tensor {
  return total(x, dims, keepDims, 'sum');
}

/** Mean over `dims` (all when left out). */
export function mean(x: Tensor, dims?: readonly number[], keepDims = false): Tensor {
  return total(x, dims, keepDims, 'mean');
}

function total(x: Tensor, dims: readonly number[] | undefined, keepDims: boolean, kind: 'sum' | 'mean'): Tensor {
  if (dims?.length === 0) throw new ConfigError(`${kind}: the list of dimensions is empty; leave it out to reduce all`);
  const y = call('reduce', x, kind, dims ?? [], keepDims);
  if (recording()) {
    const { shape } = x;
    const kept = keptShape(shape, dims);
    const factor = kind === 'mean' ? y.size / x.size : 1;
    onTape([x], [y], [], ([dy]) => [expand(reshape(factor === 1 ? dy! : scale(dy!, factor), kept), shape)]);
  }
  return y;
}

/** Largest value over `dims` (all when left out); equal elements share the gradient. */
export function max(x: Tensor, dims?: readonly number[], keepDims = false): Tensor {
  if (dims?.length === 0) throw new ConfigError('max: the list of dimensions is empty; leave it out to reduce all');
  const y = call('reduce', x, 'max', dims ?? [], keepDims);
  onTape([x], [y], [x, y], ([dy]) => {
    const kept = keptShape(x.shape, dims);
    const where = call('binary', x, reshape(y, kept), 'equal');
    return [mul(where, div(reshape(dy!, kept), sumTo(where, kept)))];
  });
  return y;
}

function keptShape(shape: Shape, dims: readonly number[] | undefined): number[] {
  const reduced = new Set(dims?.map((dim) => (dim < 0 ? dim + shape.length : dim)));
  return shape.map((size, i) => (dims === undefined || reduced.has(i) ? 1 : size));
}

/** Repeats `x` to `shape`, to which it must broadcast. */
export function expand(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  return add(x, full(x.device, shape, 0, x.dtype));
}

/** Joins tensors along `dim`; their other sizes are equal. */
export function concat(tensors: readonly Tensor[], dim: number): Tensor {
  if (tensors.length === 0) throw new ShapeError('concat: needs at least one tensor');
  const axis = dim < 0 ? dim + tensors[0].rank : dim;
  const lengths = tensors.map((tensor) => tensor.dim(axis));
  const shape = tensors[0].shape.map((size, i) => (i === axis ? lengths.reduce((a, b) => a + b, 0) : size));
  const y = tensors[0].device.empty(shape, tensors[0].dtype);
  const starts: number[] = [];
  let start = 0;
  for (const [i, tensor] of tensors.entries()) {
    starts.push(start);
    callInPlace('place', y, tensor, axis, start);
    start += lengths[i];
  }
  onTape([...tensors], [y], [], ([dy], needs) =>
    needs.map((need, i) => (need ? slice(dy!, axis, starts[i], lengths[i]) : null)),
  );
  return y;
}

/** A copy of [start, start + length) of dimension `dim`. For the first dimension `rows` gives a view without a copy. */
export function slice(x: Tensor, dim: number, start: number, length: number): Tensor {
  const y = call('slice', x, dim, start, length);
  if (recording()) {
    const { shape } = x;
    onTape([x], [y], [], ([dy]) => [padded(dy!, shape, dim, start)]);
  }
  return y;
}

/** Zeros of `shape` with `x` placed at `start` of dimension `dim`. */
function padded(x: Tensor, shape: Shape, dim: number, start: number): Tensor {
  const y = full(x.device, shape, 0, x.dtype);
  callInPlace('place', y, x, dim, start);
  return y;
}

/** Reorders dimensions: dimension i of the result is dimension order[i] of x. */
export function permute(x: Tensor, order: readonly number[]): Tensor {
  const y = call('permute', x, order);
  if (recording()) {
    const inverse = order.map((_, i) => order.indexOf(i));
    onTape([x], [y], [], ([dy]) => [permute(dy!, inverse)]);
  }
  return y;
}

/** The same elements under other sizes, without a copy: both tensors share memory. One size may be -1. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const known = shape.reduce((product, size) => (size === -1 ? product : product * size), 1);
  const sizes = shape.map((size) => (size === -1 ? x.size / known : size));
  const y = x.device.guard(() => new Tensor(x.device, x.device.binding.reshape(x.handle, sizes), true));
  if (recording()) {
    const from = x.shape;
    onTape([x], [y], [], ([dy]) => [reshape(dy!, from)]);
  }
  return y;
}

/** Rows [start, start + length) of the first dimension, without a copy: both tensors share memory. */
export function rows(x: Tensor, start: number, length: number): Tensor {
  const y = x.device.guard(() => new Tensor(x.device, x.device.binding.narrowRows(x.handle, start, length), true));
  if (recording()) {
    const { shape } = x;
    onTape([x], [y], [], ([dy]) => [padded(dy!, shape, 0, start)]);
  }
  return y;
}

/** Converts to f32 or bf16; the tensor itself when it already is. */
export function cast(x: Tensor, dtype: DType): Tensor {
  if (x.dtype === dtype) return x;
  const y = call('cast', x, dtype);
  if (recording()) {
    const from = x.dtype;
    onTape([x], [y], [], ([dy]) => [cast(dy!, from)]);
  }
  return y;
}

/** Softmax over the last dimension. */
export function softmax(x: Tensor): Tensor {
  const y = call('softmax', x, false);
  onTape([x], [y], [y], ([dy]) => [call('softmax_bwd', dy!, y, false)]);
  return y;
}

/** Logarithm of the softmax over the last dimension, without its cancellation. */
export function logSoftmax(x: Tensor): Tensor {
  const y = call('softmax', x, true);
  onTape([x], [y], [y], ([dy]) => [call('softmax_bwd', dy!, y, true)]);
  return y;
}

/** y[m] = x[ids[m]] along the first dimension; ids are i32. */
export function indexRows(x: Tensor, ids: Tensor): Tensor {
  const y = call('index_rows', x, ids);
  if (recording()) {
    const count = x.dim(0);
    onTape([x], [y], [ids], ([dy]) => [call('index_rows_bwd', dy!, ids, count)]);
  }
  return y;
}

function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i]);
}
