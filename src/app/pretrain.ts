/**
 * `rl3dedit pretrain`: makes the tiny networks with the project's own engine. Order: tokenizers, autoencoder, editor with its text
 * encoders, verifier; each needs the earlier ones in `out`. The folder is a model folder: `--model DIR` edits with it.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { ConfigError } from '../binding/errors';
import type { PretrainSettings } from '../config/pretrain';
import { AutoencoderKL } from '../models/vae/autoencoder';
import { Device } from '../tensor/device';
import { SafetensorsWeights } from '../tensor/safetensors';
import { Weights } from '../tensor/weights';
import type { AppContext, AppEvent } from './events';
import { parseVaeConfig } from './model/network-configs';
import { OutputFolder } from './output-folder';
import { joinPools, photoPool, proceduralPool } from './pretrain/data';
import type { PicturePool } from './pretrain/data';
import { encodeGroup, photoGroup, proceduralGroup } from './pretrain/edit-data';
import type { EditGroup } from './pretrain/edit-data';
import { editorRecipe, editorTask } from './pretrain/editor';
import { GroupWindow } from './pretrain/group-window';
import { blendWith, exportEditor, exportTokenizers, exportVae, exportVerifier, startFrom } from './pretrain/export';
import { tinyTokenizers } from './pretrain/instructions';
import { PhotoCrops } from './pretrain/photos';
import { train } from './pretrain/trainer';
import type { Recipe } from './pretrain/trainer';
import { verifierRecipe, verifierTask } from './pretrain/verifier';
import { latentStatistics, tinyVae, vaeRecipe, vaeTask } from './pretrain/vae';

/** Side of a view in pixels: a 3×3 grid then has 324 target and 324 reference tokens. */
const VIEW_SIZE = 96;
const DEFAULT_BATCH = { vae: 12, editor: 18 };
/** Crops kept in memory per photograph-based pool. */
const PHOTO_CROPS = 3000;
const VALIDATION = { pictures: 48, groups: 24 };
const EDITS_PER_GROUP = 4;
/** The verifier draws fresh scenes at every step; nothing of them is kept. */
const VERIFIER_SCENES = 1_000_000;

export interface PretrainResult {
  [key: string]: unknown;
  out: string;
  networks: string[];
  figures: Record<string, number>;
}

interface Workshop {
  settings: PretrainSettings;
  device: Device;
  folder: OutputFolder;
  signal: AbortSignal;
}

const networks = {
  tokenizer: trainTokenizers,
  vae: trainVae,
  editor: trainEditor,
  verifier: trainVerifier,
} as const;

export async function* pretrain(settings: PretrainSettings, { signal }: AppContext): AsyncGenerator<AppEvent, PretrainResult> {
  const wanted = settings.network === 'all' ? (Object.keys(networks) as (keyof typeof networks)[]) : [settings.network];
  const device = Device.open(settings.device);
  // Products of bf16-rounded factors with f32 sums: several times faster where the processor has tiles, and enough to train.
  device.matmulPrecision = 'bf16';
  try {
    const folder = await OutputFolder.open(settings.out, {
      command: 'pretrain',
      settings: { seed: settings.seed },
      overwrite: settings.overwrite,
      resume: true,
    });
    const workshop = { settings, device, folder, signal };
    const figures: Record<string, number> = {};
    for (const [index, name] of wanted.entries()) {
      yield { type: 'stage', name, index, count: wanted.length };
      Object.assign(figures, yield* networks[name](workshop));
      await folder.finishStage(name);
    }
    const result = { out: settings.out, networks: wanted, figures };
    yield { type: 'done', result };
    return result;
  } finally {
    device.trim();
    device.dispose();
  }
}

async function* trainTokenizers({ folder }: Workshop): AsyncGenerator<AppEvent, Record<string, number>> {
  const tokenizers = tinyTokenizers();
  await exportTokenizers(folder, tokenizers);
  yield { type: 'note', message: `${tokenizers.clip.vocabSize} CLIP tokens, ${tokenizers.t5.vocabSize} T5 tokens` };
  return {};
}

