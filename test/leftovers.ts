/** Garbage out of the way of tests that count or measure. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
export const collectGarbage = runInNewContext('gc') as () => void;

/** Gives back tensors that earlier tests dropped without disposing of them: collected now, they are not between two counts of live tensors. */
export async function collectLeftovers(): Promise<void> {
  // Handles of what was collected are given back in a later turn of the event loop, and what held others is gone only then.
  for (let round = 0; round < 3; round++) {
    collectGarbage();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
