/** The loop every tiny network is trained by: data → recorded loss → gradients → clip → optimisers → average, with checkpoints. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { RlError, WeightsError } from '../../binding/errors';
import type { Device } from '../../tensor/device';
import { axpyInPlace, scaleInPlace, sumOfSquares } from '../../tensor/ops';
import { AdamW, Ema, Muon } from '../../tensor/optim';
import type { Gradients, Optimizer } from '../../tensor/optim';
import { SafetensorsFile, writeSafetensors } from '../../tensor/safetensors';
import { scope } from '../../tensor/scope';
import { record } from '../../tensor/tape';
import type { Tensor } from '../../tensor/tensor';
import type { AppEvent } from '../events';
import { writeAtomic } from '../output-folder';

/** What is particular to one network. */
export interface TrainingTask<Batch> {
  name: string;
  /** Trained parameters under their checkpoint names. */
  parameters: ReadonlyMap<string, Tensor>;
  recipe: Recipe;
  /** Parameters that take Muon; the others take AdamW. */
  usesMuon?(name: string, parameter: Tensor): boolean;
  /** Data of a step: depends on the step and the seed alone, so that a resumed run sees the same. */
  prepare(step: number): Promise<Batch>;
  /** Builds the loss (a tensor of one element) and named values to log; runs under a tape. */
  loss(batch: Batch, step: number): { loss: Tensor; metrics?: Record<string, Tensor> };
  /** Held-out figures, computed with the averaged weights. */
  evaluate(step: number): Promise<Record<string, number>>;
}

export interface Recipe {
  steps: number;
  /** Peak learning rate of AdamW; Muon's is `muonLearningRate`. */
  learningRate: number;
  muonLearningRate?: number;
  weightDecay?: number;
  /** Steps of linear warm-up. */
  warmup: number;
  /** Share of the run after which the rate falls linearly to 2 %. */
  decayFrom: number;
  emaDecay: number;
  clipNorm: number;
}

export interface LoopSettings {
  device: Device;
  /** Folder of this network's checkpoints and metrics. */
  folder: string;
  minutes?: number;
  logEvery: number;
  evalEvery: number;
  signal: AbortSignal;
}

interface LoopState {
  step: number;
  elapsedSec: number;
  updates: number[];
}

const MAX_BAD_STEPS = 20;

/**
 * Trains until the recipe's steps are done or the time is up, resuming from the folder's checkpoint when there is one. Leaves
 * the averaged weights in the parameters. Aborting saves a checkpoint first.
 */
export async function* train<Batch>(task: TrainingTask<Batch>, settings: LoopSettings): AsyncGenerator<AppEvent, Record<string, number>> {
  const { recipe, parameters } = task;
  const { device, folder, signal } = settings;
  mkdirSync(folder, { recursive: true });
  const [forMuon, forAdam] = split(parameters, (name, tensor) => task.usesMuon?.(name, tensor) ?? false);
  const adam = new AdamW(forAdam, { beta2: 0.98, weightDecay: recipe.weightDecay });
  const muon = new Muon(forMuon, { weightDecay: recipe.weightDecay });
  const optimizers: Optimizer[] = [adam, muon];
  const ema = new Ema(parameters, recipe.emaDecay);
  for (const parameter of parameters.values()) parameter.requiresGrad = true;
  const state = await restore(device, folder, parameters, ema, optimizers);
  const started = Date.now() - state.elapsedSec * 1000;
  const elapsedSec = (): number => (Date.now() - started) / 1000;
  const progress = (): number =>
    Math.max(state.step / recipe.steps, settings.minutes ? elapsedSec() / (60 * settings.minutes) : 0);
  let figures: Record<string, number> = {};
  let bad = 0;
  try {
    while (progress() < 1) {
      signal.throwIfAborted();
      const batch = await task.prepare(state.step);
      const { result, tape } = scope(() => record(() => task.loss(batch, state.step)));
      const gradients = tape.gradients([result.loss]);
      const norm = await globalNorm(gradients);
      if (Number.isFinite(norm)) {
        clip(gradients, norm, recipe.clipNorm);
        const rate = schedule(state.step, progress(), recipe);
        adam.step(gradients, recipe.learningRate * rate);
        muon.step(gradients, (recipe.muonLearningRate ?? recipe.learningRate) * rate);
        ema.update(state.step);
      } else if (++bad > MAX_BAD_STEPS) {
        throw new RlError(`${task.name}: ${bad} steps had no finite gradient; lower the learning rate`);
      }
      for (const gradient of gradients.values()) gradient.dispose();
      state.step += 1;
      if (state.step % settings.logEvery === 0 || progress() >= 1) {
        for (const [name, tensor] of Object.entries({ loss: result.loss, ...result.metrics })) {
          yield { type: 'metric', name: `${task.name}.${name}`, value: (await tensor.toFloat32())[0] };
        }
        yield { type: 'metric', name: `${task.name}.gradientNorm`, value: norm };
        const etaSec = (elapsedSec() / progress()) * (1 - progress());
        yield { type: 'step', stage: task.name, step: state.step, steps: Math.max(state.step, Math.round(state.step / progress())), etaSec };
      }
      for (const tensor of [result.loss, ...Object.values(result.metrics ?? {})]) tensor.dispose();
      if (state.step % settings.evalEvery === 0) {
        await save(folder, { ...state, elapsedSec: elapsedSec() }, parameters, ema, optimizers);
        figures = await withAverages(parameters, ema, () => task.evaluate(state.step));
        for (const [name, value] of Object.entries(figures)) yield { type: 'metric', name: `${task.name}.${name}`, value };
      }
    }
    await save(folder, { ...state, elapsedSec: elapsedSec() }, parameters, ema, optimizers);
  } catch (error) {
    if (signal.aborted) await save(folder, { ...state, elapsedSec: elapsedSec() }, parameters, ema, optimizers);
    throw error;
  } finally {
    for (const parameter of parameters.values()) parameter.requiresGrad = false;
    for (const optimizer of optimizers) optimizer.dispose();
    if (signal.aborted) ema.dispose();
  }
  for (const [name, parameter] of parameters) copyInto(parameter, ema.averages.get(name) as Tensor);
  ema.dispose();
  figures = await task.evaluate(state.step);
  for (const [name, value] of Object.entries(figures)) yield { type: 'metric', name: `${task.name}.${name}`, value };
  return figures;
}

