/**
 * One edit in progress: what its stages share, and what each leaves in the folder for the next one or for a resumed
 * run.
 */
import * as fs from 'node:fs/promises';
import type { Editor } from '../model';
import { OutputError } from '../../binding/errors';
import type { EditSettings } from '../../config/edit';
import { cropImage, fromBytes, readImage, toBytes } from '../../scene';
import type { Camera, GridPlan, Image, Scene } from '../../scene';
import type { Device } from '../../tensor/device';
import type { AppEvent } from '../events';
import type { OutputFolder } from '../output-folder';
import { readHostTensors } from '../parity/kinds';
import type { HostTensor } from '../parity/kinds';
import type { EditGroup } from './anchored/groups';
import type { GroupsProgress } from './anchored/sequence';
import type { RefitRecord } from '../refit/refit-scene';
import type { Verification, EditMaps } from './verification';

/**
 * A named part of an edit. It reads what earlier stages left through the functions below, so a resumed run may skip
 * them.
 */
export interface EditStage {
  readonly name: string;
  run(run: EditRun): AsyncGenerator<AppEvent, void>;
}

/** A distinct view among those edited. */
export interface ChosenView {
  name: string;
  /** Index among the scene's views. */
  sceneIndex: number;
  /** Camera of the picture at cell size; worldToCam 4x4 row-major. */
  camera: Omit<Camera, 'worldToCam'> & { worldToCam: number[] };
}

/** What the views stage decided. */
export interface Choice {
  plan: GridPlan;
  views: ChosenView[];
  /** Per cell of the grid, row-major: the view it shows. */
  cells: number[];
  warnings: string[];
  /** Of an anchor-guided edit; its views are in the order of their arc. */
  anchored?: AnchoredChoice;
}

/** What the views of an anchor-guided edit follow, and in which groups. */
export interface AnchoredChoice {
  /** Index among the chosen views. */
  anchor: number;
  /** The user's own edit of that view, where it is not made by the editor. */
  picture?: string;
  groups: EditGroup[];
}

/** What the transformer is conditioned on, in host memory. */
export interface Condition {
  /** Clean packed latents of the unedited views [1, L, C]. */
  reference: HostTensor;
  text: HostTensor;
  pooled: HostTensor;
  /** Of an anchor-guided edit: what it is conditioned on besides. */
  anchored?: AnchoredCondition;
}

export interface AnchoredCondition {
  /** The instruction as one view alone gets it, without a clause about a grid. */
  text: HostTensor;
  pooled: HostTensor;
  /** Latents of the anchor's picture [1, L, C], where the user gave it. */
  anchor?: HostTensor;
}

/** Latents [1, L, C] after `step` denoising steps. */
export interface Progress {
  step: number;
  latents: HostTensor;
}

export interface EditRun {
  readonly settings: EditSettings;
  readonly prompt: string;
  readonly device: Device;
  readonly editor: Editor;
  readonly scene: Scene;
  /** The file, where the scene was rendered from splats: they are in the frame of its cameras. */
  readonly splats?: string;
  readonly signal: AbortSignal;
  /** Seconds per stage, earlier runs of a resumed folder included. */
  readonly seconds: Record<string, number>;
  /**
   * The output folder; opened when the first stage has something to write, so that bad input leaves nothing behind.
   */
  folder(): Promise<OutputFolder>;
  choice?: Choice;
  before?: Image[];
  condition?: Condition;
  progress?: Progress;
  groupsProgress?: GroupsProgress;
  after?: Image[];
  verification?: Verification | null;
  /** What the verifier saw, where it can be shown. */
  maps?: EditMaps;
  refit?: RefitRecord | null;
}

const workFolder = '.rl3dedit';

/** Writes a work file atomically. It is removed when the edit is finished. */
export async function saveWork(run: EditRun, name: string, data: string | Uint8Array): Promise<void> {
  await (await run.folder()).write(`${workFolder}/${name}`, data);
}

/** Contents of a JSON work file, or undefined. @throws OutputError when it is damaged */
export async function readWork(folder: OutputFolder, name: string): Promise<unknown> {
  const file = folder.workPath(name);
  let text: string;
  try {
    text = await fs.readFile(file, 'utf8');
  } catch {
    return undefined;
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new OutputError(`${file}: damaged (${(error as Error).message}); start again with --overwrite`, {
      cause: error,
    });
  }
}

export async function choiceOf(run: EditRun): Promise<Choice> {
  run.choice ??= (await readWork(await run.folder(), 'views.json')) as Choice | undefined;
  return left(run.choice, 'views.json');
}

/** The unedited views at cell size, in 8-bit steps as they lie in the folder. */
export async function beforeOf(run: EditRun): Promise<Image[]> {
  run.before ??= await readViews(run, 'before');
  return run.before;
}

export async function afterOf(run: EditRun): Promise<Image[]> {
  run.after ??= await readViews(run, 'after');
  return run.after;
}

export async function conditionOf(run: EditRun): Promise<Condition> {
  if (!run.condition) {
    const tensors = await readHostTensors((await run.folder()).workPath('condition.safetensors'));
    run.condition = { reference: tensors.get('reference'), text: tensors.get('text'), pooled: tensors.get('pooled') };
  }
  return run.condition;
}

/** Where the denoising stands; undefined before its first saved step. */
export async function progressOf(run: EditRun): Promise<Progress | undefined> {
  if (!run.progress) {
    const tensors = await readHostTensors((await run.folder()).workPath('latents.safetensors'), true);
    if (tensors.has('latents')) run.progress = { step: tensors.floats('step')[0], latents: tensors.get('latents') };
  }
  return run.progress;
}

export function viewFile(when: 'before' | 'after', view: number): string {
  return `views/${when}/${String(view).padStart(3, '0')}.png`;
}

/** The image in the 8-bit steps of its file: a resumed run must see the same numbers. */
export function quantized(image: Image): Image {
  return fromBytes(toBytes(image), image.width, image.height, 3);
}

async function readViews(run: EditRun, when: 'before' | 'after'): Promise<Image[]> {
  const { views } = await choiceOf(run);
  const folder = await run.folder();
  return Promise.all(views.map((_, view) => readImage(folder.path(viewFile(when, view)), { signal: run.signal })));
}

function left<T>(value: T | undefined, name: string): T {
  if (value !== undefined) return value;
  throw new OutputError(`${workFolder}/${name} is missing in the folder to be resumed; start again with --overwrite`);
}

/** Cuts a picture of the whole grid into its cells. */
export function cellsOf(grid: Image, { rows, cols, cellWidth: width, cellHeight: height }: GridPlan): Image[] {
  return Array.from({ length: rows * cols }, (_, i) =>
    cropImage(grid, { left: (i % cols) * width, top: Math.floor(i / cols) * height, width, height }),
  );
}
