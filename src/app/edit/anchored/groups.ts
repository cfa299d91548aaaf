/**
 * In which order the views of an anchor-guided edit are made. One sequence holds a group: views to edit, and one or two
 * finished ones that they follow. The groups grow outwards from the anchor along the cameras' arc, so that each has a
 * finished neighbour, and their number, with it the cost, is linear in the number of views.
 */
import { ConfigError } from '../../../binding/errors';

/** Cells along a side of the grid in which a group lies. */
export const gridSide = 3;

/** Views of one sequence, by their index along the arc. */
export interface EditGroup {
  /** To be edited, ascending. */
  targets: number[];
  /** Finished views, clean: the anchor first. None in the group that makes the anchor. */
  contexts: number[];
  /** Cell of the 3×3 grid of each target, then of each context; neighbours on the arc lie side by side. */
  cells: number[];
}

export interface GroupOptions {
  /** Views in arc order. */
  views: number;
  /** Index of the view that all follow. */
  anchor: number;
  /** Most views of a group, contexts included: 2 to 9. */
  groupViews: number;
  /** Whether the anchor's finished edit is given; else the first group makes it, alone. */
  anchorGiven: boolean;
}

/**
 * Groups in the order of work. The first takes the views nearest to the anchor; each further one goes on from the end of
 * the finished stretch that is nearer to the anchor, with the anchor and that end as contexts (with room for two views
 * only: the anchor).
 * @throws ConfigError for counts that do not fit
 */
export function planGroups({ views, anchor, groupViews, anchorGiven }: GroupOptions): EditGroup[] {
  const whole = [views, anchor, groupViews].every((value) => Number.isInteger(value));
  if (!whole || anchor < 0 || anchor >= views || groupViews < 2 || groupViews > gridSide * gridSide) {
    throw new ConfigError(
      `groups: expected an anchor among the views and 2 to ${gridSide * gridSide} views per group, got anchor ${anchor} ` +
        `of ${views} views in groups of ${groupViews}`,
    );
  }
  const groups: EditGroup[] = [];
  let [low, high] = [anchor, anchor];
  while (high - low + 1 < Math.min(views, groupViews)) {
    const down = low > 0 && (high === views - 1 || anchor - low <= high - anchor);
    if (down) low--;
    else high++;
  }
  const around = range(low, high + 1).filter((view) => view !== anchor);
  if (around.length > 0) groups.push(group(around, [anchor]));
  if (!anchorGiven) {
    const cell = groups.length > 0 ? groups[0].cells[around.length] : 0;
    groups.unshift({ targets: [anchor], contexts: [], cells: [cell] });
  }
  while (low > 0 || high < views - 1) {
    const down = low > 0 && (high === views - 1 || anchor - low <= high - anchor);
    const end = down ? low : high;
    const contexts = end === anchor || groupViews === 2 ? [anchor] : [anchor, end];
    const room = groupViews - contexts.length;
    const targets = down ? range(Math.max(0, low - room), low) : range(high + 1, Math.min(views, high + 1 + room));
    groups.push(group(targets, contexts));
    if (down) low = targets[0];
    else high = targets[targets.length - 1];
  }
  return groups;
}

/** The views of a group in arc order take the grid's cells from the first. */
function group(targets: number[], contexts: number[]): EditGroup {
  const members = [...targets, ...contexts];
  const sorted = [...members].sort((a, b) => a - b);
  return { targets, contexts, cells: members.map((view) => sorted.indexOf(view)) };
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

/** Rows and columns of a nearly square picture of all views. */
export function mosaicSize(views: number): { rows: number; cols: number } {
  const cols = Math.ceil(Math.sqrt(views));
  return { rows: Math.ceil(views / cols), cols };
}
