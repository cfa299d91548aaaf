/**
 * A user's own reward, given by path: a JavaScript or TypeScript file that exports `score(group)`, or an ONNX file. A module may also
 * export `name` (a word for logs) and `floor` (a number, or a function of a group's values; default 1e-3 · |mean|).
 */
import { readFile, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, extname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { compileFunction } from 'node:vm';
import type * as TypeScript from 'typescript';
import { ConfigError, RlError, WeightsError } from '../binding/errors';
import { OnnxModule } from '../models/onnx';
import { throwIfAborted, type Image } from '../scene';
import { accepts } from './anchor';
import { checkGroup, floorOfMean } from './terms';
import type { RewardGroup, RewardTerm } from './term';

const moduleEndings = ['.js', '.cjs', '.mjs'];
const namePattern = /^[\w.-]{1,64}$/;

/** What a reward module may export. */
interface RewardModule {
  score?: unknown;
  name?: unknown;
  floor?: unknown;
}

/**
 * Loads a reward. Its term is called `custom:<name>`, the exported name or that of the file. The file runs with the rights of this
 * process: give only files that you trust.
 * @throws ConfigError naming the file for one that is missing, of another kind, does not load or lacks `score`; WeightsError for an
 *   ONNX file that does not take pictures
 */
export async function openCustomReward(path: string, weight: number, signal?: AbortSignal): Promise<RewardTerm> {
  const file = resolve(path);
  const info = await stat(file).catch(() => undefined);
  if (!info?.isFile()) throw new ConfigError(`custom reward ${path}: no such file`);
  const ending = extname(file).toLowerCase();
  if (ending === '.onnx') return onnxReward(path, file, weight, signal);
  if (ending === '.ts') return moduleReward(path, weight, await loadTypeScript(path, file));
  if (moduleEndings.includes(ending)) return moduleReward(path, weight, await loadJavaScript(path, file));
  throw new ConfigError(`custom reward ${path}: expected a file ending in ${moduleEndings.join(', ')}, .ts or .onnx`);
}

function moduleReward(path: string, weight: number, exported: RewardModule): RewardTerm {
  const { score, name = basename(path, extname(path)), floor } = exported;
  if (typeof score !== 'function') {
    throw new ConfigError(`custom reward ${path}: exports no function 'score' (found ${describe(score)}); write export function score(group) { … }`);
  }
  if (typeof name !== 'string' || !namePattern.test(name)) {
    throw new ConfigError(`custom reward ${path}: 'name' is ${describe(name)}, expected letters, digits, '.', '_' or '-'`);
  }
  if (floor !== undefined && typeof floor !== 'function' && !(typeof floor === 'number' && floor >= 0)) {
    throw new ConfigError(`custom reward ${path}: 'floor' is ${describe(floor)}, expected a number >= 0 or a function of the values`);
  }
  return {
    name: `custom:${name}`,
    weight,
    floor: (values) => floorFrom(path, floor, values),
    score: async (group) => {
      let values: unknown;
      try {
        values = await (score as (group: RewardGroup) => unknown)(group);
      } catch (error) {
        if (error instanceof RlError) throw error;
        throw new ConfigError(`custom reward ${path}: score() failed: ${messageOf(error)}`, { cause: error });
      }
      return checkedValues(path, values, group.rollouts.length);
    },
  };
}

function floorFrom(path: string, floor: unknown, values: readonly number[]): number {
  if (floor === undefined) return floorOfMean(values);
  const found: unknown = typeof floor === 'function' ? (floor as (values: readonly number[]) => unknown)(values) : floor;
  if (typeof found !== 'number' || !(found >= 0)) throw new ConfigError(`custom reward ${path}: floor() gave ${describe(found)}, expected a number >= 0`);
  return found;
}

/** NaN and infinities pass: they mark rollouts whose value could not be computed. */
function checkedValues(path: string, values: unknown, rollouts: number): number[] {
  const list = ArrayBuffer.isView(values) && !(values instanceof DataView) ? Array.from(values as unknown as ArrayLike<unknown>) : values;
  if (!Array.isArray(list)) throw new ConfigError(`custom reward ${path}: score() gave ${describe(values)}, expected ${rollouts} numbers`);
  if (list.length !== rollouts) throw new ConfigError(`custom reward ${path}: score() gave ${list.length} values for ${rollouts} rollouts`);
  // Array.from fills holes, which some() would pass over.
  const numbers = Array.from(list as unknown[]);
  const wrong = numbers.findIndex((value) => typeof value !== 'number');
  if (wrong >= 0) throw new ConfigError(`custom reward ${path}: value ${wrong} is ${describe(numbers[wrong])}, expected a number (NaN where there is none)`);
  return numbers as number[];
}

async function loadJavaScript(path: string, file: string): Promise<RewardModule> {
  try {
    return unwrapped((await import(pathToFileURL(file).href)) as RewardModule);
  } catch (error) {
    throw new ConfigError(`custom reward ${path}: does not load: ${messageOf(error)}`, { cause: error });
  }
}

/** A CommonJS module's exports may come as the default export only. */
function unwrapped(exported: RewardModule & { default?: unknown }): RewardModule {
  const { default: inner } = exported;
  return exported.score === undefined && typeof inner === 'object' && inner !== null ? (inner as RewardModule) : exported;
}

async function loadTypeScript(path: string, file: string): Promise<RewardModule> {
  const source = await readFile(file, 'utf8');
  const compiler = findTypeScript(dirname(file));
  if (!compiler) {
    throw new ConfigError(`custom reward ${path}: the package 'typescript' is not installed; compile the file to .js, or run npm install typescript`);
  }
  const { outputText, diagnostics = [] } = compiler.transpileModule(source, {
    fileName: file,
    reportDiagnostics: true,
    compilerOptions: { module: compiler.ModuleKind.CommonJS, target: compiler.ScriptTarget.ES2022, esModuleInterop: true },
  });
  if (diagnostics.length > 0) {
    throw new ConfigError(`custom reward ${path}: ${compiler.flattenDiagnosticMessageText(diagnostics[0].messageText, ' ')}`);
  }
  try {
    const module = { exports: {} as RewardModule };
    const run = compileFunction(outputText, ['exports', 'require', 'module', '__filename', '__dirname'], { filename: file }) as (...args: unknown[]) => void;
    run(module.exports, createRequire(file), module, file, dirname(file));
    return unwrapped(module.exports);
  } catch (error) {
    throw new ConfigError(`custom reward ${path}: does not load: ${messageOf(error)}`, { cause: error });
  }
}

/** The compiler as the user's file would find it, else this package's. */
function findTypeScript(folder: string): typeof TypeScript | undefined {
  for (const from of [resolve(folder, 'reward.js'), __filename]) {
    try {
      return createRequire(from)('typescript') as typeof TypeScript;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error;
    }
  }
  return undefined;
}

/** A network on the views of one rollout: float32 [M, 3, H, W] in [0, 1] to one number. */
async function onnxReward(path: string, file: string, weight: number, signal?: AbortSignal): Promise<RewardTerm> {
  const module = await OnnxModule.open(file, { signal });
  const { inputs, outputs } = module;
  const shape = inputs[0]?.shape ?? [];
  const fits = inputs.length === 1 && outputs.length === 1 && inputs[0].dtype === 'float32' && shape.length === 4 && accepts(shape[1], 3);
  if (!fits) {
    await module.dispose();
    const found = inputs.map(({ name, dtype, shape: dims }) => `${name}: ${dtype} [${dims}]`).join(', ');
    throw new WeightsError(`custom reward ${path}: expected one input float32 [M, 3, H, W] and one output, got ${outputs.length} outputs of inputs ${found}`);
  }
  return {
    name: `custom:${basename(path, extname(path))}`,
    weight,
    floor: floorOfMean,
    score: async (group) => {
      checkGroup(group, `custom reward ${path}:`);
      const values: number[] = [];
      for (const rollout of group.rollouts) {
        throwIfAborted(group.signal);
        const found = await module.run({ [inputs[0].name]: stacked(path, rollout) }, { signal: group.signal });
        const { data } = found[outputs[0].name];
        if (data.length !== 1) throw new WeightsError(`custom reward ${path}: gave ${data.length} numbers for a rollout, expected one`);
        values.push(Number(data[0]));
      }
      return values;
    },
    dispose: () => module.dispose(),
  };
}

function stacked(path: string, views: readonly Image[]): { data: Float32Array; shape: number[] } {
  const [{ width, height }] = views;
  const data = new Float32Array(views.length * 3 * width * height);
  views.forEach((view, v) => {
    if (view.width !== width || view.height !== height) {
      throw new ConfigError(`custom reward ${path}: view ${v} is ${view.width}x${view.height}, view 0 ${width}x${height}; a network needs one size`);
    }
    data.set(view.data, v * 3 * width * height);
  });
  return { data, shape: [views.length, 3, height, width] };
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'string' || typeof value === 'number') return JSON.stringify(value) ?? String(value);
  return Array.isArray(value) ? 'an array' : `a value of type ${typeof value}`;
}

function messageOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error);
}
