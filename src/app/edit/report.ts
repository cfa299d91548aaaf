/** Stage `write`: edit.json, the record of the whole edit; dataset/ where it is wanted; report.html. */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { EnvironmentError, OutputError } from '../../binding/errors';
import type { EditSettings } from '../../config/edit';
import { toBytes, writeColmap, writeNerfstudio } from '../../scene';
import type { GridPlan, Image, ScenePoints } from '../../scene';
import type { AppEvent } from '../events';
import type { RefitRecord } from '../refit/refit-scene';
import type { OutputFolder } from '../output-folder';
import { camerasOf, refitOf } from './refit';
import { editReport } from './report-page';
import type { EditReportExtras } from './report-page';
import { afterOf, beforeOf, choiceOf, viewFile } from './run';
import type { AnchoredChoice, ChosenView, EditRun, EditStage } from './run';
import type { Verification } from './verification';
import { mapsOf, verificationOf } from './verify';

export const writeStage: EditStage = { name: 'write', run: write };

/** Contents of edit.json. */
export interface EditRecord {
  prompt: string;
  /** As resolved: defaults of the model filled in. */
  settings: EditSettings;
  versions: { rl3dedit: string; node: string };
  model: string;
  device: string;
  dtype: string;
  seed: number;
  grid: GridPlan;
  views: (ChosenView & { before: string; after: string; meanChange: number })[];
  /** Per cell, row-major: the view it shows. */
  cells: number[];
  /** Of an anchor-guided edit: the view that the others follow, and the groups in the order of work. */
  anchored?: AnchoredChoice & { name: string };
  /** Wall time per stage; of a resumed edit, of all its runs. */
  seconds: Record<string, number>;
  verification: Verification | null;
  /** The refit of the splat scene; null where none was asked for, or not yet. */
  refit: RefitRecord | null;
  /** sha256 over width, height and 8-bit RGB of every edited view in order. */
  outputHash: string;
  warnings: string[];
}

const recordFile = 'edit.json';

async function* write(run: EditRun): AsyncGenerator<AppEvent, void> {
  const { editor, settings, device } = run;
  const { plan, views, cells, anchored, warnings } = await choiceOf(run);
  const before = await beforeOf(run);
  const after = await afterOf(run);
  const { default_steps: steps, default_guidance: guidance } = editor.settings;
  const record: EditRecord = {
    prompt: run.prompt,
    settings: {
      ...settings,
      steps: settings.steps ?? steps,
      guidance: settings.guidance ?? guidance,
      dtype: editor.dtype,
    },
    versions: { rl3dedit: await packageVersion(), node: process.versions.node },
    model: editor.name,
    device: device.name,
    dtype: editor.dtype,
    seed: settings.seed,
    grid: plan,
    views: views.map((view, i) => ({
      ...view,
      before: viewFile('before', i),
      after: viewFile('after', i),
      meanChange: meanDifference(before[i], after[i]),
    })),
    cells,
    anchored: anchored && { name: views[anchored.anchor].name, ...anchored },
    seconds: { ...run.seconds },
    verification: await verificationOf(run),
    refit: await refitOf(run),
    outputHash: outputHash(after),
    warnings: [...run.scene.warnings, ...warnings],
  };
  for (const [view, { meanChange }] of record.views.entries())
    yield { type: 'metric', name: 'meanChange', value: meanChange, view };
  const folder = await run.folder();
  await saveRecord(folder, record);
  if (settings.dataset) await writeDataset(folder, record, after, { points: run.scene.points, signal: run.signal });
  yield* writeReport(folder, record, { maps: await mapsOf(run) });
}

/** Writes report.html; a build without the browser's side says so and goes on without. */
export async function* writeReport(folder: OutputFolder, record: EditRecord, extras: EditReportExtras): AsyncGenerator<AppEvent, void> {
  try {
    await folder.write('report.html', await editReport(folder.dir, record, extras));
  } catch (error) {
    if (!(error instanceof EnvironmentError)) throw error;
    yield { type: 'warning', message: `no report.html: ${error.message}` };
  }
}

/** Writes the edited views with their cameras to dataset/nerfstudio and dataset/colmap. */
export async function writeDataset(
  folder: OutputFolder, { views }: EditRecord, after: readonly Image[], { points, signal }: { points?: ScenePoints; signal: AbortSignal },
): Promise<void> {
  const target = await folder.claim('dataset');
  await fs.rm(target, { recursive: true, force: true });
  const safe = views.every(({ name }) => name.split('/').every((part) => !['', '.', '..'].includes(part)) && !/[\0\n\r\\]/.test(name));
  const cameras = camerasOf(views);
  const dataset = {
    // Names such as ../photos/1 would leave the folder.
    views: views.map(({ name }, i) => ({ name: safe ? name : String(i).padStart(3, '0'), image: after[i], camera: cameras[i] })),
    ...(points ? { points } : {}),
  };
  await writeNerfstudio(path.join(target, 'nerfstudio'), dataset, { signal });
  await writeColmap(path.join(target, 'colmap'), dataset, { signal });
}

/** Writes edit.json. */
export async function saveRecord(folder: OutputFolder, record: EditRecord): Promise<void> {
  await folder.writeJson(recordFile, record);
}

/** The record of a finished edit. @throws OutputError */
export async function readRecord(folder: OutputFolder): Promise<EditRecord> {
  const file = folder.path(recordFile);
  try {
    return JSON.parse(await fs.readFile(file, 'utf8')) as EditRecord;
  } catch (error) {
    throw new OutputError(`${file}: cannot be read (${(error as Error).message}); start again with --overwrite`, {
      cause: error,
    });
  }
}

/** sha256 over the pictures' sizes and 8-bit pixels. */
export function outputHash(views: readonly Image[]): string {
  const hash = createHash('sha256');
  for (const view of views) hash.update(`${view.width}x${view.height}:`).update(toBytes(view));
  return hash.digest('hex');
}

/** Mean absolute difference of pixels in [0, 1]. */
export function meanDifference(a: Image, b: Image): number {
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) sum += Math.abs(a.data[i] - b.data[i]);
  return sum / a.data.length;
}

async function packageVersion(): Promise<string> {
  const file = path.resolve(__dirname, '../../../package.json');
  return (JSON.parse(await fs.readFile(file, 'utf8')) as { version: string }).version;
}
