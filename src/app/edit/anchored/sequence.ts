/**
 * The group denoiser: views of one sequence are edited while finished views stand beside them as clean context. Nothing
 * here knows of folders or of the command, so that training and evaluation use it too.
 */
import { sample } from '../../../flow';
import { contextViewIds, kontextVelocity } from '../../../models/flux';
import type { FluxTransformer, KontextCondition, TokenGrid } from '../../../models/flux';
import type { Device } from '../../../tensor/device';
import { cast, concat, randn } from '../../../tensor/ops';
import { scope, unscoped } from '../../../tensor/scope';
import type { Tensor } from '../../../tensor/tensor';
import type { HostTensor } from '../../parity/kinds';
import type { EditGroup } from './groups';

/** What the targets of a group are conditioned on; T targets, K contexts, L tokens of a view. */
export interface GroupCondition {
  /** Unedited views, targets then contexts [B, (T + K)·L, C]. */
  reference: Tensor;
  /** Finished edits [B, K·L, C]; absent without contexts. Never noised, never updated. */
  context?: Tensor;
  /** [B, text tokens, joint_attention_dim] and [B, pooled_projection_dim] */
  text: Tensor;
  pooled: Tensor;
  guidance: number;
}

/** The condition of `kontextVelocity` for a group: contexts are further reference tokens with ids of their own. */
export function groupCondition(
  { cells, contexts }: Pick<EditGroup, 'cells' | 'contexts'>,
  cell: Pick<TokenGrid, 'rows' | 'columns'>,
  { reference, context, ...rest }: GroupCondition,
): KontextCondition {
  return {
    ...rest,
    reference: context ? concat([reference, context], 1) : reference,
    imageIds: contextViewIds(cells.slice(0, cells.length - contexts.length), cells.slice(cells.length - contexts.length), cell),
  };
}

export interface GroupsInput {
  device: Device;
  /** Type of what the transformer is conditioned on. */
  dtype: 'f32' | 'bf16';
  model: FluxTransformer;
  groups: readonly EditGroup[];
  /** Tokens of one view. */
  cell: Pick<TokenGrid, 'rows' | 'columns'>;
  /** Clean packed latents of the V unedited views in order [1, V·L, C]. */
  reference: HostTensor;
  /** Instruction of a group; the tensors stay the caller's. */
  instruction(group: EditGroup): { text: Tensor; pooled: Tensor };
  guidance: number;
  /** The same number of noise levels for every count of target tokens. */
  sigmas(targetTokens: number): number[];
  seed: number;
  /** Philox stream of the initial noise; view v begins at number v · L · C of it, so that the groups do not matter. */
  stream: number;
  noise: 'independent' | 'shared';
}

/** How far a run over groups came; `step` counts the steps of all groups. */
export interface GroupsProgress {
  step: number;
  /** Finished views [1, V·L, C]; zeros elsewhere. The anchor's latents must be here when no group makes them. */
  latents: HostTensor;
  /** Targets of the group in progress [1, T·L, C]. */
  current?: HostTensor;
}

export interface GroupsHooks {
  signal: AbortSignal;
  /** Called after every step and whenever a group is finished, with what a resumed run needs. */
  onProgress(progress: GroupsProgress): Promise<void> | void;
}

/**
 * Denoises group after group, from where `progress` stands, and returns the latents of all views [1, V·L, C].
 * @throws AbortError; all tensors are freed then
 */
export async function denoiseGroups(
  input: GroupsInput,
  progress: GroupsProgress,
  { signal, onProgress }: GroupsHooks,
): Promise<HostTensor> {
  const { groups, cell, reference, model, device } = input;
  const tokens = cell.rows * cell.columns;
  const channels = reference.shape[2];
  const size = tokens * channels;
  const { shape } = progress.latents;
  const latents = Float32Array.from(progress.latents.data);
  let { step, current } = progress;
  for (const [index, group] of groups.entries()) {
    const sigmas = input.sigmas(group.targets.length * tokens);
    const steps = sigmas.length - 1;
    const before = index * steps;
    if (step >= before + steps) continue;
    const owned: Tensor[] = [];
    const upload = (views: readonly number[], from: HostTensor['data']): Tensor => {
      const data = gather(from, views, size);
      const tensor = unscoped(() => scope(() => cast(device.tensor(data, [1, views.length * tokens, channels]), input.dtype)));
      owned.push(tensor);
      return tensor;
    };
    try {
      const members = [...group.targets, ...group.contexts];
      const unedited = upload(members, reference.data);
      const context = group.contexts.length > 0 ? upload(group.contexts, latents) : undefined;
      const condition = groupCondition(group, cell, {
        ...input.instruction(group),
        reference: unedited,
        context,
        guidance: input.guidance,
      });
      if (context) owned.push(condition.reference);
      const start = current
        ? device.tensor(current.data, current.shape)
        : initialNoise(input, group.targets, tokens, channels);
      owned.push(start);
      const final = await sample(start, (x, sigma) => kontextVelocity(model, x, sigma, condition), {
        sigmas,
        signal,
        firstStep: step - before,
        onStep: async ({ next }) => {
          step++;
          // To the host after every step: an abort drops what is on the device's queue.
          current = { shape: [...next.shape], data: await next.toFloat32() };
          if (step === before + steps) return;
          await onProgress({ step, latents: { shape, data: latents }, current });
        },
      });
      final.dispose();
    } finally {
      for (const tensor of owned) tensor.dispose();
    }
    for (const [i, view] of group.targets.entries()) {
      latents.set(current!.data.subarray(i * size, (i + 1) * size), view * size);
    }
    current = undefined;
    await onProgress({ step, latents: { shape, data: latents } });
  }
  return { shape, data: latents };
}

/** N(0, 1) latents of the views [1, views · tokens, channels], f32. */
function initialNoise(
  { device, seed, stream, noise }: GroupsInput,
  views: readonly number[],
  tokens: number,
  channels: number,
): Tensor {
  return unscoped(() =>
    scope(() => {
      const parts = views.map((view) => {
        const part = device.empty([1, tokens, channels], 'f32');
        randn(part, { seed, stream, offset: noise === 'shared' ? 0 : view * tokens * channels });
        return part;
      });
      return parts.length === 1 ? parts[0] : concat(parts, 1);
    }),
  );
}

/** Rows of `size` numbers by index. */
function gather(from: HostTensor['data'], rows: readonly number[], size: number): Float32Array {
  const out = new Float32Array(rows.length * size);
  rows.forEach((row, i) => out.set(from.subarray(row * size, (row + 1) * size), i * size));
  return out;
}
