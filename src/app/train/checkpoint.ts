/**
 * Checkpoints of a run: everything that the next update depends on, in one folder that appears whole or not at all. Noise is keyed
 * by update and group, so no generator's state is stored; f32 tensors keep their bits.
 */
import { existsSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { OutputError, WeightsError } from '../../binding/errors';
import type { Lora } from '../../models/lora';
import type { Device } from '../../tensor/device';
import type { AdamW, Ema } from '../../tensor/optim';
import { SafetensorsFile, writeSafetensors } from '../../tensor/safetensors';
import { axpyInPlace, scaleInPlace } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { writeAtomic } from '../output-folder';
import type { GuardState } from './health';

export interface Trained {
  device: Device;
  lora: Lora;
  optimizer: AdamW;
  ema: Ema;
}

export interface RunState {
  /** Updates done. */
  update: number;
  elapsedSec: number;
  optimizerUpdates: number;
  guards: GuardState;
}

const folderName = (update: number): string => String(update).padStart(6, '0');

/** Writes checkpoints/NNNNNN and removes all but the last `keep`. */
export async function saveCheckpoint(run: string, trained: Trained, state: RunState, keep: number): Promise<string> {
  const { lora, optimizer, ema } = trained;
  const all = join(run, 'checkpoints');
  const target = join(all, folderName(state.update));
  const next = `${target}.tmp`;
  await rm(next, { recursive: true, force: true });
  await mkdir(next, { recursive: true });
  await writeSafetensors(join(next, 'adapter.safetensors'), lora.parameters());
  await writeSafetensors(join(next, 'average.safetensors'), ema.averages);
  await writeSafetensors(join(next, 'optimizer.safetensors'), optimizer.state());
  // What is to be used: the average, under diffusers' names.
  await withAverages(trained, () => writeLora(join(next, 'lora.safetensors'), lora));
  await writeAtomic(join(next, 'state.json'), `${JSON.stringify(state)}\n`);
  await sync(next);
  await rm(target, { recursive: true, force: true });
  await rename(next, target);
  await sync(all);
  for (const name of (await checkpoints(run)).slice(0, -keep)) await rm(join(all, name), { recursive: true, force: true });
  return target;
}

export async function writeLora(path: string, lora: Lora): Promise<void> {
  const { tensors, metadata, owned } = lora.state();
  try {
    await writeSafetensors(path, tensors, { metadata });
  } finally {
    for (const tensor of owned) tensor.dispose();
  }
}

/** Names of the finished checkpoints, oldest first. */
export async function checkpoints(run: string): Promise<string[]> {
  const names = await readdir(join(run, 'checkpoints')).catch(() => []);
  return names.filter((name) => /^\d{6,}$/.test(name) && existsSync(join(run, 'checkpoints', name, 'state.json'))).sort((a, b) => Number(a) - Number(b));
}

/** Puts the last checkpoint back; undefined when there is none. @throws WeightsError for one of another run */
export async function restoreCheckpoint(run: string, { device, lora, optimizer, ema }: Trained): Promise<RunState | undefined> {
  const last = (await checkpoints(run)).at(-1);
  if (last === undefined) return undefined;
  const folder = join(run, 'checkpoints', last);
  let state: RunState;
  try {
    state = JSON.parse(await readFile(join(folder, 'state.json'), 'utf8')) as RunState;
  } catch (error) {
    throw new OutputError(`${folder}/state.json cannot be read; remove the folder to go on from the checkpoint before`, { cause: error });
  }
  load(device, join(folder, 'adapter.safetensors'), lora.parameters());
  load(device, join(folder, 'average.safetensors'), ema.averages);
  load(device, join(folder, 'optimizer.safetensors'), optimizer.state());
  await device.sync();
  optimizer.updates = state.optimizerUpdates;
  return state;
}

/** Runs with the averaged adapter in place; the trained one comes back, whatever happens. */
export async function withAverages<T>({ lora, ema }: Pick<Trained, 'lora' | 'ema'>, run: () => Promise<T>): Promise<T> {
  const kept: [Tensor, Tensor][] = [];
  try {
    for (const [name, parameter] of lora.parameters()) {
      const copy = parameter.device.empty(parameter.shape);
      assign(copy, parameter);
      kept.push([parameter, copy]);
      assign(parameter, ema.averages.get(name)!);
    }
    // An abort in `run` drops what is queued: the copies must not be among it.
    await kept[0]?.[0].device.sync();
    return await run();
  } finally {
    for (const [parameter, copy] of kept) {
      assign(parameter, copy);
      copy.dispose();
    }
  }
}

function assign(target: Tensor, source: Tensor): void {
  scaleInPlace(target, 0);
  axpyInPlace(target, source, 1);
}

function load(device: Device, path: string, targets: ReadonlyMap<string, Tensor>): void {
  using file = new SafetensorsFile(device, path);
  for (const [name, target] of targets) {
    scope(() => {
      const stored = file.load(name, 'f32');
      if (stored.size !== target.size) throw new WeightsError(`${path}: '${name}' is [${stored.shape}], this run has [${target.shape}]; was the run file changed?`);
      assign(target, stored);
    });
  }
}

/** A rename is only safe once what it names is on the disk. */
async function sync(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
