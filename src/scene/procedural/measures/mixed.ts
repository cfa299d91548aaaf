/**
 * The mixed-view control: the views of one run are exchanged with those of other runs of the same scene. What a change
 * of the network owes to communication between the views is lost by it; what it owes to a narrower choice is not.
 */
import { Mean } from './statistics';
import type { EditTruth } from './truth';
import { editedWarpError } from './warp';

export interface Run {
  readonly truth: EditTruth;
  readonly pictures: readonly Float32Array[];
  readonly anchor: number | null;
  /** Per view, null where unknown. */
  readonly answers: readonly (string | null)[];
}

export interface MixedControl {
  readonly warpError: number | null;
  readonly agreement: number | null;
}

/** Different exchanges per run. */
const exchanges = 2;

/** Runs in an order in which neighbours have different anchors as far as possible. */
function interleaved(runs: readonly Run[], label: (run: Run) => string): Run[] {
  const groups = new Map<string, Run[]>();
  for (const run of runs) groups.set(label(run), [...(groups.get(label(run)) ?? []), run]);
  const longest = Math.max(0, ...[...groups.values()].map((group) => group.length));
  return Array.from({ length: longest }, (_, i) => [...groups.values()].flatMap((group) => group.slice(i, i + 1))).flat();
}

/**
 * scenes: for each scene the runs with the same given view. The given view of a run is kept (view 0 where none is
 * given); each other view comes from another run whose anchor shows another answer (any other run where none is given),
 * no two from one run while there are enough. Scenes with a single anchor are left out; null when none is left.
 */
export function mixedControl(scenes: readonly (readonly Run[])[]): MixedControl {
  const warp = new Mean();
  const agreement = new Mean();
  for (const runs of scenes) {
    runs.forEach((run, index) => {
      const { anchor, truth } = run;
      const kept = anchor ?? 0;
      const label = (other: Run): string => (anchor === null ? String(runs.indexOf(other)) : String(other.answers[kept]));
      const free = runs.filter((other) => label(other) !== label(run));
      // Start after the run itself, so that every run lends its views equally often.
      const others = interleaved([...free.filter((o) => runs.indexOf(o) > index), ...free.filter((o) => runs.indexOf(o) < index)], label);
      if (others.length === 0) return;
      for (let exchange = 0; exchange < Math.min(exchanges, others.length); exchange++) {
        const first = Math.floor((exchange * others.length) / exchanges);
        let next = first;
        const donors = run.pictures.map((_, v) => (v === kept ? run : others[next++ % others.length]));
        warp.add(editedWarpError(truth, donors.map((donor, v) => donor.pictures[v])));
        const names = donors.map((donor, v) => donor.answers[v]);
        names.forEach((a, u) =>
          names.forEach((b, v) => {
            if (u >= v || (anchor !== null && u !== kept && v !== kept) || a === null || b === null) return;
            agreement.add(Number(a === b));
          }),
        );
      }
    });
  }
  return { warpError: warp.value(), agreement: agreement.value() };
}