async function* trainVae({ settings, device, folder, signal }: Workshop): AsyncGenerator<AppEvent, Record<string, number>> {
  const size = settings.resolution ?? VIEW_SIZE;
  if (size % 16 !== 0) throw new ConfigError(`resolution ${size}: the autoencoder and its tokens need a multiple of 16`);
  yield { type: 'note', message: 'collecting pictures' };
  const pools: PicturePool[] = [proceduralPool('train', settings.photos ? PHOTO_CROPS / 3 : PHOTO_CROPS, size)];
  let validation = proceduralPool('val', VALIDATION.pictures, size);
  if (settings.photos) {
    pools.push(await photoPool(settings.photos, settings.seed, PHOTO_CROPS, size, signal));
    validation = await photoPool(settings.photos, settings.seed + 1, VALIDATION.pictures, size, signal);
  }
  const recipe = adjusted(vaeRecipe, settings);
  const batch = settings.batch ?? DEFAULT_BATCH.vae;
  const task = vaeTask({ device, seed: settings.seed, batch, recipe, train: joinPools(pools), validation });
  const figures = yield* train(task, { ...settings, device, folder: folder.workPath('vae'), signal });
  const { mean, std } = await latentStatistics(task.model, device, validation);
  await exportVae(folder, { ...tinyVae, scaling_factor: 1 / std, shift_factor: mean }, task.parameters);
  for (const parameter of task.parameters.values()) parameter.dispose();
  return { vaePsnr: figures.psnr };
}

async function* trainEditor({ settings, device, folder, signal }: Workshop): AsyncGenerator<AppEvent, Record<string, number>> {
  const size = settings.resolution ?? VIEW_SIZE;
  const vae = await loadVae(device, folder);
  const photos = settings.photos ? await PhotoCrops.load(settings.photos, signal) : undefined;
  const group = async (i: number): Promise<EditGroup> => {
    signal.throwIfAborted();
    const pictures =
      photos && i % 4 === 3
        ? await photoGroup(photos, settings.seed, i, size, EDITS_PER_GROUP)
        : proceduralGroup('train', i, size, EDITS_PER_GROUP);
    return encodeGroup(vae, device, pictures, size);
  };
  const groups = new GroupWindow(group, settings.scenes, settings.freshScenes);
  const validation: EditGroup[] = [];
  for (let i = 0; i < VALIDATION.groups; i++) {
    validation.push(await encodeGroup(vae, device, proceduralGroup('val', i, size, EDITS_PER_GROUP), size));
  }
  const latent = [tinyVae.latent_channels, size / 8, size / 8] as const;
  const tokenizers = tinyTokenizers();
  const recipe = adjusted(editorRecipe, settings);
  const viewsPerStep = settings.batch ?? DEFAULT_BATCH.editor;
  const task = editorTask({ device, seed: settings.seed, recipe, tokenizers, groups, validation, latent, viewsPerStep });
  if (settings.init) startFrom(device, settings.init, task.model);
  let figures = yield* train(task, { ...settings, device, folder: folder.workPath('editor'), signal });
  if (settings.init && settings.initShare > 0) {
    blendWith(device, settings.init, task.model, settings.initShare);
    figures = await task.evaluate(0);
  }
  await exportEditor(folder, task.model, tokenizers, size);
  for (const parameter of task.parameters.values()) parameter.dispose();
  for (const parameter of vae.weights.parameters.values()) parameter.dispose();
  return { editorValidationLoss: figures.validationLoss, editorAnchoredLoss: figures.anchoredLoss };
}

async function* trainVerifier({ settings, device, folder, signal }: Workshop): AsyncGenerator<AppEvent, Record<string, number>> {
  const recipe = adjusted(verifierRecipe, settings);
  const task = verifierTask({ device, seed: settings.seed, recipe, scenes: VERIFIER_SCENES, batch: settings.batch });
  const figures = yield* train(task, { ...settings, device, folder: folder.workPath('verifier'), signal });
  await exportVerifier(folder, task.model);
  task.model.dispose();
  return Object.fromEntries(Object.entries(figures).map(([name, value]) => [`verifier.${name}`, value]));
}

async function loadVae(device: Device, folder: OutputFolder): Promise<AutoencoderKL> {
  const where = folder.path('vae/config.json');
  if (!existsSync(where)) throw new ConfigError(`${where}: the editor works on the autoencoder's latents; run \`rl3dedit pretrain --network vae\` first`);
  const config = parseVaeConfig(JSON.parse(await readFile(where, 'utf8')), where);
  return new AutoencoderKL(new Weights(new SafetensorsWeights(device, folder.path('vae'))), config);
}

function adjusted(recipe: Recipe, { steps, learningRate }: PretrainSettings): Recipe {
  return { ...recipe, steps: steps ?? recipe.steps, learningRate: learningRate ?? recipe.learningRate };
}
