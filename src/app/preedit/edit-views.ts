/** The single-view edits themselves: instruction by instruction, view by view. */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs/promises';
import { performance } from 'node:perf_hooks';
import { OutputError } from '../../binding/errors';
import type { PreeditSettings } from '../../config/preedit';
import { sample } from '../../flow';
import { kontextIds, kontextVelocity } from '../../models/flux';
import { encodePng, loadView } from '../../scene';
import type { GridPlan, Image, Scene } from '../../scene';
import type { Device } from '../../tensor/device';
import { cast, randn } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { decodePicture } from '../edit/decode';
import { encodePicture, takeHost } from '../edit/encode';
import { quantized } from '../edit/run';
import type { AppEvent } from '../events';
import type { Editor } from '../model';
import type { OutputFolder } from '../output-folder';
import type { HostTensor } from '../parity/kinds';
import { flawsOf, isFinitePicture, measureQuality } from './quality';
import type { Quality } from './quality';
import type { PreeditEntry } from './read';

export interface ViewEdits {
  readonly settings: PreeditSettings;
  readonly instructions: readonly string[];
  readonly scene: Scene;
  /** Views to edit, by their index in the scene. */
  readonly indices: readonly number[];
  /** One cell: the size of an edit. */
  readonly plan: GridPlan;
  readonly device: Device;
  readonly editor: Editor;
  readonly signal: AbortSignal;
  /** Called when there is something to write. */
  openFolder(): Promise<OutputFolder>;
}

export interface EditedViews {
  entries: PreeditEntry[];
  folder: OutputFolder;
  /** Of the earlier runs of a resumed folder. */
  seconds: number;
}

/** Work file: what is finished. */
interface Finished {
  entries: PreeditEntry[];
  seconds: number;
}

const finishedFile = 'edits.json';
/** Philox stream of the initial noise. */
const noiseStream = 1;

/**
 * Makes what is not finished yet. The networks of the images stay resident together: beside the transformer the
 * autoencoder is small, and every picture is finished before the next is begun.
 */
export async function* editViews(run: ViewEdits): AsyncGenerator<AppEvent, EditedViews> {
  const { settings, instructions, scene, indices, editor, signal, plan } = run;
  const begun = performance.now();
  const texts: HostTensor[][] = [];
  for (const instruction of instructions) {
    const { hiddenStates, pooled } = editor.encodePrompt(instruction);
    texts.push(await takeHost(hiddenStates, pooled));
  }
  // The first view is read before the folder is touched: bad pictures are mostly all bad.
  const views = new Map<number, Image>();
  const viewAt = async (view: number): Promise<Image> => {
    const { width, height } = plan;
    const known = views.get(view);
    if (known) return known;
    views.clear();
    const { image } = await loadView(scene.views[indices[view]], { width, height, signal });
    views.set(view, quantized(image));
    return views.get(view)!;
  };
  await viewAt(0);
  const model = await editor.transformer();
  const folder = await run.openFolder();
  const earlier = await readFinished(folder);
  const entries = [...earlier.entries];
  const steps = instructions.length * indices.length;
  yield { type: 'step', stage: 'edit', step: entries.length, steps };
  while (entries.length < steps) {
    const view = entries.length % indices.length;
    const prompt = Math.floor(entries.length / indices.length);
    const { name } = scene.views[indices[view]];
    const before = await viewAt(view);
    const seed = seedOf(settings.seed, instructions[prompt], name);
    const latents = await editLatents(run, model, before, texts[prompt], seed);
    const entry = await finish(run, folder, { prompt, view, before, latents, seed });
    entries.push(entry);
    const seconds = earlier.seconds + (performance.now() - begun) / 1000;
    await folder.write(`.rl3dedit/${finishedFile}`, JSON.stringify({ entries, seconds } satisfies Finished));
    if (entry.file !== null) yield { type: 'image', name: `${name}: ${instructions[prompt]}`, path: folder.path(entry.file) };
    if (!entry.usable) yield { type: 'warning', message: `${name}, "${instructions[prompt]}": ${entry.flaws.join(', ')}` };
    if (entry.strength !== null) yield { type: 'metric', name: 'strength', value: entry.strength, view };
    const perEdit = (performance.now() - begun) / 1000 / (entries.length - earlier.entries.length);
    yield { type: 'step', stage: 'edit', step: entries.length, steps, etaSec: (steps - entries.length) * perEdit };
  }
  editor.release('transformer');
  editor.release('autoencoder');
  return { entries, folder, seconds: earlier.seconds };
}

