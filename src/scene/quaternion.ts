/** Rotations as unit quaternions (w, x, y, z), Hamilton convention, and as 3x3 row-major matrices. */

/** Unit quaternion of a rotation, w >= 0. Shepperd's method: divides by the largest component. */
export function quaternionOf(r: readonly number[]): [number, number, number, number] {
  const squares = [1 + r[0] + r[4] + r[8], 1 + r[0] - r[4] - r[8], 1 - r[0] + r[4] - r[8], 1 - r[0] - r[4] + r[8]];
  const largest = squares.indexOf(Math.max(...squares));
  const q = [
    [squares[0], r[7] - r[5], r[2] - r[6], r[3] - r[1]],
    [r[7] - r[5], squares[1], r[1] + r[3], r[2] + r[6]],
    [r[2] - r[6], r[1] + r[3], squares[2], r[5] + r[7]],
    [r[3] - r[1], r[2] + r[6], r[5] + r[7], squares[3]],
  ][largest];
  const norm = Math.sqrt(q.reduce((sum, x) => sum + x * x, 0)) * (q[0] < 0 ? -1 : 1);
  return [q[0] / norm, q[1] / norm, q[2] / norm, q[3] / norm];
}

/** Rotation, 3x3 row-major, of a unit quaternion. */
export function rotationOf([w, x, y, z]: readonly number[]): number[] {
  return [
    1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
    2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
    2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
  ];
}
