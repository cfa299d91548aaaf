/**
 * The whole story on a bare CPU with the shipped tiny networks: edit scenes that nobody trained on, train the editor by GRPO for a
 * few minutes, edit the same scenes again, and say with exact geometry what became better and what did not.
 */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { AbortError } from '../binding/errors';
import { editSchema } from '../config/edit';
import type { DemoSettings } from '../config/demo';
import type { TrainSettings } from '../config/train';
import { writeDemoReport } from '../report/demo-report';
import type { DemoRow } from '../report/demo-report';
import { headlineFigures } from '../report/metrics-file';
import { sampleScene, seedOf, splits, writeScene } from '../scene/procedural';
import { nativeRenderer } from '../scene/procedural/native';
import { Device } from '../tensor/device';
import { measureEditor } from './demo/measure';
import type { Measured, MeasureOptions } from './demo/measure';
import { demoRun } from './demo/runs';
import { inPlainWords } from './demo/words';
import { edit } from './edit';
import type { AppContext, AppEvent } from './events';
import { train } from './train';

/** Side of the rendered photographs; the editor's views are smaller. */
const photographPx = 256;
/** A procedural scene of nine views is soon fitted. */
const quickRefit = { sourceIterations: 600, folds: 1 } as const;
const samplesPerPixel = 16;

/**
 * Renders a scene that no network was trained on (into `out`/scene), edits its nine views (into `out`/edit), then trains twice (into
 * `out`/anchored and `out`/paper) and writes `out`/report.html. The same settings give the same pictures; an earlier demo in `out` is
 * replaced.
 * @throws what `edit` and `train` throw
 */
export async function* demo(settings: DemoSettings, { signal }: AppContext): AsyncGenerator<AppEvent, DemoResult> {
  const begun = performance.now();
  const { out, seed, ...shared } = settings;
  const sceneFolder = path.join(out, 'scene');
  if (signal.aborted) throw new AbortError();
  const scene = sampleScene(seedOf('test', seed % splits.test.count));
  // Only a folder that holds a rendered scene is taken for an earlier demo's.
  const earlier = await fs.stat(path.join(sceneFolder, 'scene.json')).catch(() => undefined);
  if (earlier) await fs.rm(sceneFolder, { recursive: true, force: true });
  await writeScene(
    scene,
    sceneFolder,
    { width: photographPx, height: photographPx, spp: samplesPerPixel },
    nativeRenderer().raycast,
  );
  yield { type: 'note', message: `rendered a procedural scene: ${sceneFolder}` };
  if (signal.aborted) throw new AbortError();
  const { updates, paperUpdates, samples, ...editing } = shared;
  const editSettings = editSchema.parse({ ...editing, seed, scene: sceneFolder, out: path.join(out, 'edit'), overwrite: true, ...quickRefit });
  const edited = yield* withoutDone(edit(editSettings, { signal }));
  const story = yield* tellStory({ ...editing, out, seed, updates, paperUpdates, samples }, signal);
  const shown: DemoResult = {
    ...story,
    out,
    edit: edited.outputHash,
    summary: [...story.summary, `nine views of one scene, "${settings.prompt}", and the edited splat scene: ${path.join(out, 'edit', 'report.html')}`],
    seconds: (performance.now() - begun) / 1000,
  };
  yield { type: 'done', result: shown };
  return shown;
}

/** Figures of one way of editing. */
export type DemoFigures = Record<string, number | null>;

export interface DemoResult {
  [key: string]: unknown;
  out: string;
  summary: string[];
  before: DemoFigures;
  after: DemoFigures;
  sharedNoise: DemoFigures;
  paperMode?: DemoFigures;
  seconds: number;
}

type StoryOptions = Pick<DemoSettings, 'out' | 'seed' | 'updates' | 'paperUpdates' | 'samples' | 'model' | 'device' | 'threads'>;

