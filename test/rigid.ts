/** Rigid motions for tests, written from their definitions. Rotations are 3x3 row-major, cameras 3x4. */

/** Rodrigues' formula: rotation about an axis (of any length) by an angle in degrees. */
export function rotationAbout(axis: readonly number[], degrees: number): number[] {
  const length = Math.hypot(...axis);
  const [x, y, z] = axis.map((value) => value / length);
  const angle = (degrees * Math.PI) / 180;
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  const d = 1 - c;
  return [c + x * x * d, x * y * d - z * s, x * z * d + y * s, y * x * d + z * s, c + y * y * d, y * z * d - x * s, z * x * d - y * s, z * y * d + x * s, c + z * z * d];
}

/** [R|t] */
export function rigid(r: readonly number[], t: readonly number[]): number[] {
  return [0, 1, 2].flatMap((i) => [r[3 * i], r[3 * i + 1], r[3 * i + 2], t[i]]);
}

/** The camera seen from another world: camera · frame, its translation scaled. */
export function transformed(camera: readonly number[], frame: readonly number[], scale: number): number[] {
  return [0, 1, 2].flatMap((i) => {
    const row = [0, 1, 2, 3].map((j) => {
      const product = [0, 1, 2].reduce((sum, k) => sum + camera[4 * i + k] * frame[4 * k + j], 0);
      return j === 3 ? scale * (product + camera[4 * i + 3]) : product;
    });
    return row;
  });
}
