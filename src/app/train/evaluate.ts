/** True figures of a policy on held-out scenes: every valid answer once as the anchor, or joint edits without one. */
import { randn } from '../../tensor/ops';
import { sample } from '../../flow';
import { MeasureSet } from '../../scene/procedural/measures';
import type { EditTruth, MeasureSummary } from '../../scene/procedural/measures';
import type { Image } from '../../scene';
import { concat } from '../../tensor/ops';
import { scope, unscoped } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { disposeCondition, joined } from './policy';
import type { Condition, Policy } from './policy';
import type { World, WorldTask } from './world';

export interface EvaluationSettings {
  samples: number;
  steps: number;
  anchorGuided: boolean;
  noise: 'independent' | 'shared';
  /** Key of the starting noise. */
  seed: number;
  split?: 'test' | 'unseen' | 'val';
}

/** The edits of one held-out task: one row per anchor (or per draw). */
export interface EvaluatedTask {
  task: WorldTask;
  truth: EditTruth;
  /** [runs][M] pictures, the anchor's among them. */
  runs: { anchor: number | null; answer: number; pictures: Image[] }[];
}

const evaluationStream = 91;

/** Sampled by the deterministic sampler, as an edit is. */
export async function* evaluateEdits(
  policy: Policy,
  world: World,
  settings: EvaluationSettings,
  signal: AbortSignal,
): AsyncGenerator<EvaluatedTask> {
  for (const [index, task] of world.heldOut(settings.samples, settings.split).entries()) {
    const views = task.before.map((_, v) => v);
    const anchorView = settings.anchorGuided ? index % views.length : null;
    const answers = task.edit.answers.map((_, answer) => answer);
    const conditions: Condition[] = [];
    try {
      const anchors: (Image | undefined)[] = [];
      for (const answer of answers) {
        const finished = anchorView === null ? undefined : (await world.withAnchor(task, anchorView, answer, settings.seed + index)).anchor.picture;
        anchors.push(finished);
        conditions.push(
          await policy.condition({
            instruction: task.edit.instruction,
            before: task.before,
            cells: task.cells,
            roles: { targets: views.filter((v) => v !== anchorView), contexts: anchorView === null ? [] : [anchorView] },
            contexts: finished ? [finished] : [],
          }),
        );
      }
      const pictures = await sampled(policy, conditions, settings, index, signal);
      yield {
        task,
        truth: task.truth(),
        runs: answers.map((answer, i) => ({
          anchor: anchorView,
          answer,
          pictures: withAnchor(pictures[i], views.length, anchorView, anchors[i]),
        })),
      };
    } finally {
      conditions.forEach(disposeCondition);
    }
  }
}

/** All views in order, given those that were made and the one that was given. */
export function withAnchor(made: readonly Image[], views: number, anchorView: number | null, anchor: Image | undefined): Image[] {
  let next = 0;
  return Array.from({ length: views }, (_, v) => (v === anchorView && anchor ? anchor : made[next++]));
}

/** One deterministic edit per condition, in one batch. */
export async function sampled(
  policy: Policy,
  conditions: readonly Condition[],
  { steps, noise, seed }: Pick<EvaluationSettings, 'steps' | 'noise' | 'seed'>,
  index: number,
  signal: AbortSignal,
): Promise<Image[][]> {
  const batch = joined(conditions);
  const views = batch.roles.targets.length;
  const start = unscoped(() =>
    scope(() => {
      const tokens = noise === 'shared' ? batch.targetTokens / views : batch.targetTokens;
      const drawn = policy.device.empty([conditions.length, tokens, policy.channels]);
      randn(drawn, { seed, stream: evaluationStream, offset: index * 1e9 });
      return noise === 'shared' ? concat(new Array<Tensor>(views).fill(drawn), 1) : drawn;
    }),
  );
  try {
    const velocity = (x: Tensor, sigma: number): Tensor => policy.velocity(x, sigma, batch);
    const final = await sample(start, velocity, { sigmas: policy.sigmas(steps, batch), signal });
    try {
      return await policy.decode(final, batch);
    } finally {
      final.dispose();
    }
  } finally {
    start.dispose();
    disposeCondition(batch);
  }
}

/** Pools the measures of all tasks. `each` sees every task's pictures, for grids. */
export async function evaluatePolicy(
  policy: Policy,
  world: World,
  settings: EvaluationSettings,
  signal: AbortSignal,
  each?: (evaluated: EvaluatedTask, index: number) => void,
): Promise<MeasureSummary> {
  const measures = new MeasureSet();
  let index = 0;
  for await (const evaluated of evaluateEdits(policy, world, settings, signal)) {
    for (const { anchor, answer, pictures } of evaluated.runs) {
      measures.add({
        truth: evaluated.truth,
        pictures: pictures.map(({ data }) => data),
        anchor,
        anchorAnswer: anchor === null ? undefined : evaluated.truth.answers[answer].name,
      });
    }
    each?.(evaluated, index);
    index += 1;
  }
  return measures.summary();
}