/** Measures the base, trains, measures again, and writes the page. */
async function* tellStory(options: StoryOptions, signal: AbortSignal): AsyncGenerator<AppEvent, DemoResult> {
  const { out, seed, updates, paperUpdates, samples, model } = options;
  const begun = performance.now();
  const device = Device.open(options.device);
  device.matmulPrecision = 'bf16';
  try {
    const measure = (more: Partial<MeasureOptions>): Promise<Measured> =>
      measureEditor(
        device,
        { model, anchorGuided: true, noise: 'independent', samples, seed: seed + 7, families: ['floor-any'], split: 'test', ...more },
        signal,
      );
    const unseenSamples = Math.max(1, Math.round(samples / 2));
    yield { type: 'stage', name: 'measure the base editor', index: 0, count: 4 };
    const before = await measure({});
    const shared = await measure({ noise: 'shared' });
    const unseenBefore = await measure({ split: 'unseen', samples: unseenSamples });
    const paperBefore = paperUpdates > 0 ? await measure({ anchorGuided: false }) : undefined;
    const run = (name: string, anchorGuided: boolean, count: number): TrainSettings =>
      demoRun({ out: path.join(out, name), model, updates: count, anchorGuided, device: options.device, threads: options.threads, seed });
    yield { type: 'stage', name: 'train with a finished view as context', index: 1, count: 4 };
    const trained = yield* withoutDone(train(run('anchored', true, updates), { signal }, { device }));
    const after = await measure({ lora: trained.lora });
    const unseenAfter = await measure({ lora: trained.lora, split: 'unseen', samples: unseenSamples });
    yield { type: 'stage', name: "train in the paper's mode", index: 2, count: 4 };
    let paper: Measured | undefined;
    if (paperUpdates > 0) {
      const trainedPaper = yield* withoutDone(train(run('paper', false, paperUpdates), { signal }, { device }));
      paper = await measure({ lora: trainedPaper.lora, anchorGuided: false });
    }
    yield { type: 'stage', name: 'report', index: 3, count: 4 };
    const figures = {
      before: figuresOf(before),
      after: figuresOf(after),
      sharedNoise: figuresOf(shared),
      paperMode: paper && figuresOf(paper),
      paperBefore: paperBefore && figuresOf(paperBefore),
      unseenBefore: figuresOf(unseenBefore),
      unseenAfter: figuresOf(unseenAfter),
    };
    const words = inPlainWords(figures);
    const rows = { before: row(before), after: row(after), sharedNoise: row(shared), paperMode: row(paper) };
    const report = await writeDemoReport(out, {
      seed,
      seconds: (performance.now() - begun) / 1000,
      device: options.device,
      instruction: before.instruction,
      updates: trained.updates,
      rows,
      pictures: { scene: before.scene, before: before.picture, after: after.picture, sharedNoise: shared.picture, paperMode: paper?.picture },
      run: path.join(out, 'anchored'),
      paragraphs: words,
    });
    await fs.writeFile(path.join(out, 'before.png'), before.picture);
    await fs.writeFile(path.join(out, 'after.png'), after.picture);
    return { ...figures, out, seed, updates: trained.updates, stopped: trained.stopped, summary: [`report: ${report}`, ...words], seconds: 0 };
  } finally {
    device.trim();
    device.dispose();
  }
}

function figuresOf({ summary }: Measured): DemoFigures {
  return Object.fromEntries(Object.entries(summary).filter(([, value]) => value === null || typeof value === 'number')) as DemoFigures;
}

function row(measured: Measured | undefined): DemoRow {
  return Object.fromEntries(headlineFigures.map((name) => [name, measured?.summary[name] ?? NaN])) as DemoRow;
}

/** The inner app's stream without its last event: the outer one has a result of its own. */
async function* withoutDone<T>(app: AsyncGenerator<AppEvent, T>): AsyncGenerator<AppEvent, T> {
  try {
    for (;;) {
      const next = await app.next();
      if (next.done) return next.value;
      if (next.value.type !== 'done') yield next.value;
    }
  } finally {
    await app.return(undefined as never);
  }
}
