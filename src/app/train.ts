/**
 * `rl3dedit train`: GRPO on the editor with a 3D verifier as the judge (RL3DEdit, arXiv 2603.03143, on Flow-GRPO). Settings, the
 * order of work and every default are in config/train.ts; one update is app/train/run.ts.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { AbortError } from '../binding/errors';
import type { TrainSettings } from '../config/train';
import { appendMetrics, readMetrics, truncateMetrics } from '../report/metrics-file';
import { writeTrainReport } from '../report/train-report';
import type { MeasureSummary } from '../scene/procedural';
import { Device } from '../tensor/device';
import { writeSafetensors } from '../tensor/safetensors';
import type { AppContext, AppEvent } from './events';
import { loadEditor } from './model';
import type { Editor } from './model';
import { OutputFolder } from './output-folder';
import { restoreCheckpoint, saveCheckpoint, withAverages, writeLora } from './train/checkpoint';
import type { RunState } from './train/checkpoint';
import { evaluatePolicy } from './train/evaluate';
import type { EvaluatedTask } from './train/evaluate';
import { guard } from './train/health';
import { encodeMosaic } from './mosaic';
import { planMemory, planText } from './train/plan';
import { runUpdate } from './train/run';
import type { JudgedGroup, Run } from './train/run';
import { openWorkshop } from './train/workshop';
import type { Workshop } from './train/workshop';
import type { World } from './train/world';

export interface TrainResult {
  [key: string]: unknown;
  out: string;
  summary: string[];
  updates: number;
  /** Why the run ended before its last update. */
  stopped?: string;
  lora: string;
  evaluation?: Figures;
  baseline?: Figures;
}

export type Figures = Record<string, number>;

export interface TrainOptions {
  resume?: boolean;
  /** Use this device, left open, instead of opening one. */
  device?: Device;
}

/** Settings that may differ when a run is taken up again: they do not change what an update computes. */
const free = ['out', 'overwrite', 'threads', 'device', 'updates', 'keep', 'checkpointEvery', 'sampleEvery', 'merged', 'plan'] as const;

/**
 * @throws ConfigError, WeightsError, OutputError before anything is written; AbortError after a checkpoint was saved
 */
export async function* train(
  settings: TrainSettings,
  { signal }: AppContext,
  options: TrainOptions = {},
): AsyncGenerator<AppEvent, TrainResult> {
  const { out } = settings;
  if (settings.plan) return yield* planned(settings);
  const folderOptions = {
    command: 'train',
    settings: Object.fromEntries(Object.entries(settings).filter(([key]) => !(free as readonly string[]).includes(key))),
    // The run file of a run that was begun with --overwrite says so still.
    overwrite: settings.overwrite && !options.resume,
    resume: options.resume,
  };
  await OutputFolder.check(out, folderOptions);
  const device = options.device ?? Device.open(settings.device);
  device.matmulPrecision = settings.matmul;
  let editor: Editor | undefined;
  let workshop: Workshop | undefined;
  try {
    editor = await loadEditor(settings.model, device, { dtype: settings.dtype, verifier: settings.verifier, seed: settings.seed, signal });
    workshop = await openWorkshop(settings, device, editor, signal);
    yield { type: 'note', message: `${workshop.run.source.description}; ${workshop.parameters} adapter parameters` };
    const folder = await OutputFolder.open(out, folderOptions);
    await folder.write('run.yaml', stringify(settings));
    const result = yield* updates(workshop, folder, options.resume ?? false);
    yield { type: 'done', result };
    return result;
  } catch (error) {
    if (signal.aborted && !(error instanceof AbortError)) throw new AbortError('aborted', { cause: error });
    throw error;
  } finally {
    await workshop?.dispose();
    editor?.dispose();
    if (!options.device) device.dispose();
  }
}

