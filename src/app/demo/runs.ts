/** The two trainings of the demo: anchor-guided, and the paper's mode without an anchor. */
import { trainSchema } from '../../config/train';
import type { TrainSettings } from '../../config/train';

/** Views of a set: as many as the tiny editor saw together with a finished one. */
export const demoViews = 3;
/** Denoising steps of rollouts and of the edits that are measured. */
export const demoSteps = 6;

export interface DemoRunOptions {
  out: string;
  model: string;
  updates: number;
  anchorGuided: boolean;
  device: string;
  threads: number;
  seed: number;
  /** Control: rewards dealt to the wrong rollouts. */
  shuffle?: boolean;
}

/** The measured recipe for the tiny networks (specs: tiny). */
export function demoRun({ shuffle = false, ...options }: DemoRunOptions): TrainSettings {
  return trainSchema.parse({
    ...options,
    overwrite: true,
    data: { world: { families: ['floor-any'], split: 'train', scenes: 2000, anchors: 'exact' } },
    views: demoViews,
    group: 8,
    groupsPerUpdate: 3,
    steps: demoSteps,
    // Colour is decided early; noise in late steps would only dirty the picture.
    sde: 'cps',
    noiseLevel: 0.8,
    window: { size: 2, first: 1, last: 1 },
    clip: 1e-3,
    kl: 0.005,
    adapter: { rank: 16 },
    // Fast at first, then quiet: at a constant rate the policy wanders off again what it has found.
    optimizer: { learningRate: 4e-3, decayFrom: 0.3, beta2: 0.95, weightDecay: 0 },
    ema: { decay: 0.9, every: 1 },
    rewards: { depth: 1, point: 1, pose: 0.1, anchor: 0, shuffle },
    evaluateEvery: 0,
    sampleEvery: 20,
    checkpointEvery: 20,
    keep: 1,
  });
}
