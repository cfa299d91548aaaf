/** Nearest neighbours among points, by a k-d tree over a permutation of their indices. */

/** Buckets of at most this many points are searched one by one. */
const bucket = 8;

/** Points by index, ordered so that the middle of each range splits it along one axis, and so on below. */
interface Tree {
  positions: Float32Array;
  order: Int32Array;
  /** Of the split at each place of the order. */
  axes: Uint8Array;
}

/**
 * Mean distance of each point to its `neighbours` nearest others. Coinciding points count, at distance 0.
 * @param positions [N, 3]
 */
export function meanNeighbourDistance(positions: Float32Array, neighbours = 3): Float32Array {
  const count = positions.length / 3;
  const tree = { positions, order: Int32Array.from({ length: count }, (_, i) => i), axes: new Uint8Array(count) };
  arrange(tree, 0, count);
  const best = new Float64Array(neighbours);
  return Float32Array.from({ length: count }, (_, i) => {
    best.fill(Infinity);
    search(tree, 0, count, i, best);
    const found = best.filter(Number.isFinite);
    return found.length === 0 ? 0 : found.reduce((sum, square) => sum + Math.sqrt(square), 0) / found.length;
  });
}

/** Splits order[from, to) along its longest side: points of a plane or a line are not split across it, which would cut nothing off. */
function arrange(tree: Tree, from: number, to: number): void {
  if (to - from <= bucket) return;
  const middle = (from + to) >> 1;
  const axis = longestSide(tree, from, to);
  tree.axes[middle] = axis;
  selectMiddle(tree.positions, tree.order, from, to - 1, middle, axis);
  arrange(tree, from, middle);
  arrange(tree, middle + 1, to);
}

function longestSide({ positions, order }: Tree, from: number, to: number): number {
  let [longest, length] = [0, -1];
  for (let axis = 0; axis < 3; axis++) {
    let [low, high] = [Infinity, -Infinity];
    for (let k = from; k < to; k++) {
      const x = positions[3 * order[k] + axis];
      if (x < low) low = x;
      if (x > high) high = x;
    }
    if (high - low > length) [longest, length] = [axis, high - low];
  }
  return longest;
}

/** Quickselect (Hoare 1961) with the middle of three as pivot. */
function selectMiddle(positions: Float32Array, order: Int32Array, low: number, high: number, wanted: number, axis: number): void {
  const key = (k: number): number => positions[3 * order[k] + axis];
  while (low < high) {
    const [a, b, c] = [key(low), key((low + high) >> 1), key(high)];
    const pivot = Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
    let [i, j] = [low, high];
    while (i <= j) {
      while (key(i) < pivot) i++;
      while (key(j) > pivot) j--;
      if (i > j) break;
      [order[i], order[j]] = [order[j], order[i]];
      i++;
      j--;
    }
    if (wanted <= j) high = j;
    else if (wanted >= i) low = i;
    else return;
  }
}

/** Keeps in `best` (ascending squares) the nearest points to point `self` in order[from, to). */
function search(tree: Tree, from: number, to: number, self: number, best: Float64Array): void {
  const { positions, order } = tree;
  const visit = (other: number): void => {
    if (other === self) return;
    let square = 0;
    for (let k = 0; k < 3; k++) square += (positions[3 * other + k] - positions[3 * self + k]) ** 2;
    if (square >= best[best.length - 1]) return;
    let at = best.length - 1;
    for (; at > 0 && best[at - 1] > square; at--) best[at] = best[at - 1];
    best[at] = square;
  };
  if (to - from <= bucket) {
    for (let k = from; k < to; k++) visit(order[k]);
    return;
  }
  const middle = (from + to) >> 1;
  visit(order[middle]);
  const axis = tree.axes[middle];
  const gap = positions[3 * self + axis] - positions[3 * order[middle] + axis];
  const halves: [number, number][] = gap < 0 ? [[from, middle], [middle + 1, to]] : [[middle + 1, to], [from, middle]];
  search(tree, ...halves[0], self, best);
  if (gap * gap < best[best.length - 1]) search(tree, ...halves[1], self, best);
}
