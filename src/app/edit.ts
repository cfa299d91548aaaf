/**
 * Edits a scene from one sentence: all views jointly, in one denoising pass. The work is a list of stages; each leaves
 * its result in the output folder, so that an aborted edit goes on after the last finished stage (in the middle of
 * denoising: after the last step) and ends with the same pictures.
 */
import { performance } from 'node:perf_hooks';
import { AbortError, ConfigError } from '../binding/errors';
import { editFingerprint } from '../config/edit';
import type { EditSettings } from '../config/edit';
import { loadScene, normalizePrompt } from '../scene';
import type { Scene } from '../scene';
import { anchoredDecodeStage } from './edit/anchored/decode';
import { anchoredDenoiseStage } from './edit/anchored/denoise';
import { anchoredEncodeStage } from './edit/anchored/encode';
import { anchoredViewsStage } from './edit/anchored/views';
import { decodeStage } from './edit/decode';
import { denoiseStage } from './edit/denoise';
import { encodeStage } from './edit/encode';
import { refitStage } from './edit/refit';
import { readRecord, writeStage } from './edit/report';
import type { EditRecord } from './edit/report';
import { findSplatScene, isRendered, openSplatScene, renderedScene, renderSplatScene } from './edit/splat-scene';
import { readWork, saveWork } from './edit/run';
import type { EditRun, EditStage } from './edit/run';
import { verifyStage } from './edit/verify';
import { viewsStage } from './edit/views';
import type { AppContext, AppEvent } from './events';
import { loadEditor } from './model';
import { onDevice } from './on-device';
import { OutputFolder } from './output-folder';
import type { OutputFolderOptions } from './output-folder';

export type { EditRecord } from './edit/report';
export type { Verification } from './edit/verification';

/** What an edit gives: its record, where it lies, and a summary for people. */
export interface EditResult extends Partial<EditRecord> {
  out: string;
  summary: string[];
  /** The stage after which the caller asked to stop. */
  stoppedAfter?: string;
  [key: string]: unknown;
}

/** The stages after the scene is read, in order. */
const jointStages: readonly EditStage[] = [viewsStage, encodeStage, denoiseStage, decodeStage, verifyStage, refitStage, writeStage];

/** The same where the views follow an anchor in groups. */
const anchoredStages: readonly EditStage[] = [
  anchoredViewsStage,
  anchoredEncodeStage,
  anchoredDenoiseStage,
  anchoredDecodeStage,
  verifyStage,
  refitStage,
  writeStage,
];

/** Names of all stages, the reading of the scene included. */
export const editStageNames: readonly string[] = ['scene', ...jointStages.map(({ name }) => name)];

const secondsFile = 'seconds.json';

/**
 * Runs an edit. Bad input is found before anything is written.
 * @throws ConfigError, SceneError, WeightsError, OutputError; AbortError within a second of the signal, with all
 * tensors freed
 */