/** Denoises one view alone: Kontext as it was trained. Returns packed latents [1, L, C]. */
async function editLatents(
  { device, editor, settings, plan, signal }: ViewEdits,
  model: Awaited<ReturnType<Editor['transformer']>>,
  before: Image,
  [text, pooled]: readonly HostTensor[],
  seed: number,
): Promise<HostTensor> {
  const owned: Tensor[] = [];
  const own = (build: () => Tensor): Tensor => {
    const tensor = scope(build);
    owned.push(tensor);
    return tensor;
  };
  const upload = ({ data, shape }: HostTensor): Tensor => own(() => cast(device.tensor(data, shape), editor.dtype));
  try {
    const reference = own(() => cast(encodePicture({ device, editor, settings }, editor.vae(), before), editor.dtype));
    const grid = { rows: plan.height / editor.tokenPx, columns: plan.width / editor.tokenPx };
    const condition = {
      reference,
      imageIds: kontextIds(grid, grid),
      text: upload(text),
      pooled: upload(pooled),
      guidance: settings.guidance ?? editor.settings.default_guidance,
    };
    const start = own(() => {
      const noise = device.empty(reference.shape, 'f32');
      randn(noise, { seed, stream: noiseStream });
      return noise;
    });
    const sigmas = editor.sigmas(settings.steps ?? editor.settings.default_steps, reference.shape[1]);
    const final = await sample(start, (x, sigma) => kontextVelocity(model, x, sigma, condition), { sigmas, signal });
    const [latents] = await takeHost(final);
    return latents;
  } finally {
    for (const tensor of owned) tensor.dispose();
  }
}

/** Decodes, measures and writes one edit. */
async function finish(
  { device, editor, settings, plan }: ViewEdits,
  folder: OutputFolder,
  { prompt, view, before, latents, seed }: { prompt: number; view: number; before: Image; latents: HostTensor; seed: number },
): Promise<PreeditEntry> {
  const nothing: Quality = { strength: NaN, sharpness: NaN, contrast: NaN };
  let after: Image | undefined;
  if ((latents.data as Float32Array).every(Number.isFinite)) {
    const [rows, columns] = [plan.height / editor.tokenPx, plan.width / editor.tokenPx];
    after = await decodePicture({ device, editor, settings }, latents, rows, columns);
    if (!isFinitePicture(after)) after = undefined;
  }
  const quality = after ? measureQuality(before, after) : nothing;
  const found = flawsOf(quality, settings);
  const name = (i: number): string => String(i).padStart(3, '0');
  const file = `edits/${name(prompt)}/${name(view)}.png`;
  if (after) await folder.write(file, await encodePng(after));
  const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);
  return {
    prompt,
    view,
    file: after ? file : null,
    seed,
    strength: finite(quality.strength),
    sharpness: finite(quality.sharpness),
    contrast: finite(quality.contrast),
    flaws: found,
    usable: found.length === 0,
  };
}

async function readFinished(folder: OutputFolder): Promise<Finished> {
  const file = folder.workPath(finishedFile);
  const text = await fs.readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) return { entries: [], seconds: 0 };
  try {
    return JSON.parse(text) as Finished;
  } catch (error) {
    throw new OutputError(`${file}: damaged (${(error as Error).message}); start again with --overwrite`, { cause: error });
  }
}

/** 48 bits of a hash: the edit of a view does not depend on which others are made. */
export function seedOf(seed: number, instruction: string, view: string): number {
  return createHash('sha256').update(JSON.stringify([seed, instruction, view])).digest().readUIntBE(0, 6);
}
