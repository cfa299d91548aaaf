/**
 * Low-rank adapters (Hu et al., arXiv 2106.09685): y = W x + b + (alpha / r) · B (A x) on chosen Linears, never merged into
 * W while training: a merge into bf16 weights would lose updates below 2^-9 of them, and with them the ratio of 1 that GRPO
 * starts from.
 */
import { WeightsError } from '../binding/errors';
import type { Device } from '../tensor/device';
import { add, cast, matmul, scale as scaled } from '../tensor/ops';
import { RandomWeights } from '../tensor/random-weights';
import { noGrad } from '../tensor/tape';
import { scope, unscoped } from '../tensor/scope';
import type { Tensor } from '../tensor/tensor';
import { Linear } from './layers';
import type { LowRank } from './layers';

/** The Linears of a network by checkpoint path, as `Weights.registered()` gives them. */
export type Modules = ReadonlyMap<string, object>;

/** What Flow-GRPO and the diffusers Kontext recipe train: attention and feed-forward, without the single blocks' output projection. */
export const defaultLoraTargets: readonly string[] = [
  'attn.to_q',
  'attn.to_k',
  'attn.to_v',
  'attn.to_out.0',
  'attn.add_q_proj',
  'attn.add_k_proj',
  'attn.add_v_proj',
  'attn.to_add_out',
  'ff.net.0.proj',
  'ff.net.2',
  'ff_context.net.0.proj',
  'ff_context.net.2',
  'proj_mlp',
];

export interface LoraOptions {
  rank: number;
  /** Scale of the update is alpha / rank; the rank when absent. */
  alpha?: number;
  /** Path endings of the modules to adapt. */
  targets?: readonly string[];
  seed: number;
}

/** One adapted Linear. */
interface Adapted {
  linear: Linear;
  update: LowRank;
  scale: number;
}

/** Adapters on the Linears of one network. Attached on creation; owns its A and B. */
export class Lora implements Disposable {
  private on = true;

  /** @param adapted by module path; use createLora or loadLora */
  constructor(private readonly adapted: ReadonlyMap<string, Adapted>) {
    for (const { linear, update } of adapted.values()) linear.lowRank.push(update);
  }

  /** Module paths. */
  get paths(): string[] {
    return [...this.adapted.keys()];
  }

  /**
   * Whether the updates count. Switched off, the network is its base: the reference policy of the KL term. The base runs
   * through the same ops either way, so at B = 0 both give the same bits.
   */
  get enabled(): boolean {
    return this.on;
  }

  set enabled(on: boolean) {
    this.on = on;
    for (const { update, scale } of this.adapted.values()) update.scale = on ? scale : 0;
  }

  /** A and B of every module as `<path>.lora_A.weight` [r, in] and `<path>.lora_B.weight` [out, r]. */
  parameters(): Map<string, Tensor> {
    const parameters = new Map<string, Tensor>();
    for (const [path, { update }] of this.adapted) {
      parameters.set(`${path}.lora_A.weight`, update.a);
      parameters.set(`${path}.lora_B.weight`, update.b);
    }
    return parameters;
  }

  /** Marks A and B as leaves whose gradients are wanted. */
  train(on = true): this {
    for (const parameter of this.parameters().values()) parameter.requiresGrad = on;
    return this;
  }

  /**
   * Tensors and metadata of a diffusers LoRA file (`pytorch_lora_weights.safetensors`). A scale that differs between modules
   * is folded into B, since the file has one alpha. Dispose `owned` after writing.
   */
  state(): { tensors: Map<string, Tensor>; metadata: Record<string, string>; owned: Tensor[] } {
    const all = [...this.adapted.values()];
    const rank = all[0].update.a.dim(0);
    const uniform = all.every(({ update, scale }) => update.a.dim(0) === rank && scale === all[0].scale);
    const tensors = new Map<string, Tensor>();
    const owned: Tensor[] = [];
    for (const [path, { update, scale }] of this.adapted) {
      let b = update.b;
      if (!uniform && scale !== 1) {
        b = noGrad(() => unscoped(() => scaled(update.b, scale)));
        owned.push(b);
      }
      tensors.set(`transformer.${path}.lora_A.weight`, update.a);
      tensors.set(`transformer.${path}.lora_B.weight`, b);
    }
    const adapter = { 'transformer.r': rank, 'transformer.lora_alpha': rank * all[0].scale, 'transformer.target_modules': this.paths };
    const metadata: Record<string, string> = uniform ? { format: 'pt', lora_adapter_metadata: JSON.stringify(adapter) } : { format: 'pt' };
    return { tensors, metadata, owned };
  }