export async function* edit(settings: EditSettings, { signal }: AppContext): AsyncGenerator<AppEvent, EditResult> {
  const { out, stopAfter } = settings;
  const editStages = settings.anchorGuided ? anchoredStages : jointStages;
  if (stopAfter !== undefined && !editStageNames.includes(stopAfter)) {
    throw new ConfigError(`stopAfter: there is no stage '${stopAfter}', expected ${editStageNames.join(', ')}`);
  }
  const prompt = normalizePrompt(settings.prompt);
  const folderOptions: OutputFolderOptions = {
    command: 'edit',
    settings: editFingerprint(settings),
    overwrite: settings.overwrite,
    resume: settings.resume,
  };
  const earlier = await OutputFolder.check(out, folderOptions);
  let opened: Promise<OutputFolder> | undefined;
  const folder = (): Promise<OutputFolder> => (opened ??= OutputFolder.open(out, folderOptions));
  if (earlier?.finished) {
    const result = finished(out, await readRecord(await folder()));
    yield { type: 'note', message: `${out}: this edit is finished already` };
    yield { type: 'done', result };
    return result;
  }

  throwIfAborted(signal);
  const count = editStageNames.length;
  yield { type: 'stage', name: 'scene', index: 0, count };
  let begun = performance.now();
  const seconds: Record<string, number> = {};
  const found = await findSplatScene(settings.scene);
  const rendered = found && earlier && (await isRendered(out)) ? await renderedScene(found, out) : undefined;
  const splats = found && !rendered ? await openSplatScene(found, settings, signal) : undefined;
  const loaded = splats ? undefined : (rendered ?? (await loadScene(settings.scene)));
  for (const message of loaded?.warnings ?? []) yield { type: 'warning', message };
  throwIfAborted(signal);

  return yield* onDevice(settings.device, signal, async function* (device) {
    using editor = await loadEditor(settings.model, device, { ...settings, signal });
    const scene = splats ? yield* renderSplatScene(device, editor, splats, settings, { folder, signal }) : loaded!;
    const run: EditRun = { settings, prompt, device, editor, scene, splats: found?.file, signal, seconds, folder };
    if (earlier) Object.assign(seconds, await readWork(await folder(), secondsFile));
    seconds['scene'] = (seconds['scene'] ?? 0) + elapsedSec(begun);
    if (stopAfter === 'scene') return yield* stopped(settings, scene, stopAfter);

    for (const [i, stage] of editStages.entries()) {
      throwIfAborted(signal);
      const done = earlier?.stages.includes(stage.name) ?? false;
      if (!done) {
        yield { type: 'stage', name: stage.name, index: i + 1, count };
        begun = performance.now();
        yield* stage.run(run);
        throwIfAborted(signal);
        seconds[stage.name] = (seconds[stage.name] ?? 0) + elapsedSec(begun);
        await saveWork(run, secondsFile, JSON.stringify(seconds));
        await (await folder()).finishStage(stage.name);
      }
      if (stage.name === stopAfter && stage !== writeStage) return yield* stopped(settings, scene, stopAfter);
    }
    await (await folder()).finish();
    const result = finished(out, await readRecord(await folder()));
    yield { type: 'done', result };
    return result;
  });
}

async function* stopped({ out }: EditSettings, scene: Scene, stage: string): AsyncGenerator<AppEvent, EditResult> {
  const summary = [`stopped after stage ${stage} of ${scene.name}; go on with: rl3dedit edit --out ${out} --resume`];
  const result: EditResult = { out, stoppedAfter: stage, summary };
  yield { type: 'done', result };
  return result;
}

function finished(out: string, record: EditRecord): EditResult {
  const { verification, views, seconds, refit } = record;
  const total = Object.values(seconds).reduce((sum, value) => sum + value, 0);
  const summary = [
    `${views.length} edited views: ${out}/views/after, all in one picture: ${out}/grid.png (${total.toFixed(1)} s)`,
  ];
  if (verification) {
    const { before, after } = verification;
    summary.push(
      `verifier, before → after: depth confidence ${figure(before.depthConfidence)} → ${figure(after.depthConfidence)}, ` +
        `point confidence ${figure(before.pointConfidence)} → ${figure(after.pointConfidence)}` +
        (before.rotationDeg === undefined || after.rotationDeg === undefined
          ? ''
          : `, rotation error ${figure(before.rotationDeg)}° → ${figure(after.rotationDeg)}°`),
    );
  }
  if (refit) {
    const { fitPsnr, gaussians, leaveOneOut } = refit;
    const mean = fitPsnr.reduce((sum, value) => sum + value, 0) / fitPsnr.length;
    summary.push(
      `edited scene: ${out}/scene.ply, ${gaussians.edited} Gaussians; shows the edited views at ${mean.toFixed(1)} dB` +
        (leaveOneOut ? `, views left out at ${leaveOneOut.psnr.toFixed(1)} dB (before fitting ${leaveOneOut.start.toFixed(1)})` : ''),
    );
  } else if (record.settings.refit !== 'none') {
    summary.push(`the scene is not refitted yet: look at grid.png, then: rl3dedit refit ${out}`);
  }
  summary.push(`output hash ${record.outputHash}`);
  return { out, summary, ...record };
}

/** JSON has no NaN: what could not be computed comes back as null. */
function figure(value: number | null): string {
  return value === null ? 'unknown' : value.toPrecision(3);
}

function elapsedSec(since: number): number {
  return (performance.now() - since) / 1000;
}

function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new AbortError();
}
