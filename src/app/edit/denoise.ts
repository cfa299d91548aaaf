/**
 * Stage `edit`: all views are denoised in one sequence, conditioned on their unedited latents and the instruction.
 */
import { sample } from '../../flow';
import { kontextIds, kontextVelocity, multiViewIds } from '../../models/flux';
import type { PositionIds } from '../../models/flux';
import type { GridPlan } from '../../scene';
import { cast, concat, randn, reshape } from '../../tensor/ops';
import { scope, unscoped } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { withEvents } from '../event-queue';
import type { AppEvent } from '../events';
import type { HostTensor } from '../parity/kinds';
import { encodeTensors } from './host-tensors';
import { choiceOf, conditionOf, progressOf, saveWork } from './run';
import type { EditRun, EditStage } from './run';

export const denoiseStage: EditStage = { name: 'edit', run: denoise };

/** Philox stream of the initial noise. */
export const noiseStream = 1;
/** Seconds between saved states of the denoising. */
export const saveEverySec = 15;

async function* denoise(run: EditRun): AsyncGenerator<AppEvent, void> {
  const { editor, settings } = run;
  const { plan } = await choiceOf(run);
  const condition = await conditionOf(run);
  const steps = settings.steps ?? editor.settings.default_steps;
  const sigmas = editor.sigmas(steps, condition.reference.shape[1]);
  const saved = await progressOf(run);
  const firstStep = saved?.step ?? 0;
  yield { type: 'step', stage: 'edit', step: firstStep, steps };
  const model = await editor.transformer();
  const owned: Tensor[] = [];
  const upload = ({ data, shape }: HostTensor): Tensor => {
    const tensor = scope(() => cast(run.device.tensor(data, shape), editor.dtype));
    owned.push(tensor);
    return tensor;
  };
  try {
    const fixed = {
      reference: upload(condition.reference),
      text: upload(condition.text),
      pooled: upload(condition.pooled),
      imageIds: tokenIds(plan, editor.settings, editor.tokenPx),
      guidance: settings.guidance ?? editor.settings.default_guidance,
    };
    const start = saved
      ? run.device.tensor(saved.latents.data, saved.latents.shape)
      : initialNoise(run, plan, condition.reference.shape);
    owned.push(start);
    yield* withEvents(run.signal, async (emit, signal) => {
      const begun = performance.now();
      let lastSave = begun;
      const onStep = async ({ step, next }: { step: number; next: Tensor }): Promise<void> => {
        const done = step + 1;
        // To the host after every step: an abort drops what is on the device's queue.
        run.progress = { step: done, latents: { shape: [...next.shape], data: await next.toFloat32() } };
        const perStepMs = (performance.now() - begun) / (done - firstStep);
        emit({ type: 'step', stage: 'edit', step: done, steps, etaSec: ((steps - done) * perStepMs) / 1000 });
        if (performance.now() - lastSave < 1000 * saveEverySec) return;
        lastSave = performance.now();
        await saveProgress(run);
      };
      const velocity = (x: Tensor, sigma: number): Tensor => kontextVelocity(model, x, sigma, fixed);
      const final = await sample(start, velocity, { sigmas, signal, onStep, firstStep });
      if (final !== start) final.dispose();
    });
    await saveProgress(run);
  } catch (error) {
    await saveProgress(run);
    throw error;
  } finally {
    for (const tensor of owned) tensor.dispose();
    editor.release('transformer');
  }
}

async function saveProgress(run: EditRun): Promise<void> {
  if (!run.progress) return;
  const { step, latents } = run.progress;
  await saveWork(
    run,
    'latents.safetensors',
    encodeTensors({ latents, step: { shape: [1], data: Float32Array.of(step) } }),
  );
}

/** Tokens of one cell: rows × columns. */
export function cellTokens({ cellWidth, cellHeight }: GridPlan, tokenPx: number): { rows: number; columns: number } {
  return { rows: cellHeight / tokenPx, columns: cellWidth / tokenPx };
}

/**
 * Positions of targets, then references: those of one mosaic (in the order of its tokens or cell by cell), or per
 * view.
 */
function tokenIds(
  plan: GridPlan,
  { vae_input: input, view_layout: layout }: EditRun['editor']['settings'],
  tokenPx: number,
): PositionIds {
  const cell = cellTokens(plan, tokenPx);
  if (input === 'grid') {
    const mosaic = { rows: plan.height / tokenPx, columns: plan.width / tokenPx };
    return kontextIds(mosaic, mosaic);
  }
  return multiViewIds(
    plan.rows * plan.cols,
    cell,
    layout === 'grid' ? { kind: 'grid', columns: plan.cols } : { kind: 'index' },
  );
}

/** N(0, 1) latents [1, L, C], f32. `shared`: the same numbers at the same place of every view. */
function initialNoise({ device, settings, editor }: EditRun, plan: GridPlan, shape: readonly number[]): Tensor {
  const draw = (size: readonly number[]): Tensor => {
    const noise = device.empty(size, 'f32');
    randn(noise, { seed: settings.seed, stream: noiseStream });
    return noise;
  };
  return unscoped(() =>
    scope(() => {
      if (settings.noise === 'independent') return draw(shape);
      const { rows, columns } = cellTokens(plan, editor.tokenPx);
      const channels = shape[2];
      if (editor.settings.vae_input === 'view') {
        const one = draw([1, rows * columns, channels]);
        return concat(new Array<Tensor>(plan.rows * plan.cols).fill(one), 1);
      }
      // The mosaic's tokens run along its rows: repeat a row of the cell for every column of cells, then all rows.
      const one = draw([1, rows, columns * channels]);
      const band = concat(new Array<Tensor>(plan.cols).fill(one), 2);
      return reshape(concat(new Array<Tensor>(plan.rows).fill(band), 1), shape);
    }),
  );
}
