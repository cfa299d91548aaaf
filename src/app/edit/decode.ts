/** Stage `decode`: latents back to pictures, the grid cut into views. */
import { unpackLatents } from '../../models/flux';
import { downscale } from '../../models/vae/config';
import { tiled } from '../../models/vae/tiling';
import { composeGrid, encodePng } from '../../scene';
import type { Image } from '../../scene';
import { affine, cast, clamp } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { ConfigError } from '../../binding/errors';
import type { AppEvent } from '../events';
import type { HostTensor } from '../parity/kinds';
import { cellTokens } from './denoise';
import { takeHost, tileSize } from './encode';
import type { VaeRun } from './encode';
import { cellsOf, choiceOf, progressOf, quantized, viewFile } from './run';
import type { EditRun, EditStage } from './run';

export const decodeStage: EditStage = { name: 'decode', run: decode };

async function* decode(run: EditRun): AsyncGenerator<AppEvent, void> {
  const { editor } = run;
  const { plan, cells, views } = await choiceOf(run);
  const progress = await progressOf(run);
  if (!progress) throw new ConfigError('decode: there are no latents to decode; the edit stage has not run');
  const { latents } = progress;
  const wholeGrid = editor.settings.vae_input === 'grid';
  const parts = wholeGrid ? [latents] : split(latents, plan.rows * plan.cols);
  const { rows, columns } = wholeGrid
    ? { rows: plan.height / editor.tokenPx, columns: plan.width / editor.tokenPx }
    : cellTokens(plan, editor.tokenPx);
  const decoded: Image[] = [];
  for (const part of parts) {
    yield { type: 'step', stage: 'decode', step: decoded.length, steps: parts.length };
    decoded.push(await decodePicture(run, part, rows, columns));
  }
  yield { type: 'step', stage: 'decode', step: decoded.length, steps: parts.length };
  editor.release('autoencoder');

  const [grid, pictures] = wholeGrid ? [decoded[0], cellsOf(decoded[0], plan)] : [composeGrid(decoded, plan), decoded];
  const folder = await run.folder();
  // A view that several cells show is taken from the first of them.
  run.after = views.map((_, view) => pictures[cells.indexOf(view)]);
  for (const [view, image] of run.after.entries()) {
    const path = await folder.write(viewFile('after', view), await encodePng(image));
    yield { type: 'image', name: `after ${views[view].name}`, path };
  }
  yield { type: 'image', name: 'grid', path: await folder.write('grid.png', await encodePng(grid)) };
}

/** Packed latents [1, L, C] -> picture in 8-bit steps. */
export async function decodePicture(
  { device, editor, settings }: VaeRun,
  { data, shape }: HostTensor,
  rows: number,
  columns: number,
): Promise<Image> {
  const vae = editor.vae();
  const ratio = downscale(vae.config);
  const [width, height] = [columns * editor.tokenPx, rows * editor.tokenPx];
  const picture = scope((): Tensor => {
    const latents = cast(unpackLatents(device.tensor(data, shape), rows, columns), editor.dtype);
    const image = tiled(latents, { tile: tileSize(settings.vaeTile, width, height) / ratio, ratio }, (tile) =>
      vae.decodeLatents(tile),
    );
    return clamp(affine(cast(image, 'f32'), 0.5, 0.5), 0, 1);
  });
  const [{ data: pixels }] = await takeHost(picture);
  return quantized({ width, height, data: pixels as Float32Array });
}

/** The tokens of each of `count` views. */
export function split({ data, shape }: HostTensor, count: number): HostTensor[] {
  const length = shape[1] / count;
  const size = length * shape[2];
  return Array.from({ length: count }, (_, v) => ({
    shape: [1, length, shape[2]],
    data: data.slice(v * size, (v + 1) * size),
  }));
}
