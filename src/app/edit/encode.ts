/** Stage `encode`: instruction and unedited views become what the transformer is conditioned on. */
import { packLatents } from '../../models/flux';
import type { AutoencoderKL } from '../../models/vae/autoencoder';
import { downscale } from '../../models/vae/config';
import { tiled } from '../../models/vae/tiling';
import { composeGrid, gridPrompt } from '../../scene';
import type { Image } from '../../scene';
import { affine, cast, reshape } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import type { Device } from '../../tensor/device';
import type { Tensor } from '../../tensor/tensor';
import type { AppEvent } from '../events';
import type { Editor } from '../model';
import type { HostTensor } from '../parity/kinds';
import { encodeTensors } from './host-tensors';
import { beforeOf, choiceOf, saveWork } from './run';
import type { EditRun, EditStage } from './run';

export const encodeStage: EditStage = { name: 'encode', run: encode };

/** Side in pixels from which a picture goes through the autoencoder in tiles, and the tile's. */
const tileAbove = 1024;

async function* encode(run: EditRun): AsyncGenerator<AppEvent, void> {
  const { editor } = run;
  const { plan, cells } = await choiceOf(run);
  const before = await beforeOf(run);
  const pictures =
    editor.settings.vae_input === 'grid'
      ? [
          composeGrid(
            cells.map((view) => before[view]),
            plan,
          ),
        ]
      : before;
  const steps = 1 + pictures.length;
  yield { type: 'step', stage: 'encode', step: 0, steps };

  // The text encoders come first and are freed: they are the largest networks but one.
  const sentence =
    editor.settings.prompt_template === 'grid' ? gridPrompt(run.prompt, plan.rows, plan.cols) : run.prompt;
  const { hiddenStates, pooled } = editor.encodePrompt(sentence);
  const text = await takeHost(hiddenStates, pooled);
  yield { type: 'step', stage: 'encode', step: 1, steps };

  const vae = editor.vae();
  const parts: HostTensor[] = [];
  for (const picture of pictures) {
    const [tokens] = await takeHost(scope(() => encodePicture(run, vae, picture)));
    parts.push(tokens);
    yield { type: 'step', stage: 'encode', step: 1 + parts.length, steps };
  }
  const perCell = editor.settings.vae_input === 'grid' ? parts : cells.map((view) => parts[view]);
  const condition = { reference: joined(perCell), text: text[0], pooled: text[1] };
  run.condition = condition;
  await saveWork(run, 'condition.safetensors', encodeTensors(condition));
}

/** What pictures need on their way through the autoencoder. */
export interface VaeRun {
  readonly device: Device;
  readonly editor: Editor;
  readonly settings: { readonly vaeTile?: number };
}

/** Image -> packed latents [1, L, C] f32. */
export function encodePicture(
  { device, editor, settings }: VaeRun,
  vae: AutoencoderKL,
  { data, width, height }: Image,
): Tensor {
  const image = cast(affine(reshape(device.tensor(data), [1, 3, height, width]), 2, -1), editor.dtype);
  const ratio = 1 / downscale(vae.config);
  const latents = tiled(image, { tile: tileSize(settings.vaeTile, width, height), ratio }, (tile) =>
    vae.encodeLatents(tile),
  );
  return cast(packLatents(latents), 'f32');
}

/** Tile in pixels for a picture of that size; 0 asks for the whole picture at once. */
export function tileSize(asked: number | undefined, width: number, height: number): number {
  const whole = Math.max(width, height);
  if (asked === undefined) return whole > tileAbove ? tileAbove : whole;
  // Below 64 pixels the overlap of two tiles is less than one latent.
  return asked === 0 ? whole : Math.max(64, asked - (asked % 32));
}

/** Reads tensors to the host as f32 and frees them, also when a read fails. */
export async function takeHost(...tensors: Tensor[]): Promise<HostTensor[]> {
  try {
    return await Promise.all(
      tensors.map(async (tensor) => ({ shape: [...tensor.shape], data: await tensor.toFloat32() })),
    );
  } finally {
    for (const tensor of tensors) tensor.dispose();
  }
}

/** Tokens of all views in one sequence. */
export function joined(parts: readonly HostTensor[]): HostTensor {
  const [{ shape }] = parts;
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.data.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part.data, at);
    at += part.data.length;
  }
  return { shape: [1, shape[1] * parts.length, shape[2]], data };
}
