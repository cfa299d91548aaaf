import { ShapeError } from '../binding/errors';
import { add, copy, onesLike } from './ops/elem';
import { scope, unscoped } from './scope';
import { Tensor } from './tensor';

export type MaybeTensor = Tensor | null;

/**
 * Gradients of an op's inputs from those of its outputs, in the order of `inputs`; null where none is needed or flows.
 * `needs[i]` says whether input i wants one: skip the work otherwise.
 */
export type Backward = (outputGradients: MaybeTensor[], needs: boolean[], leaf: LeafSink) => MaybeTensor[];

/** Takes the gradient of a leaf that is not among the node's inputs (a checkpointed block's parameters). */
export type LeafSink = (leaf: Tensor, gradient: Tensor) => void;

interface TapeNode {
  inputs: MaybeTensor[];
  outputs: Tensor[];
  saved: Tensor[];
  needs: boolean[];
  backward: Backward;
}

let current: Tape | null = null;

/** True inside record(): op wrappers then keep what their backward needs. */
export function recording(): boolean {
  return current !== null;
}

/** True when a gradient flows to or through `tensor` on the open tape. */
export function tracked(tensor: MaybeTensor): boolean {
  return current !== null && tensor !== null && (tensor.requiresGrad || current.follows(tensor));
}

/** Runs `build` with no tape: what it does is constant for the gradient. */
export function noGrad<T>(build: () => T): T {
  const outer = current;
  current = null;
  try {
    return build();
  } finally {
    current = outer;
  }
}

/**
 * Called by every op wrapper after its forward. Does nothing unless a tape is open and an input is tracked. `saved` are the
 * tensors `backward` reads; the tape keeps their memory.
 */
export function onTape(inputs: MaybeTensor[], outputs: Tensor[], saved: MaybeTensor[], backward: Backward): void {
  if (current === null) return;
  const needs = inputs.map(tracked);
  if (needs.includes(true)) current.push({ inputs, outputs, saved: saved.filter((tensor) => tensor !== null), needs, backward });
}

/**
 * Runs `build` and records its ops. Gradients are taken with `tape.gradients`; dispose the tape when it is not used up.
 * `follow` are tensors that count as tracked although no recorded op made them.
 */
export function record<T>(build: () => T, follow: Tensor[] = []): { result: T; tape: Tape } {
  const outer = current;
  const tape = new Tape(follow);
  current = tape;
  try {
    return { result: build(), tape };
  } catch (error) {
    tape.dispose();
    throw error;
  } finally {
    current = outer;
  }
}

export class Tape implements Disposable {
  private nodes: TapeNode[] = [];
  private readonly derived: Set<Tensor>;

  constructor(follow: Tensor[] = []) {
    this.derived = new Set(follow);
  }

  follows(tensor: Tensor): boolean {
    return this.derived.has(tensor);
  }

  push(node: TapeNode): void {
    for (const tensor of node.saved) tensor.retain();
    for (const tensor of node.outputs) this.derived.add(tensor);
    this.nodes.push(node);
  }

  /**
   * Gradients of sum(outputs[i] * cotangents[i]) with respect to every leaf that requires one (and to `extra`, tensors
   * that appear on the tape). Cotangents default to ones. Uses the tape up. The gradients belong to the caller
   * (or to the scope around the call), each with memory of its own.
   */
  gradients(outputs: Tensor[], cotangents: MaybeTensor[] = [], extra: Tensor[] = []): Map<Tensor, Tensor> {
    const wanted = new Set(extra);
    const pending = new Map<Tensor, Tensor>();
    const leaves = new Map<Tensor, Tensor>();
    // Gradients whose memory something else may hold too: they are copied before they are handed out.
    const shared = new Set<Tensor>();
    try {
      noGrad(() => {
        for (const [i, output] of outputs.entries()) {
          const given = cotangents[i];
          if (given && given.size !== output.size) {
            throw new ShapeError(`backward: cotangent [${given.shape}] for an output [${output.shape}]`);
          }
          if (given) shared.add(given);
          accumulate(output.requiresGrad ? leaves : pending, output, given?.retain() ?? unscoped(() => onesLike(output)));
        }
        for (let node = this.nodes.pop(); node !== undefined; node = this.nodes.pop()) {
          try {
            backwardOf(node, pending, leaves, shared);
          } finally {
            for (const tensor of node.saved) tensor.release();
          }
          for (const tensor of node.outputs) {
            if (wanted.has(tensor)) continue;
            pending.get(tensor)?.release();
            pending.delete(tensor);
          }
        }
        for (const tensor of wanted) {
          const gradient = pending.get(tensor);
          if (gradient !== undefined) accumulate(leaves, tensor, gradient.retain());
        }
      });
      return new Map([...leaves].map(([tensor, gradient]) => [tensor, handOut(gradient, shared.has(gradient))]));
    } finally {
      for (const gradient of [...pending.values(), ...leaves.values()]) gradient.release();
      this.dispose();
    }
  }

