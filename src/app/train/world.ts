/** The procedural world as training data: open edits of scenes, views along the arc, anchors drawn evenly among the valid answers. */
import { ConfigError } from '../../binding/errors';
import { openEdit, pixelCamera, Rng, sampleScene, seedOf, shadeViews, splits, traceViews } from '../../scene/procedural';
import type { OpenEdit, OpenFamily, ProceduralScene, RenderSize, SplitName, TracedViews } from '../../scene/procedural';
import { editTruth, selectTraced } from '../../scene/procedural/measures';
import type { EditTruth } from '../../scene/procedural/measures';
import { nativeRenderer } from '../../scene/procedural/native';
import type { Image } from '../../scene';
import type { ViewCamera } from '../../rewards';
import type { SampleSource, TrainSample } from './samples';
import { groupStride } from './window';

export interface WorldSettings {
  families: readonly OpenFamily[];
  split: SplitName;
  /** Scenes of the split to draw from. */
  scenes: number;
  anchors: 'exact' | 'edited';
}

/** One open edit of some views of a scene, with everything that is true about it. */
export interface WorldTask {
  id: string;
  edit: OpenEdit;
  before: Image[];
  cameras: ViewCamera[];
  cells: number[];
  /** Exact picture of an answer in a view. */
  answer(index: number, view: number): Image;
  truth(): EditTruth;
}

/** Makes the edit of one view alone, by an instruction that names the answer: where model-made anchors come from. */
export type EditAlone = (view: Image, instruction: string, cell: number, seed: number) => Promise<Image>;

/** Samples per pixel, as the networks were trained. */
const samplesPerPixel = 4;
const streams = { task: 81, wording: 82, heldOut: 83 } as const;
const wordings = 1000;
const gridCells = 9;

export class World implements SampleSource {
  private readonly renderer = nativeRenderer();

  constructor(
    private readonly settings: WorldSettings,
    private readonly views: number,
    private readonly size: number,
    private readonly seed: number,
    private readonly fixedAnchor?: number,
    private readonly editAlone?: EditAlone,
  ) {
    const { count } = splits[settings.split];
    if (settings.scenes > count) throw new ConfigError(`data.world.scenes: split ${settings.split} has ${count} scenes, asked for ${settings.scenes}`);
    if (settings.anchors === 'edited' && !editAlone) throw new ConfigError("data.world.anchors: 'edited' needs an editor");
  }

  get description(): string {
    const { families, split, scenes } = this.settings;
    return `procedural scenes: ${families.join(', ')} on ${scenes} scenes of ${split}, ${this.views} views of ${this.size}²`;
  }

  async sample(update: number, group: number): Promise<TrainSample> {
    const rng = new Rng(this.seed, streams.task, update * groupStride + group);
    const { families, split, scenes } = this.settings;
    const task = this.task(split, rng.int(scenes), rng.pick(families), rng);
    const view = this.fixedAnchor ?? rng.int(this.views);
    const answer = rng.int(task.edit.answers.length);
    return this.withAnchor(task, view, answer, rng.int(2 ** 31));
  }

  /** Held-out tasks, the same for every run: scenes of `test`, or of `unseen` with its own wordings. */
  heldOut(count: number, split: SplitName = 'test'): WorldTask[] {
    const { families } = this.settings;
    return Array.from({ length: count }, (_, i) => this.task(split, i, families[i % families.length], new Rng(i, streams.heldOut)));
  }

  /** A task with one view's finished edit. */
  async withAnchor(task: WorldTask, view: number, answer: number, seed: number): Promise<TrainSample> {
    const { id, edit, before, cameras, cells } = task;
    const picture =
      this.settings.anchors === 'edited'
        ? await this.editAlone!(before[view], edit.answers[answer].instruction, cells[view], seed)
        : task.answer(answer, view);
    return { id, instruction: edit.instruction, before, cameras, cells, anchor: { view, picture } };
  }

  private task(split: SplitName, index: number, family: OpenFamily, rng: Rng): WorldTask {
    const scene = sampleScene(seedOf(split, index));
    const edit = openEdit(scene, family, rng.int(wordings));
    const frame: RenderSize = { width: this.size, height: this.size, spp: samplesPerPixel };
    const all = scene.cameras.views;
    const indices = rng.some(all.length, this.views).sort((a, b) => a - b);
    const cameras = indices.map((i) => all[i]);
    const traced = traceViews(scene, cameras, frame, this.renderer.trace);
    const single = indices.map((_, v) => selectTraced(traced, indices.length, [v]));
    const draw = (of: ProceduralScene, samples: TracedViews): Image => ({
      width: this.size,
      height: this.size,
      data: shadeViews(of, samples, 1, frame, this.renderer.shade),
    });
    return {
      id: `${scene.seed}:${family}:${indices.join('-')}`,
      edit,
      before: single.map((samples) => draw(scene, samples)),
      cameras: cameras.map((camera) => {
        const [fx, fy, cx, cy] = pixelCamera(camera, this.size, this.size);
        return { fx, fy, cx, cy, worldToCam: camera.worldToCam };
      }),
      cells: this.views === gridCells ? indices.map((_, i) => i) : rng.some(gridCells, this.views),
      answer: (answer, view) => draw(edit.answers[answer].scene, single[view]),
      truth: () => editTruth({ scene, edit, cameras, size: frame, traced, shade: this.renderer.shade }),
    };
  }
}
