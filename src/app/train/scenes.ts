/** A user's scenes with their pre-edits as training data: every (instruction, view set) with an anchor among the usable pre-edits. */
import { ConfigError } from '../../binding/errors';
import { loadScene, loadView } from '../../scene';
import type { Image, Scene } from '../../scene';
import type { ViewCamera } from '../../rewards';
import { Rng } from '../../scene/procedural';
import { readPreedits } from '../preedit/read';
import type { Preedits } from '../preedit/read';
import type { SampleSource, TrainSample } from './samples';
import { groupStride } from './window';

export interface SceneDataEntry {
  scene: string;
  preedits: string;
}

interface Entry {
  scene: Scene;
  preedits: Preedits;
}

interface ReadyView {
  image: Image;
  camera: ViewCamera;
}

const sceneStream = 84;
const gridCells = 9;

export class SceneSamples implements SampleSource {
  private readonly views = new Map<string, Promise<ReadyView>>();
  private readonly pictures = new Map<string, Promise<Image>>();

  private constructor(
    private readonly entries: readonly Entry[],
    private readonly count: number,
    private readonly size: { width: number; height: number },
    private readonly seed: number,
    private readonly fixedAnchor: number | undefined,
    private readonly signal: AbortSignal,
  ) {}

  /** @throws SceneError, ConfigError for scenes or pre-edits that are missing, damaged, or too few for the number of views */
  static async open(
    data: readonly SceneDataEntry[],
    options: { views: number; size: { width: number; height: number }; seed: number; fixedAnchor?: number; signal: AbortSignal },
  ): Promise<SceneSamples> {
    const entries: Entry[] = [];
    for (const { scene: folder, preedits: edits } of data) {
      const scene = await loadScene(folder);
      const preedits = await readPreedits(edits);
      const { views, prompts, scene: of } = preedits.record;
      if (views.length < options.views) {
        throw new ConfigError(`${edits}: holds pre-edits of ${views.length} views, the run edits ${options.views} at once; make them with --views ${options.views} or more`);
      }
      const unknown = views.find(({ name, sceneIndex }) => scene.views[sceneIndex]?.name !== name);
      if (unknown) throw new ConfigError(`${edits}: was made of scene ${of.path}, whose view ${unknown.name} is not in ${folder}; pair each scene with its own pre-edits`);
      const bare = prompts.findIndex((_, prompt) => preedits.usableViews(prompt).length === 0);
      if (bare >= 0) throw new ConfigError(`${edits}: "${prompts[bare]}" has no usable pre-edit, so it can have no anchor; leave that instruction away`);
      entries.push({ scene, preedits });
    }
    return new SceneSamples(entries, options.views, options.size, options.seed, options.fixedAnchor, options.signal);
  }

  get description(): string {
    const prompts = this.entries.reduce((sum, { preedits }) => sum + preedits.record.prompts.length, 0);
    const some = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;
    return `${some(this.entries.length, 'scene')} with ${some(prompts, 'instruction')}, ${this.count} views of ${this.size.width}×${this.size.height}`;
  }

  async sample(update: number, group: number): Promise<TrainSample> {
    const rng = new Rng(this.seed, sceneStream, update * groupStride + group);
    const index = rng.int(this.entries.length);
    const { scene, preedits } = this.entries[index];
    const { record } = preedits;
    const prompt = rng.int(record.prompts.length);
    const usable = preedits.usableViews(prompt);
    // The anchor first: it must have a usable pre-edit; the other views need none.
    const anchorView = rng.pick(usable);
    const others = record.views.map((_, v) => v).filter((v) => v !== anchorView);
    let chosen = [anchorView, ...rng.some(others.length, this.count - 1).map((i) => others[i])].sort((a, b) => a - b);
    let anchor = chosen.indexOf(anchorView);
    if (this.fixedAnchor !== undefined) {
      // A fixed place in the grid: the set is turned until the anchor stands there.
      chosen = chosen.map((_, i) => chosen[(i + anchor - this.fixedAnchor! + chosen.length) % chosen.length]);
      anchor = this.fixedAnchor;
    }
    const ready = await Promise.all(chosen.map((v) => this.view(index, scene, record.views[v].sceneIndex)));
    return {
      id: `${index}:${record.prompts[prompt]}:${chosen.join('-')}`,
      instruction: record.prompts[prompt],
      before: ready.map(({ image }) => image),
      cameras: ready.map(({ camera }) => camera),
      cells: this.count === gridCells ? chosen.map((_, i) => i) : rng.some(gridCells, this.count),
      anchor: { view: anchor, picture: await this.picture(index, preedits, prompt, anchorView) },
    };
  }

  private view(entry: number, scene: Scene, sceneIndex: number): Promise<ReadyView> {
    return once(this.views, `${entry}:${sceneIndex}`, async () => {
      const { image, camera } = await loadView(scene.views[sceneIndex], { ...this.size, signal: this.signal });
      const { fx, fy, cx, cy, worldToCam } = camera;
      return { image, camera: { fx, fy, cx, cy, worldToCam } };
    });
  }

  private picture(entry: number, preedits: Preedits, prompt: number, view: number): Promise<Image> {
    return once(this.pictures, `${entry}:${prompt}:${view}`, () => preedits.picture(prompt, view, this.size, this.signal));
  }
}

function once<T>(known: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const found = known.get(key);
  if (found) return found;
  const made = make();
  known.set(key, made);
  made.catch(() => known.delete(key));
  return made;
}
