/**
 * The scenes that the editor trains on at a step: a window over all scenes that moves on with the steps. A fixed set of a size that
 * fits memory is learned by heart; a window of the same size shows ever new scenes for the price of encoding them.
 */
import type { Rng } from '../../scene/procedural';
import type { EditGroup } from './edit-data';

export class GroupWindow {
  private readonly known = new Map<number, EditGroup>();

  /**
   * @param make the scene of an index; a pure function of it, so that a resumed run sees the same
   * @param size scenes in the window
   * @param fresh scenes by which it moves on per step
   */
  constructor(
    private readonly make: (index: number) => Promise<EditGroup>,
    private readonly size: number,
    private readonly fresh: number,
  ) {}

  /** One of the scenes of a step, made when it is first drawn. */
  async pick(rng: Rng, step: number): Promise<EditGroup> {
    const first = Math.floor(step * this.fresh);
    for (const index of this.known.keys()) if (index < first) this.known.delete(index);
    const index = first + rng.int(this.size);
    const group = this.known.get(index) ?? (await this.make(index));
    this.known.set(index, group);
    return group;
  }
}
