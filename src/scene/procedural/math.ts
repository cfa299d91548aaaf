/** Three-vectors and trigonometry that give the same bits in every JavaScript engine: + - * / and sqrt only. */

export type Vec3 = readonly [number, number, number];

export const add = (a: Vec3, b: Vec3): Vec3 => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
export const sub = (a: Vec3, b: Vec3): Vec3 => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
export const scale = (a: Vec3, s: number): Vec3 => [a[0] * s, a[1] * s, a[2] * s];
export const dot = (a: Vec3, b: Vec3): number => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const cross = (a: Vec3, b: Vec3): Vec3 => [
  a[1] * b[2] - a[2] * b[1],
  a[2] * b[0] - a[0] * b[2],
  a[0] * b[1] - a[1] * b[0],
];
export const unit = (a: Vec3): Vec3 => scale(a, 1 / Math.sqrt(dot(a, a)));
export const lerp3 = (a: Vec3, b: Vec3, t: number): Vec3 => add(scale(a, 1 - t), scale(b, t));
export const clamp = (x: number, low: number, high: number): number => (x < low ? low : x > high ? high : x);

/** Degrees to radians. */
export const rad = (degrees: number): number => (degrees * 3.141592653589793) / 180;

/** Sine by its Taylor series on [-pi/2, pi/2], absolute error below 1e-15 + 1e-16 |x|. */
export function sin(x: number): number {
  const turns = Math.round(x / 6.283185307179586);
  let r = x - turns * 6.283185307179586;
  if (r > 1.5707963267948966) r = 3.141592653589793 - r;
  else if (r < -1.5707963267948966) r = -3.141592653589793 - r;
  const square = r * r;
  let term = r;
  let sum = r;
  for (let k = 2; k <= 20; k += 2) {
    term *= -square / (k * (k + 1));
    sum += term;
  }
  return sum;
}

export const cos = (x: number): number => sin(x + 1.5707963267948966);
export const tan = (x: number): number => sin(x) / cos(x);