/** What the run would hold in memory; nothing is loaded and nothing written. */
async function* planned(settings: TrainSettings): AsyncGenerator<AppEvent, TrainResult> {
  using device = Device.open('null');
  const plan = await planMemory(settings, device);
  const result: TrainResult = { out: settings.out, updates: 0, lora: '', plan, summary: planText(plan) };
  yield { type: 'done', result };
  return result;
}

async function* updates({ run, world }: Workshop, folder: OutputFolder, resume: boolean): AsyncGenerator<AppEvent, TrainResult> {
  const { settings, trained, signal } = run;
  const { out } = settings;
  // What --overwrite begins anew must not be mixed with, nor taken up from, what the run before saved.
  if (!resume) await rm(join(out, 'checkpoints'), { recursive: true, force: true });
  const restored = resume ? await restoreCheckpoint(out, trained) : undefined;
  const state: RunState = restored ?? { update: 0, elapsedSec: 0, optimizerUpdates: 0, guards: { strikes: {} } };
  await truncateMetrics(out, restored ? state.update : -1);
  const begun = performance.now() - 1000 * state.elapsedSec;
  const { evaluations } = await readMetrics(out);
  const figures: { baseline?: Figures; last?: Figures } = {
    baseline: evaluations.find(({ update }) => update === 0)?.evaluation,
    last: evaluations.at(-1)?.evaluation,
  };
  let stopped: string | undefined;
  let numbers = true;
  let saved = restored?.update;
  const save = async (): Promise<void> => {
    if (saved === state.update) return;
    state.elapsedSec = (performance.now() - begun) / 1000;
    state.optimizerUpdates = trained.optimizer.updates;
    await saveCheckpoint(out, trained, state, settings.keep);
    saved = state.update;
  };
  const evaluateNow = async function* (): AsyncGenerator<AppEvent, void> {
    if (!world) return;
    const measured = await withAverages(trained, () => evaluation(run, world, folder, state.update));
    figures.last = measured;
    if (state.update === 0) figures.baseline = measured;
    await appendMetrics(out, { update: state.update, evaluation: measured, baseline: figures.baseline });
    for (const [name, value] of Object.entries(measured)) yield { type: 'metric', name: `train.evaluation.${name}`, value };
  };
  const due = (every: number): boolean => every > 0 && (state.update % every === 0 || state.update === settings.updates);
  try {
    // Also that of a resumed run's last update, where it was interrupted.
    if (due(settings.evaluateEvery) && !evaluations.some(({ update }) => update === state.update)) yield* evaluateNow();
    while (state.update < settings.updates && stopped === undefined) {
      if (signal.aborted) throw new AbortError();
      const since = performance.now();
      let first: JudgedGroup['pictures'] | undefined;
      let before: JudgedGroup['sample']['before'] | undefined;
      const done = await runUpdate(run, state.update, ({ pictures, sample }, g) => {
        if (g > 0) return;
        first = pictures.slice(0, 4);
        before = sample.before;
      });
      state.update += 1;
      if (state.update % settings.ema.every === 0) trained.ema.update(state.update / settings.ema.every);
      // An abort of the next rollout drops what is queued.
      await trained.device.sync();
      const seconds = (performance.now() - since) / 1000;
      const { editStrength, sharpness, diversity, loss, gradientNorm } = done;
      numbers = Number.isFinite(loss) && Number.isFinite(gradientNorm);
      stopped = guard(state.guards, { editStrength, sharpness, diversity, loss, gradientNorm }, settings.guards);
      await appendMetrics(out, { update: state.update, seconds, ...done });
      yield* shown(done);
      const etaSec = ((performance.now() - begun) / 1000 / state.update) * (settings.updates - state.update);
      yield { type: 'step', stage: 'train', step: state.update, steps: settings.updates, etaSec };
      if (due(settings.sampleEvery) && first && before) {
        const name = `samples/${String(state.update).padStart(6, '0')}.png`;
        const path = await folder.write(name, await encodeMosaic([before, ...first]));
        yield { type: 'image', name: `rollouts of update ${state.update}`, path };
      }
      if (due(settings.evaluateEvery)) yield* evaluateNow();
      if (due(settings.checkpointEvery)) await save();
    }
    if (stopped !== undefined) {
      // What it came to; a policy without numbers has no pictures to measure.
      if (settings.evaluateEvery > 0 && numbers && !due(settings.evaluateEvery)) yield* evaluateNow();
      await appendMetrics(out, { update: state.update, stopped });
      yield { type: 'warning', message: `stopped after update ${state.update}: ${stopped}` };
    }
    await save();
  } catch (error) {
    // What an abort interrupts is an update: the adapter still is what the last one left.
    if (signal.aborted && state.update > 0) await save();
    throw error;
  }
  const lora = folder.path('lora.safetensors');
  await withAverages(trained, async () => {
    await writeLora(lora, trained.lora);
    if (settings.merged) await writeMerged(folder, run);
  });
  await writeTrainReport(out);
  if (stopped === undefined) await folder.finish();
  return {
    out,
    updates: state.update,
    stopped,
    lora,
    evaluation: figures.last,
    baseline: figures.baseline,
    summary: [
      `${state.update} updates in ${((performance.now() - begun) / 60000).toFixed(1)} min; LoRA: ${lora}; report: ${folder.path('report.html')}`,
      ...(stopped === undefined ? [] : [`stopped: ${stopped}`]),
    ],
  };
}