  dispose(): void {
    for (const node of this.nodes) for (const tensor of node.saved) tensor.release();
    this.nodes = [];
    this.derived.clear();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Runs the backward of one node and adds what it gives to the gradients of its inputs. */
function backwardOf(node: TapeNode, pending: Gradients, leaves: Gradients, shared: Set<Tensor>): void {
  const { inputs, outputs, saved, needs, backward } = node;
  const incoming = outputs.map((tensor) => pending.get(tensor) ?? null);
  if (incoming.every((gradient) => gradient === null)) return;
  const leaf: LeafSink = (tensor, gradient) => accumulate(leaves, tensor, gradient.retain());
  const flowing = unscoped(() => scope(() => backward(incoming, needs, leaf)));
  const borrowed = new Set<MaybeTensor>([...incoming, ...saved, ...inputs]);
  const seen = new Set<Tensor>();
  for (const [i, gradient] of flowing.entries()) {
    const input = inputs[i];
    if (gradient === null || input === null || !needs[i]) continue;
    if (seen.has(gradient) || borrowed.has(gradient) || gradient.isView) shared.add(gradient);
    seen.add(gradient);
    accumulate(input.requiresGrad ? leaves : pending, input, gradient.retain());
  }
  for (const gradient of flowing) if (!borrowed.has(gradient)) gradient?.dispose();
}

type Gradients = Map<Tensor, Tensor>;

/** Adds a gradient into the map, which takes over one reference to it. */
function accumulate(gradients: Gradients, tensor: Tensor, gradient: Tensor): void {
  const sum = gradients.get(tensor);
  if (sum === undefined) {
    gradients.set(tensor, gradient);
    return;
  }
  gradients.set(tensor, unscoped(() => add(sum, gradient)));
  sum.release();
  gradient.release();
}

/** A handle of the caller's own, with memory that nobody else sees: optimisers work in place on it. */
function handOut(gradient: Tensor, shared: boolean): Tensor {
  if (shared) return copy(gradient);
  const { binding } = gradient.device;
  return new Tensor(gradient.device, binding.reshape(gradient.handle, gradient.shape));
}

/**
 * Runs `block` without recording its inside and recomputes it in backward: memory of one block instead of all of them.
 * `inputs` are all tensors a gradient flows into `block` through; trainable parameters used inside are found by themselves.
 */
export function checkpoint(inputs: Tensor[], block: (inputs: Tensor[]) => Tensor[]): Tensor[] {
  if (current === null) return block(inputs);
  const outputs = noGrad(() => scope(() => block(inputs)));
  current.push({
    inputs,
    outputs,
    saved: [...inputs],
    needs: inputs.map(tracked),
    backward: (incoming, needs, leaf) => {
      const followed = inputs.filter((_, i) => needs[i]);
      const { result: again, tape } = record(() => block(inputs), followed);
      const reached = again.flatMap((output, i) => (incoming[i] === null ? [] : [{ output, cotangent: incoming[i] }]));
      const gradients = tape.gradients(
        reached.map(({ output }) => output),
        reached.map(({ cotangent }) => cotangent),
        followed,
      );
      // An input listed twice has one gradient: it flows through the first place.
      const flowing = inputs.map((input, i) => (needs[i] && inputs.indexOf(input) === i ? (gradients.get(input) ?? null) : null));
      for (const [tensor, gradient] of gradients) if (!inputs.includes(tensor)) leaf(tensor, gradient);
      return flowing;
    },
  });
  return outputs;
}
