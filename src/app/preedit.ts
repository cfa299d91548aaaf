/**
 * Edits single views of a scene, each alone: the anchors of a training (RL3DEdit §3.4). One picture per instruction and
 * view, each written when it is done, so that an aborted run goes on with the next one.
 */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs/promises';
import { performance } from 'node:perf_hooks';
import { AbortError, ConfigError } from '../binding/errors';
import { preeditFingerprint } from '../config/preedit';
import type { PreeditSettings } from '../config/preedit';
import { loadScene, normalizePrompt, planGrid, selectViews } from '../scene';
import type { GridPlan, Scene } from '../scene';
import type { AppContext, AppEvent } from './events';
import { loadEditor } from './model';
import type { Editor } from './model';
import { onDevice } from './on-device';
import { OutputFolder } from './output-folder';
import type { OutputFolderOptions } from './output-folder';
import { editViews } from './preedit/edit-views';
import { preeditFile, readPreedits } from './preedit/read';
import type { PreeditRecord } from './preedit/read';

export { readPreedits, Preedits } from './preedit/read';
export type { PreeditEntry, PreeditRecord } from './preedit/read';

/** What the command gives: its record, where it lies, and a summary for people. */
export interface PreeditResult extends PreeditRecord {
  out: string;
  summary: string[];
  [key: string]: unknown;
}

/**
 * Makes the pre-edits. Bad input is found before anything is written.
 * @throws ConfigError, SceneError, WeightsError, OutputError; AbortError within a second of the signal, with all tensors
 * freed
 */
export async function* preedit(settings: PreeditSettings, { signal }: AppContext): AsyncGenerator<AppEvent, PreeditResult> {
  const { out } = settings;
  const instructions = await instructionsOf(settings);
  const fingerprint = preeditFingerprint(settings, instructions);
  const options: OutputFolderOptions = {
    command: 'preedit',
    settings: fingerprint,
    overwrite: settings.overwrite,
    resume: settings.resume,
  };
  const earlier = await OutputFolder.check(out, options);
  if (earlier?.finished) {
    const result = finished(out, (await readPreedits(out)).record);
    yield { type: 'note', message: `${out}: these edits are finished already` };
    yield { type: 'done', result };
    return result;
  }
  throwIfAborted(signal);
  yield { type: 'stage', name: 'scene', index: 0, count: 2 };
  const begun = performance.now();
  const scene = await loadScene(settings.scene);
  for (const message of scene.warnings) yield { type: 'warning', message };
  throwIfAborted(signal);

  return yield* onDevice(settings.device, signal, async function* (device) {
    using editor = await loadEditor(settings.model, device, { ...settings, signal });
    const { indices, warnings } = chooseViews(scene, settings);
    for (const message of warnings) yield { type: 'warning', message };
    const plan = picturePlan(scene, indices[0], editor, settings);
    yield { type: 'stage', name: 'edit', index: 1, count: 2 };
    const edits = yield* editViews({
      settings,
      instructions,
      scene,
      indices,
      plan,
      device,
      editor,
      signal,
      openFolder: () => OutputFolder.open(out, options),
    });
    const { default_steps: steps, default_guidance: guidance } = editor.settings;
    const { minStrength, minSharpness, minContrast } = settings;
    const record: PreeditRecord = {
      version: 1,
      scene: { name: scene.name, path: settings.scene },
      model: editor.name,
      device: device.name,
      dtype: editor.dtype,
      seed: settings.seed,
      steps: settings.steps ?? steps,
      guidance: settings.guidance ?? guidance,
      width: plan.width,
      height: plan.height,
      settingsHash: hashOf(fingerprint),
      limits: { minStrength, minSharpness, minContrast },
      prompts: instructions,
      views: indices.map((sceneIndex) => ({ name: scene.views[sceneIndex].name, sceneIndex })),
      edits: edits.entries,
      seconds: edits.seconds + (performance.now() - begun) / 1000,
    };
    await edits.folder.writeJson(preeditFile, record);
    await edits.folder.finish();
    const result = finished(out, record);
    yield { type: 'done', result };
    return result;
  });
}

/** The instruction given, then those of the file. @throws ConfigError */
async function instructionsOf({ prompt, prompts }: PreeditSettings): Promise<string[]> {
  const lines: string[] = prompt === undefined ? [] : [prompt];
  if (prompts !== undefined) {
    let text: string;
    try {
      text = await fs.readFile(prompts, 'utf8');
    } catch (error) {
      throw new ConfigError(`prompts: ${prompts} cannot be read (${(error as NodeJS.ErrnoException).code})`, { cause: error });
    }
    lines.push(...text.split(/\r?\n/).filter((line) => line.trim() !== '' && !line.trim().startsWith('#')));
  }
  const instructions = lines.map(normalizePrompt);
  if (instructions.length === 0) throw new ConfigError(`prompts: ${prompts ?? 'nothing'} holds no instruction`);
  const twice = instructions.find((text, i) => instructions.indexOf(text) < i);
  if (twice !== undefined) throw new ConfigError(`prompts: "${twice}" is there twice`);
  return instructions;
}

function chooseViews(scene: Scene, { views, viewNames }: PreeditSettings): { indices: number[]; warnings: string[] } {
  if (views === undefined && !viewNames && scene.views.length > 0) {
    return { indices: scene.views.map((_, i) => i), warnings: [] };
  }
  const count = viewNames?.length ?? Math.max(1, Math.min(views ?? 1, scene.views.length));
  const { indices, warnings } = selectViews(
    scene,
    viewNames ? { choose: viewNames, cells: count } : { views: count, cells: count },
  );
  return { indices: [...indices], warnings: [...warnings] };
}

/** Size of one edit: what was asked for, else the model's, else about a megapixel of the view's aspect. */
function picturePlan(scene: Scene, first: number, editor: Editor, { resolution }: PreeditSettings): GridPlan {
  const { view_size: modelSize, view_aspect: modelAspect } = editor.settings;
  const { width, height } = scene.views[first].camera;
  return planGrid({
    rows: 1,
    cols: 1,
    viewAspect: modelAspect ?? width / height,
    tokenPx: editor.tokenPx,
    cellLongSide: resolution ?? modelSize,
  });
}

function finished(out: string, record: PreeditRecord): PreeditResult {
  const { edits, views, prompts, seconds } = record;
  const usable = edits.filter((edit) => edit.usable).length;
  const summary = [
    `${edits.length} edits of ${views.length} views by ${prompts.length} instructions: ${out} (${seconds.toFixed(1)} s)`,
    `${usable} of ${edits.length} are usable`,
  ];
  return { out, summary, ...record };
}

/** sha256 over the settings in the order of their names. */
function hashOf(settings: Record<string, unknown>): string {
  const sorted = Object.entries(settings).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(sorted)).digest('hex');
}

function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new AbortError();
}