/** The whole transformer with the averaged adapter in it, under the names it was loaded by. */
async function writeMerged(folder: OutputFolder, { policy, trained }: Run): Promise<void> {
  const merged = trained.lora.merged();
  try {
    await mkdir(folder.path('transformer'), { recursive: true });
    const tensors = new Map([...policy.model.weights.parameters, ...merged]);
    await writeSafetensors(folder.path('transformer', 'diffusion_pytorch_model.safetensors'), tensors, { metadata: { format: 'pt' } });
  } finally {
    for (const tensor of merged.values()) tensor.dispose();
  }
}

function* shown(done: Awaited<ReturnType<typeof runUpdate>>): Generator<AppEvent> {
  for (const [name, { mean, std }] of Object.entries(done.rewards)) {
    yield { type: 'metric', name: `train.reward.${name}`, value: mean };
    yield { type: 'metric', name: `train.rewardStd.${name}`, value: std };
  }
  const { ratio, clipFraction, kl, loss, gradientNorm, zeroVarianceShare, sharpness, editStrength, diversity } = done;
  const named = {
    'ratio.mean': ratio.mean, 'ratio.min': ratio.min, 'ratio.max': ratio.max, 'clip.high': clipFraction.high, 'clip.low': clipFraction.low,
    kl, loss, gradientNorm, zeroVarianceShare, sharpness, editStrength, diversity,
  };
  for (const [name, value] of Object.entries(named)) yield { type: 'metric', name: `train.${name}`, value };
}

/** True figures on held-out scenes, and a grid of the first of them. */
async function evaluation({ settings, policy, signal }: Run, world: World, folder: OutputFolder, update: number): Promise<Figures> {
  let shownTask: EvaluatedTask | undefined;
  const summary = await evaluatePolicy(
    policy,
    world,
    {
      samples: settings.evaluationSamples,
      steps: settings.steps,
      anchorGuided: settings.anchorGuided,
      noise: settings.noise,
      seed: settings.seed + evaluationSeed,
    },
    signal,
    (evaluated, index) => {
      if (index === 0) shownTask = evaluated;
    },
  );
  if (shownTask) {
    const rows = [shownTask.task.before, ...shownTask.runs.map(({ pictures }) => pictures)];
    await folder.write(`samples/evaluation-${String(update).padStart(6, '0')}.png`, await encodeMosaic(rows));
  }
  return numbersOf(summary);
}

const evaluationSeed = 1_000_003;

/** The figures of a summary that are numbers. */
export function numbersOf(summary: MeasureSummary): Figures {
  return Object.fromEntries(Object.entries(summary).filter((entry): entry is [string, number] => typeof entry[1] === 'number'));
}