  /** W + scale · B A of every adapted module, as `<path>.weight` in W's dtype. The tensors belong to the caller. */
  merged(): Map<string, Tensor> {
    const merged = new Map<string, Tensor>();
    for (const [path, { linear, update, scale }] of this.adapted) {
      const sum = (): Tensor => {
        const product = matmul(cast(update.b, 'f32'), cast(update.a, 'f32'));
        return cast(add(cast(linear.weight, 'f32'), scaled(product, scale)), linear.weight.dtype);
      };
      merged.set(`${path}.weight`, noGrad(() => unscoped(() => scope(sum))));
    }
    return merged;
  }

  /** Takes the adapters off the network and frees them. */
  dispose(): void {
    for (const { linear, update } of this.adapted.values()) {
      linear.lowRank = linear.lowRank.filter((other) => other !== update);
      update.a.dispose();
      update.b.dispose();
    }
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Fresh adapters: A ~ N(0, 1/r²) (standard deviation 1/r), B = 0, in f32. @throws WeightsError when no module matches */
export function createLora(device: Device, modules: Modules, options: LoraOptions): Lora {
  const { rank, alpha = rank, targets = defaultLoraTargets, seed } = options;
  const draw = new RandomWeights(device, {
    seed,
    dtype: 'f32',
    rule: (name) => (name.includes('.lora_A.') ? { kind: 'normal', std: 1 / rank } : { kind: 'constant', value: 0 }),
  });
  const adapted = new Map<string, Adapted>();
  for (const [path, linear] of linears(modules)) {
    if (!targets.some((target) => path === target || path.endsWith(`.${target}`))) continue;
    const a = draw.get(`${path}.lora_A.weight`, [rank, linear.inFeatures]);
    const b = draw.get(`${path}.lora_B.weight`, [linear.outFeatures, rank]);
    adapted.set(path, { linear, update: { a, b, scale: alpha / rank }, scale: alpha / rank });
  }
  if (adapted.size === 0) {
    const wanted = `${targets.slice(0, 4).join(', ')}${targets.length > 4 ? ', …' : ''}`;
    throw new WeightsError(`LoRA: no module ends in ${wanted}; the network has ${examples(linears(modules).keys())}`);
  }
  return new Lora(adapted);
}

/** Adapters over given tensors, by path. */
export function attachLora(modules: Modules, updates: ReadonlyMap<string, LowRank>): Lora {
  const known = linears(modules);
  const adapted = new Map<string, Adapted>();
  for (const [path, update] of updates) {
    const linear = known.get(path);
    if (!linear) throw new WeightsError(`LoRA: the network has no Linear '${path}', only ${examples(known.keys())}`);
    const { a, b } = update;
    const [rank] = a.shape;
    if (a.rank !== 2 || b.rank !== 2 || a.dim(1) !== linear.inFeatures || b.dim(0) !== linear.outFeatures || b.dim(1) !== rank) {
      throw new WeightsError(
        `LoRA: '${path}' needs A [r, ${linear.inFeatures}] and B [${linear.outFeatures}, r], the file has A [${a.shape}] and B [${b.shape}]`,
      );
    }
    adapted.set(path, { linear, update, scale: update.scale });
  }
  return new Lora(adapted);
}

/** The Linears among registered modules. */
export function linears(modules: Modules): Map<string, Linear> {
  const found = new Map<string, Linear>();
  for (const [path, module] of modules) if (module instanceof Linear) found.set(path, module);
  return found;
}

export function examples(names: Iterable<string>): string {
  const list = [...names];
  return `${list.slice(0, 3).join(', ')}${list.length > 3 ? `, … (${list.length})` : ''}`;
}
