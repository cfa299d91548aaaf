/**
 * The editor as a policy: from views, instruction and anchor to a batch of conditions, velocities and decoded pictures. Rollouts and
 * updates go through the same functions with the same batch, so that a stored step scores exactly as it was drawn.
 */
import { contextViewIds, kontextVelocity, packLatents, unpackLatents } from '../../models/flux';
import type { FluxRun, FluxTransformer, KontextCondition, PositionIds, TokenGrid } from '../../models/flux';
import type { Image } from '../../scene';
import { affine, cast, clamp, concat, reshape, slice } from '../../tensor/ops';
import type { Device } from '../../tensor/device';
import { scope, unscoped } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import type { Editor } from '../model';
import type { HostTensor } from '../parity/kinds';
import { HostCache } from './cache';

/** Which views are edited and which stand finished, by index among a sample's views. */
export interface Roles {
  targets: readonly number[];
  contexts: readonly number[];
}

/** What a group is conditioned on, for one rollout. The tensors belong to whoever asked for them. */
export interface Condition extends KontextCondition {
  roles: Roles;
  /** Tokens of one view, and of all targets. */
  grid: TokenGrid;
  targetTokens: number;
  size: { width: number; height: number };
}

/** What to edit: see TrainSample. `contexts` are finished pictures of the context views, in their order. */
export interface EditTask {
  instruction: string;
  before: readonly Image[];
  cells: readonly number[];
  roles: Roles;
  contexts: readonly Image[];
}

export class Policy {
  private constructor(
    readonly device: Device,
    readonly editor: Editor,
    readonly model: FluxTransformer,
    private readonly guidance: number,
    private readonly cache: HostCache,
    /** Recompute blocks in backward: for networks whose activations would not fit. */
    readonly checkpoints: boolean,
  ) {}

  private readonly ids = new Map<string, PositionIds>();

  static async open(editor: Editor, options: { guidance?: number; cacheFolder?: string }): Promise<Policy> {
    const model = await editor.transformer();
    const guidance = options.guidance ?? editor.settings.default_guidance;
    const large = editor.config.num_layers + editor.config.num_single_layers > 16;
    return new Policy(editor.device, editor, model, guidance, new HostCache(options.cacheFolder, `${editor.name} ${editor.dtype}`), large);
  }

  /** Channels of a token. */
  get channels(): number {
    return this.editor.config.in_channels;
  }

  sigmas(steps: number, condition: Condition): number[] {
    return this.editor.sigmas(steps, condition.targetTokens);
  }

  /** Conditions of one rollout. */
  async condition(task: EditTask): Promise<Condition> {
    const { before, cells, roles, contexts, instruction } = task;
    const { editor, device } = this;
    const [{ width, height }] = before;
    const text = await this.text(instruction);
    const order = [...roles.targets, ...roles.contexts];
    const grid = { rows: height / editor.tokenPx, columns: width / editor.tokenPx };
    const at = (view: number): number => cells[view];
    const upload = (tensor: HostTensor): Tensor => cast(device.tensor(tensor.data, tensor.shape), editor.dtype);
    const references = await this.encode(order.map((view) => before[view]));
    const finished = contexts.length > 0 ? await this.encode(contexts) : [];
    return unscoped(() =>
      scope(() => ({
        reference: concat([...references, ...finished].map(upload), 1),
        imageIds: this.idsOf(roles.targets.map(at), roles.contexts.map(at), grid),
        text: upload(text.hiddenStates),
        pooled: upload(text.pooled),
        guidance: this.guidance,
        roles,
        grid,
        targetTokens: roles.targets.length * grid.rows * grid.columns,
        size: { width, height },
      })),
    );
  }

  /** The velocities of a batch at one noise level. */
  velocity(x: Tensor, sigma: number, condition: Condition, run?: FluxRun): Tensor {
    return kontextVelocity(this.model, x, sigma, condition, run);
  }

  /** Pictures [B][targets] of packed latents [B, L, C], in [0, 1]. */
  async decode(latents: Tensor, { grid, size, roles }: Condition): Promise<Image[][]> {
    const [batch] = latents.shape;
    const count = roles.targets.length;
    const vae = this.editor.vae();
    const pictures: Image[][] = [];
    // One rollout at a time: the decoder's activations are the largest of all.
    for (let b = 0; b < batch; b++) {
      const tensor = scope(() => {
        const tokens = reshape(slice(latents, 0, b, 1), [count, grid.rows * grid.columns, latents.dim(2)]);
        const decoded = vae.decodeLatents(cast(unpackLatents(tokens, grid.rows, grid.columns), this.editor.dtype));
        return clamp(affine(cast(decoded, 'f32'), 0.5, 0.5), 0, 1);
      });
      const data = await take(tensor);
      const pixels = 3 * size.width * size.height;
      pictures.push(Array.from({ length: count }, (_, v) => ({ ...size, data: data.slice(v * pixels, (v + 1) * pixels) })));
    }
    return pictures;
  }

  /** Packed latents [1, tokens, C] of pictures, cached by their pixels. */
  private encode(pictures: readonly Image[]): Promise<HostTensor[]> {
    return Promise.all(
      pictures.map(({ width, height, data }) =>
        this.cache.get('latents', data, async () => {
          const tensor = scope(() => {
            const image = cast(affine(reshape(this.device.tensor(data), [1, 3, height, width]), 2, -1), this.editor.dtype);
            return cast(packLatents(this.editor.vae().encodeLatents(image)), 'f32');
          });
          const shape = [...tensor.shape];
          return { tensor: { shape, data: await take(tensor) } };
        }).then(({ tensor }) => tensor),
      ),
    );
  }

  /** The same object for the same cells: rotary tables are cached under it. */
  private idsOf(targets: readonly number[], contexts: readonly number[], grid: TokenGrid): PositionIds {
    const key = JSON.stringify([targets, contexts, grid]);
    const ids = this.ids.get(key) ?? contextViewIds(targets, contexts, grid);
    if (this.ids.size > 256) this.ids.clear();
    this.ids.set(key, ids);
    return ids;
  }

  private async text(instruction: string): Promise<{ hiddenStates: HostTensor; pooled: HostTensor }> {
    const found = await this.cache.get('text', instruction, async () => {
      const { hiddenStates, pooled } = this.editor.encodePrompt(instruction);
      const [a, b] = [[...hiddenStates.shape], [...pooled.shape]];
      return { hiddenStates: { shape: a, data: await take(hiddenStates) }, pooled: { shape: b, data: await take(pooled) } };
    });
    return { hiddenStates: found['hiddenStates'], pooled: found['pooled'] };
  }
}

/** The same condition for every rollout of a batch. */
export function repeated(condition: Condition, batch: number): Condition {
  return joined(new Array<Condition>(batch).fill(condition));
}

/** Conditions of one geometry in one batch; the originals stay their owner's. */
export function joined(conditions: readonly Condition[]): Condition {
  const all = (pick: (condition: Condition) => Tensor): Tensor =>
    unscoped(() => concat(conditions.map(pick), 0));
  return { ...conditions[0], reference: all((c) => c.reference), text: all((c) => c.text), pooled: all((c) => c.pooled) };
}

export function disposeCondition({ reference, text, pooled }: Condition): void {
  for (const tensor of [reference, text, pooled]) tensor.dispose();
}

async function take(tensor: Tensor): Promise<Float32Array> {
  try {
    return await tensor.toFloat32();
  } finally {
    tensor.dispose();
  }
}
