/** How an editor does on held-out scenes: one row of the demo's table, and its pictures. */
import type { Device } from '../../tensor/device';
import type { MeasureSummary } from '../../scene/procedural/measures';
import { loadEditor } from '../model';
import { encodeMosaic } from '../mosaic';
import { evaluatePolicy } from '../train/evaluate';
import type { EvaluatedTask } from '../train/evaluate';
import { Policy } from '../train/policy';
import { World } from '../train/world';
import type { WorldSettings } from '../train/world';
import { demoSteps, demoViews } from './runs';

export interface MeasureOptions {
  model: string;
  lora?: string;
  anchorGuided: boolean;
  noise: 'independent' | 'shared';
  samples: number;
  seed: number;
  families: WorldSettings['families'];
  split: 'test' | 'unseen';
}

export interface Measured {
  summary: MeasureSummary;
  /** Edited views of the first scene, one row per anchor, and the scene itself. */
  picture: Buffer;
  scene: Buffer;
  instruction: string;
}

const viewPx = 96;

export async function measureEditor(device: Device, options: MeasureOptions, signal: AbortSignal): Promise<Measured> {
  const { model, lora, families, split, ...settings } = options;
  const editor = await loadEditor(model, device, { lora, signal });
  try {
    const policy = await Policy.open(editor, {});
    const size = editor.settings.view_size ?? viewPx;
    const world = new World({ families, split: 'train', scenes: 1, anchors: 'exact' }, demoViews, size, options.seed);
    let first: EvaluatedTask | undefined;
    const summary = await evaluatePolicy(policy, world, { ...settings, steps: demoSteps, split }, signal, (evaluated, index) => {
      if (index === 0) first = evaluated;
    });
    const { task, runs } = first!;
    return {
      summary,
      picture: await encodeMosaic(runs.map(({ pictures }) => pictures)),
      scene: await encodeMosaic([task.before]),
      instruction: task.edit.instruction,
    };
  } finally {
    editor.dispose();
  }
}
