import { fromNative, ShapeError } from '../../binding/errors';
import type { Handle, NativeArg, NativeOp } from '../../binding/types';
import { Tensor } from '../tensor';

/** An argument of a native op as a wrapper passes it. */
export type OpArg = Tensor | NativeArg | undefined;

function invoke(op: string, args: OpArg[]): { device: Tensor['device']; result: Handle | (Handle | null)[] } {
  let device: Tensor['device'] | undefined;
  // The list was made for this call alone: handles take the tensors' places in it.
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    if (arg instanceof Tensor) {
      device ??= arg.device;
      args[i] = arg.handle;
    } else if (arg === undefined) {
      args[i] = null;
    }
  }
  if (device === undefined) throw new ShapeError(`${op}: takes at least one tensor`);
  const run = device.binding.ops[op] as NativeOp | undefined;
  if (run === undefined) throw new ShapeError(`${op}: the native add-on has no such op; rebuild it with \`npm run build\``);
  try {
    return { device, result: run(...(args as NativeArg[])) };
  } catch (error) {
    throw fromNative(error);
  }
}

/** Calls an op with one result. */
export function call(op: string, ...args: OpArg[]): Tensor {
  const { device, result } = invoke(op, args);
  if (typeof result !== 'number') throw new ShapeError(`${op}: expected one result, got ${result.length}`);
  return new Tensor(device, result);
}

/** Calls an op with several results; those not asked for come as null. */
export function callMany(op: string, ...args: OpArg[]): (Tensor | null)[] {
  const { device, result } = invoke(op, args);
  const handles = typeof result === 'number' ? [result] : result;
  return handles.map((handle) => (handle === null ? null : new Tensor(device, handle)));
}

/** Calls an op that works in place and has no result. */
export function callInPlace(op: string, ...args: OpArg[]): void {
  invoke(op, args);
}
