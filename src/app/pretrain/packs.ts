/**
 * Packs of views for the tiny editor. What an open instruction leaves open is drawn per view, or (in a share of the packs) once
 * for all of them: the joint sample is then right per view and agrees only in part, as a 2D editor's does. In anchored packs the
 * finished edit of some views stands in the sequence as clean context.
 */
import type { Rng } from '../../scene/procedural';
import { VIEWS } from './edit-data';
import type { EditGroup, OpenEditViews } from './edit-data';

/** Share of open packs whose views carry one common answer. */
export const COMMON_SHARE = 0.3;
/** Share of open packs whose instruction names the common answer. */
const NAMED_SHARE = 0.25;

/** Views of a pack: how many stand as finished context; the others are to be edited. */
export interface PackPlan {
  views: number;
  contexts: number;
  packs: number;
}

/** One pack; latents of one view each, targets before contexts. */
export interface Pack {
  family: string;
  instruction: string;
  before: Float32Array[];
  after: Float32Array[];
}

/** The kinds of step, by how often: single views teach the edit, packs of three the grid with and without context, nine the whole grid. */
export function drawPlan(rng: Rng, viewsPerStep: number): PackPlan {
  const plans = [
    { views: 1, contexts: 0 },
    { views: 3, contexts: 0 },
    { views: 3, contexts: 1 },
    { views: 3, contexts: 2 },
    { views: 9, contexts: 0 },
  ];
  const plan = plans[rng.weighted([0.2, 0.15, 0.3, 0.1, 0.25])];
  return { ...plan, packs: Math.max(1, Math.floor(viewsPerStep / plan.views)) };
}

/** Objects are small and their names have to be understood: they need the most examples. */
const openWeights = { 'floor-any': 1, 'object-colour-any': 3, 'sky-any': 0.7 } as const;

export function drawPack(rng: Rng, group: EditGroup, { views, contexts }: PackPlan): Pack {
  const size = group.before.length / VIEWS;
  const beforeOf = (v: number): Float32Array => group.before.subarray(v * size, (v + 1) * size);
  const opens = group.open.length > 0 && rng.chance(contexts > 0 ? 0.85 : views === 9 ? 0.3 : 0.5);
  if (opens) {
    const edit = group.open[rng.weighted(group.open.map(({ family }) => openWeights[family]))];
    const { chosen, answers, named } = drawAnswers(rng, edit, views, contexts);
    return {
      family: edit.family,
      instruction: named === undefined ? edit.instruction : edit.named[named],
      before: chosen.map(beforeOf),
      after: chosen.map((v, i) => edit.views[v].get(answers[i])!),
    };
  }
  const edit = rng.pick(group.edits);
  const chosen = rng.some(VIEWS, views);
  if (rng.chance(0.7)) chosen.sort((a, b) => a - b);
  return {
    family: edit.family,
    instruction: edit.instruction,
    before: chosen.map(beforeOf),
    after: chosen.map((v) => edit.after.subarray(v * size, (v + 1) * size)),
  };
}

/** Views and the answer each shows; `named` when the instruction says which. Contexts, the last ones, agree among themselves. */
function drawAnswers(
  rng: Rng,
  edit: OpenEditViews,
  views: number,
  contexts: number,
): { chosen: number[]; answers: number[]; named?: number } {
  const own = (v: number): number => rng.pick([...edit.views[v].keys()]);
  const naming = rng.chance(NAMED_SHARE);
  if (naming || views === 1 || rng.chance(COMMON_SHARE)) {
    const answer = own(rng.int(VIEWS));
    const showing = edit.views.flatMap((view, v) => (view.has(answer) ? [v] : []));
    if (showing.length >= views) {
      const chosen = rng.some(showing.length, views).map((i) => showing[i]);
      return { chosen, answers: chosen.map(() => answer), named: naming ? answer : undefined };
    }
  }
  for (;;) {
    const chosen = rng.some(VIEWS, views);
    const answers = chosen.map(own);
    if (contexts < 2) return { chosen, answers };
    const [first, second] = chosen.slice(-2);
    const shared = [...edit.views[first].keys()].filter((answer) => edit.views[second].has(answer));
    if (shared.length === 0) continue;
    const answer = rng.pick(shared);
    return { chosen, answers: [...answers.slice(0, -2), answer, answer] };
  }
}
