/** A random tiny editor as a policy, for the tests of rollouts and updates. */
import { join } from 'node:path';
import { loadEditor } from '../../src/app/model';
import { disposeCondition, Policy } from '../../src/app/train/policy';
import type { Condition } from '../../src/app/train/policy';
import { disposeBatches, rollOut } from '../../src/app/train/rollout';
import type { RolloutBatch, RolloutKey } from '../../src/app/train/rollout';
import { trainSchema } from '../../src/config/train';
import type { TrainSettings } from '../../src/config/train';
import { createLora } from '../../src/models/lora';
import type { Lora } from '../../src/models/lora';
import type { Image } from '../../src/scene';
import { Device } from '../../src/tensor/device';
import { writeRandomTinyModel } from '../app/tiny-model';
import { temporaryFolder } from '../scene-fixtures';
import { normals } from './flux-fixtures';

export const device = Device.open('cpu');
const side = 32;
export const signal: AbortSignal = new AbortController().signal;
export const group = 4;
export const key: RolloutKey = { update: 0, group: 0, start: 1 };
/** What a test works on: bindings that follow. */
export let policy: Policy;
export let condition: Condition;
export let lora: Lora;

const picture = (seed: number): Image => ({ width: side, height: side, data: normals(3 * side * side, seed, 0.1).map((x) => 0.5 + x) });
const roles = { targets: [0, 1], contexts: [] };
export const task = { instruction: 'make it night', before: [picture(1), picture(2)], cells: [3, 7], roles, contexts: [] };

/** Opens a random tiny editor for the tests of a file, with a fresh adapter for each. */
export function useTinyPolicy(): void {
  const root = temporaryFolder();
  beforeAll(async () => {
    const model = await writeRandomTinyModel(join(root, 'model'), device);
    policy = await Policy.open(await loadEditor(model, device), {});
    condition = await policy.condition(task);
    // The network keeps the rotary tables of a geometry it has seen.
    disposeBatches((await rolled(settingsFor())).batches);
  });
  let live: number;
  beforeEach(() => {
    live = device.memory().liveTensors;
    device.matmulPrecision = 'f32';
    lora = createLora(device, policy.model.weights.registered(), { rank: 4, seed: 3 }).train();
  });
  afterEach(() => {
    lora.dispose();
    // What a test forgot would be collected in the middle of another one that counts.
    expect(device.memory().liveTensors).toBe(live);
  });
  afterAll(() => {
    disposeCondition(condition);
    policy.editor.dispose();
    device.dispose();
  });
}

export function settingsFor(given: object = {}): TrainSettings {
  return trainSchema.parse({
    out: 'unused', data: { world: {} }, views: 2, group, steps: 6, window: { size: 2 }, noiseLevel: 0.3, groupsPerUpdate: 1,
    evaluateEvery: 0, ...given,
  });
}

/** Moves the adapter away from the base: B, too, is no longer 0. */
export function move(std: number, seed = 5): void {
  for (const parameter of lora.parameters().values()) {
    parameter.write(normals(parameter.size, seed++, std));
  }
}

export async function rolled(settings: TrainSettings, at = key): Promise<{ batches: RolloutBatch[]; latents: Float32Array }> {
  const { batches, latents } = await rollOut(policy, condition, settings, at, signal);
  const values = await latents.toFloat32();
  latents.dispose();
  return { batches, latents: values };
}