function schedule(step: number, progress: number, { warmup, decayFrom }: Recipe): number {
  const up = Math.min(1, (step + 1) / warmup);
  const down = progress <= decayFrom ? 1 : Math.max(0.02, (1 - progress) / (1 - decayFrom));
  return up * down;
}

async function globalNorm(gradients: Gradients): Promise<number> {
  const total = scope(() => sumOfSquares([...gradients.values()]));
  const [square] = await total.toFloat32();
  total.dispose();
  return Math.sqrt(square);
}

function clip(gradients: Gradients, norm: number, limit: number): void {
  if (norm <= limit) return;
  for (const gradient of gradients.values()) scaleInPlace(gradient, limit / norm);
}

function copyInto(target: Tensor, source: Tensor): void {
  scope(() => {
    scaleInPlace(target, 0);
    axpyInPlace(target, source, 1);
  });
}

async function withAverages<T>(parameters: ReadonlyMap<string, Tensor>, ema: Ema, run: () => Promise<T>): Promise<T> {
  const kept = new Map<Tensor, Tensor>();
  for (const [name, parameter] of parameters) {
    const copy = parameter.device.empty(parameter.shape);
    scaleInPlace(copy, 0);
    axpyInPlace(copy, parameter, 1);
    kept.set(parameter, copy);
    copyInto(parameter, ema.averages.get(name) as Tensor);
  }
  try {
    return await run();
  } finally {
    for (const [parameter, copy] of kept) {
      copyInto(parameter, copy);
      copy.dispose();
    }
  }
}

function split(
  parameters: ReadonlyMap<string, Tensor>,
  choose: (name: string, tensor: Tensor) => boolean,
): [Map<string, Tensor>, Map<string, Tensor>] {
  const yes = new Map<string, Tensor>();
  const no = new Map<string, Tensor>();
  for (const [name, tensor] of parameters) (choose(name, tensor) ? yes : no).set(name, tensor);
  return [yes, no];
}

/** Everything a run needs to go on with the same bits, written beside the old checkpoint and swapped in whole. */
async function save(folder: string, state: LoopState, parameters: ReadonlyMap<string, Tensor>, ema: Ema, optimizers: Optimizer[]): Promise<void> {
  const next = join(folder, 'checkpoint.next');
  rmSync(next, { recursive: true, force: true });
  mkdirSync(next);
  await writeSafetensors(join(next, 'weights.safetensors'), parameters);
  await writeSafetensors(join(next, 'average.safetensors'), ema.averages);
  await writeSafetensors(join(next, 'optimizer.safetensors'), new Map(optimizers.flatMap((optimizer) => [...optimizer.state()])));
  await writeAtomic(join(next, 'state.json'), JSON.stringify({ ...state, updates: optimizers.map((optimizer) => optimizer.updates) }));
  const current = join(folder, 'checkpoint');
  const old = join(folder, 'checkpoint.old');
  rmSync(old, { recursive: true, force: true });
  if (existsSync(current)) renameSync(current, old);
  renameSync(next, current);
  rmSync(old, { recursive: true, force: true });
}

async function restore(
  device: Device,
  folder: string,
  parameters: ReadonlyMap<string, Tensor>,
  ema: Ema,
  optimizers: Optimizer[],
): Promise<LoopState> {
  const current = ['checkpoint', 'checkpoint.old'].map((name) => join(folder, name)).find((path) => existsSync(join(path, 'state.json')));
  if (!current) return { step: 0, elapsedSec: 0, updates: [] };
  const state = JSON.parse(readFileSync(join(current, 'state.json'), 'utf8')) as LoopState;
  load(device, join(current, 'weights.safetensors'), parameters);
  load(device, join(current, 'average.safetensors'), ema.averages);
  for (const [i, optimizer] of optimizers.entries()) {
    load(device, join(current, 'optimizer.safetensors'), optimizer.state());
    optimizer.updates = state.updates[i];
  }
  await device.sync();
  return state;
}

function load(device: Device, path: string, targets: ReadonlyMap<string, Tensor>): void {
  using file = new SafetensorsFile(device, path);
  for (const [name, target] of targets) {
    scope(() => {
      const stored = file.load(name, 'f32');
      if (stored.size !== target.size) throw new WeightsError(`${path}: '${name}' is [${stored.shape}], this run has [${target.shape}]`);
      copyInto(target, stored);
    });
  }
}
