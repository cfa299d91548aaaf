/** What a policy is trained on: sets of views with cameras, an instruction, and a finished edit of one of the views. */
import type { ViewCamera } from '../../rewards';
import type { Image } from '../../scene';

/** One edit to be made G times. */
export interface TrainSample {
  /** Stable name, for logs and caches. */
  id: string;
  instruction: string;
  /** M unedited views of one size in the order of the arc, and their cameras. */
  before: readonly Image[];
  cameras: readonly ViewCamera[];
  /** Cells of the 3×3 grid that the views take. */
  cells: readonly number[];
  anchor: { view: number; picture: Image };
}

export interface SampleSource {
  /** What the log says about it. */
  readonly description: string;
  /** The sample of a group of an update: depends on the seed and its arguments alone. */
  sample(update: number, group: number): Promise<TrainSample>;
}
