/** Reads LoRA files: diffusers and PEFT names, single-file (BFL) names, and kohya's flattened names. */
import { WeightsError } from '../binding/errors';
import { concat, rows } from '../tensor/ops';
import { scope, unscoped } from '../tensor/scope';
import type { Shape, Tensor } from '../tensor/tensor';
import { bflModule, diffusersModules } from './flux/checkpoint';
import type { FusedRows } from './flux/checkpoint';
import type { LowRank } from './layers';
import { attachLora, examples, linears } from './lora';
import type { Lora, Modules } from './lora';

/** A LoRA file; SafetensorsWeights opened as f32 is one. */
export interface LoraSource {
  names(): string[];
  shapeOf(name: string): Shape | undefined;
  load(name: string): Tensor;
  metadata(): Record<string, string>;
}

export interface LoadedLora {
  lora: Lora;
  /** Keys that became part of an adapter. */
  matched: string[];
  /** Keys the network has no place for (text encoders, biases). */
  unmatched: string[];
}

type Role = 'a' | 'b' | 'alpha';

const roles: [RegExp, Role][] = [
  [/\.lora_A(\.[^.]+)?\.weight$|\.lora_down\.weight$|\.lora\.down\.weight$/, 'a'],
  [/\.lora_B(\.[^.]+)?\.weight$|\.lora_up\.weight$|\.lora\.up\.weight$/, 'b'],
  [/\.alpha$/, 'alpha'],
];

const prefixes = /^(base_model\.model\.)?(transformer\.|diffusion_model\.|model\.diffusion_model\.)?/;

/**
 * Reads a LoRA and attaches it to the network's modules. The scale is alpha / rank with alpha from `.alpha` tensors, from the
 * file's metadata, from `alpha`, or equal to the rank. A projection that is fused in the file (`img_attn.qkv`, `linear1`)
 * is split: its parts share A and take their rows of B, which is exact for block-diagonal B as well.
 * @throws WeightsError when nothing matches, a pair is incomplete, or shapes do not fit
 */
export async function loadLora(source: LoraSource, modules: Modules, options: { alpha?: number } = {}): Promise<LoadedLora> {
  const names = source.names();
  const groups = new Map<string, Partial<Record<Role, string>>>();
  const unmatched: string[] = [];
  const resolve = moduleFinder(modules);
  for (const name of names) {
    const parsed = parseKey(name);
    const places = parsed ? resolve(parsed.module) : [];
    if (!parsed || places.length === 0) {
      unmatched.push(name);
      continue;
    }
    const group = groups.get(parsed.module) ?? {};
    group[parsed.role] = name;
    groups.set(parsed.module, group);
  }
  if (groups.size === 0) {
    throw new WeightsError(
      `LoRA: none of its ${names.length} keys belongs to this network. The file has ${examples(names)}; ` +
        `the network has ${examples(linears(modules).keys())}`,
    );
  }
  const fileScale = scaleFromMetadata(source.metadata());
  const updates = new Map<string, LowRank>();
  try {
    for (const [module, { a, b, alpha }] of groups) {
      if (a === undefined || b === undefined) throw new WeightsError(`LoRA: '${module}' has ${a ? 'no B (up)' : 'no A (down)'} matrix`);
      const rank = source.shapeOf(a)?.[0] ?? 0;
      const scale = alpha !== undefined ? (await scalar(source, alpha)) / rank : (fileScale?.(rank) ?? (options.alpha ?? rank) / rank);
      for (const { path, part } of resolve(module)) {
        if (updates.has(path)) throw new WeightsError(`LoRA: two modules of the file adapt '${path}'`);
        updates.set(path, { a: source.load(a), b: partOf(source.load(b), part), scale });
      }
    }
    const lora = attachLora(modules, updates);
    const matched = [...groups.values()].flatMap((group) => Object.values(group));
    return { lora, matched, unmatched };
  } catch (error) {
    for (const { a, b } of updates.values()) {
      a.dispose();
      b.dispose();
    }
    throw error;
  }
}

function parseKey(name: string): { module: string; role: Role } | undefined {
  for (const [pattern, role] of roles) {
    if (pattern.test(name)) return { module: name.replace(pattern, '').replace(prefixes, ''), role };
  }
  return undefined;
}

interface Place {
  path: string;
  part?: FusedRows;
}

/** Finds the network's modules behind a file's module name; kohya's names are those of either layout with dots as underscores. */
function moduleFinder(modules: Modules): (module: string) => Place[] {
  const known = linears(modules);
  const flat = new Map<string, string>();
  for (const path of known.keys()) {
    flat.set(`lora_unet_${path.replaceAll('.', '_')}`, path);
    const bfl = bflModule(path);
    if (bfl) flat.set(`lora_unet_${bfl.name.replaceAll('.', '_')}`, bfl.name);
  }
  return (module) => {
    const name = flat.get(module) ?? module;
    if (known.has(name) && !/^(double|single)_blocks\./.test(name)) return [{ path: name }];
    return diffusersModules(name)
      .filter(({ module: path }) => known.has(path))
      .map(({ module: path, part }) => ({ path, part }));
  };
}

/** The rows of a fused B that belong to one part; takes `b`. */
function partOf(b: Tensor, part: FusedRows | undefined): Tensor {
  if (!part) return b;
  const unit = b.dim(0) / part.of;
  const view = unscoped(() =>
    part.swap
      ? scope(() => concat([rows(b, unit, unit), rows(b, 0, unit)], 0))
      : rows(b, part.start * unit, part.length * unit),
  );
  b.dispose();
  return view;
}

async function scalar(source: LoraSource, name: string): Promise<number> {
  const tensor = source.load(name);
  try {
    return (await tensor.toFloat32())[0];
  } finally {
    tensor.dispose();
  }
}

/** alpha / rank (alpha / √rank for rsLoRA) from what diffusers writes into a file's metadata. */
function scaleFromMetadata(metadata: Record<string, string>): ((rank: number) => number) | undefined {
  const text = metadata['lora_adapter_metadata'];
  if (text === undefined) return undefined;
  let adapter: Record<string, unknown>;
  try {
    adapter = JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    throw new WeightsError(`LoRA: lora_adapter_metadata is not JSON (${(error as Error).message})`, { cause: error });
  }
  const field = (name: string): unknown => adapter[`transformer.${name}`] ?? adapter[name];
  const alpha = field('lora_alpha');
  if (typeof alpha !== 'number') return undefined;
  return (rank) => (field('use_rslora') === true ? alpha / Math.sqrt(rank) : alpha / rank);
}
