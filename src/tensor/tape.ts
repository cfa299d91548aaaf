import { ShapeError } from '../binding/errors';
import { add, onesLike } from './ops/elem';
import { scope, unscoped } from './scope';
import type { Tensor } from './tensor';

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
   * that appear on the tape). Cotangents default to ones. Uses the tape up. The gradients belong to the caller.
   */
  gradients(outputs: Tensor[], cotangents: MaybeTensor[] = [], extra: Tensor[] = []): Map<Tensor, Tensor> {
    const wanted = new Set(extra);
    const pending = new Map<Tensor, Tensor>();
    const leaves = new Map<Tensor, Tensor>();
    noGrad(() => {
      for (const [i, output] of outputs.entries()) {
        const cotangent = cotangents[i] ?? onesLike(output);
        if (cotangent.size !== output.size) throw new ShapeError(`backward: cotangent [${cotangent.shape}] for an output [${output.shape}]`);
        accumulate(pending, output, cotangent.retain());
      }
      for (let node = this.nodes.pop(); node !== undefined; node = this.nodes.pop()) {
        const { inputs, outputs: made, saved, needs, backward } = node;
        const incoming = made.map((tensor) => pending.get(tensor) ?? null);
        if (incoming.some((gradient) => gradient !== null)) {
          const leaf: LeafSink = (tensor, gradient) => accumulate(leaves, tensor, gradient);
          const flowing = unscoped(() => scope(() => backward(incoming, needs, leaf)));
          for (const [i, gradient] of flowing.entries()) {
            const input = inputs[i];
            if (gradient === null || input === null || !needs[i]) continue;
            // One tensor may be the gradient of several inputs: each place holds a reference of its own.
            gradient.retain();
            accumulate(input.requiresGrad ? leaves : pending, input, gradient);
          }
          for (const gradient of flowing) if (gradient !== null && !incoming.includes(gradient)) gradient.dispose();
        }
        for (const tensor of made) {
          const gradient = pending.get(tensor);
          if (gradient === undefined) continue;
          if (wanted.has(tensor)) continue;
          pending.delete(tensor);
          gradient.release();
        }
        for (const tensor of saved) tensor.release();
      }
    });
    for (const [tensor, gradient] of pending) {
      if (wanted.has(tensor)) leaves.set(tensor, gradient);
      else gradient.release();
    }
    this.derived.clear();
    return leaves;
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

/** Adds a gradient into the map, which owns one reference of what it holds. */
function accumulate(gradients: Map<Tensor, Tensor>, tensor: Tensor, gradient: Tensor): void {
  const sum = gradients.get(tensor);
  if (sum === undefined) {
    gradients.set(tensor, gradient);
    return;
  }
  const total = unscoped(() => add(sum, gradient));
  gradients.set(tensor, total);
  sum.release();
  gradient.release();
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
      const flowing = inputs.map((input, i) => (needs[i] ? (gradients.get(input) ?? null) : null));
      for (const [tensor, gradient] of gradients) if (!inputs.includes(tensor)) leaf(tensor, gradient);
      return flowing;
    },
  });
  return outputs;
}
