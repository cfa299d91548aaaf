/**
 * Pose reward r_T (RL3DEdit, arXiv 2603.03143, eq. 2–3) and pose errors: what the verifier says about relative poses, against the
 * cameras that were given. Relative poses do not depend on the world frame, their directions not on scale. Computed in float64.
 */
import { SceneError, ShapeError } from '../binding/errors';

/** Camera-from-world [R|t], OpenCV axes: 3x4 or 4x4 row-major. */
export type Extrinsics = ArrayLike<number>;

export interface PairError {
  first: number;
  second: number;
  /** Angle between the relative rotations, [0, 180]. */
  rotationDeg: number;
  /** Angle between the directions of the relative translations, [0, 180]; null where the given baseline has no direction. */
  translationDeg: number | null;
}

export interface PoseReward {
  /** r_T, in [0, 1]: exp(−mean over adjacent pairs of ‖ΔR‖² + ‖Δt̃‖²). 1 for a single view. */
  reward: number;
  /** Adjacent pairs, in view order: what the reward is made of. */
  adjacent: PairError[];
  /** All pairs i < j. */
  all: PairError[];
}

/** A given baseline shorter than this share of the median has no direction. */
const degenerateBaseline = 1e-3;
/** An estimated baseline shorter than this share of |t_i| + |t_j| is rounding. */
const roundingBaseline = 1e-6;
/** Of an estimate that is no rotation and translation. */
const worstDeg = 180;
/** Of an estimate without a baseline where there is one: no direction at all, as good as a random one. */
const undirectedDeg = 90;

/**
 * Compares estimated with given cameras. An estimate that is not finite counts as the worst (180°), one without a baseline where
 * the given cameras have one as 90°; translation is left out where the given baseline is below a thousandth of the median one.
 * @throws ShapeError for different numbers of cameras or wrong lengths, SceneError when a given camera is not finite
 */
export function poseReward(estimate: readonly Extrinsics[], given: readonly Extrinsics[]): PoseReward {
  if (estimate.length !== given.length || given.length === 0) {
    throw new ShapeError(`pose reward: ${estimate.length} estimated cameras for ${given.length} given ones`);
  }
  for (const [what, cameras] of [['estimated', estimate], ['given', given]] as const) {
    const wrong = cameras.findIndex((camera) => camera.length !== 12 && camera.length !== 16);
    if (wrong >= 0) throw new ShapeError(`pose reward: ${what} camera ${wrong} has ${cameras[wrong].length} numbers, expected 3x4 or 4x4`);
  }
  const bad = given.findIndex((camera) => !finite(camera));
  if (bad >= 0) throw new SceneError(`pose reward: given camera ${bad} holds a number that is not finite`);
  const adjacentIndices = Array.from({ length: given.length - 1 }, (_, i): Pair => [i, i + 1]);
  const adjacent = errors(estimate, given, adjacentIndices);
  const loss = adjacent.reduce((sum, pair) => sum + squaredErrors(pair), 0);
  return {
    reward: adjacent.length === 0 ? 1 : Math.exp(-loss / adjacent.length),
    adjacent,
    all: errors(estimate, given, allPairs(given.length)),
  };
}

/** Per view: the mean rotation error of the pairs it is in, in degrees. 0 for a single view. */
export function rotationErrorPerView(pairs: readonly PairError[], views: number): number[] {
  return Array.from({ length: views }, (_, v) => {
    const own = pairs.filter((pair) => pair.first === v || pair.second === v);
    return own.length === 0 ? 0 : own.reduce((sum, pair) => sum + pair.rotationDeg, 0) / own.length;
  });
}

type Pair = readonly [number, number];

function allPairs(views: number): Pair[] {
  const pairs: Pair[] = [];
  for (let i = 0; i < views; i++) for (let j = i + 1; j < views; j++) pairs.push([i, j]);
  return pairs;
}

/** ‖ΔR‖_F² = 8 sin²(θ/2), ‖Δt̃‖² = 2 (1 − cos φ) = 4 sin²(φ/2). */
function squaredErrors({ rotationDeg, translationDeg }: PairError): number {
  const half = (degrees: number): number => Math.sin((degrees * Math.PI) / 360) ** 2;
  return 8 * half(rotationDeg) + (translationDeg === null ? 0 : 4 * half(translationDeg));
}

function errors(estimate: readonly Extrinsics[], given: readonly Extrinsics[], pairs: readonly Pair[]): PairError[] {
  const references = pairs.map(([i, j]) => relative(given[i], given[j]));
  const shortest = degenerateBaseline * median(references.map(({ t }) => norm(t)));
  return pairs.map(([first, second], k) => {
    const reference = references[k];
    const length = norm(reference.t);
    const directed = length > shortest && length > noise(given[first], given[second]);
    const [a, b] = [estimate[first], estimate[second]];
    if (!finite(a) || !finite(b)) return { first, second, rotationDeg: worstDeg, translationDeg: directed ? worstDeg : null };
    const guess = relative(a, b);
    const rotationDeg = rotationAngle(guess.r, reference.r);
    if (!directed) return { first, second, rotationDeg, translationDeg: null };
    const still = norm(guess.t) <= noise(a, b);
    return { first, second, rotationDeg, translationDeg: still ? undirectedDeg : angle(guess.t, reference.t) };
  });
}

/** T_b T_a⁻¹: rotation 3x3 and translation. */
function relative(a: Extrinsics, b: Extrinsics): { r: number[]; t: number[] } {
  const r: number[] = [];
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) r.push(b[4 * i] * a[4 * j] + b[4 * i + 1] * a[4 * j + 1] + b[4 * i + 2] * a[4 * j + 2]);
  }
  const t = [0, 1, 2].map((i) => b[4 * i + 3] - (r[3 * i] * a[3] + r[3 * i + 1] * a[7] + r[3 * i + 2] * a[11]));
  return { r, t };
}

/** Angle of d = r refᵀ: its antisymmetric part is 2 sin θ long, its trace 1 + 2 cos θ. Accurate near 0 and near 180. */
function rotationAngle(r: readonly number[], ref: readonly number[]): number {
  const d = (i: number, j: number): number => r[3 * i] * ref[3 * j] + r[3 * i + 1] * ref[3 * j + 1] + r[3 * i + 2] * ref[3 * j + 2];
  const sine = Math.hypot(d(2, 1) - d(1, 2), d(0, 2) - d(2, 0), d(1, 0) - d(0, 1));
  return (180 / Math.PI) * Math.atan2(sine, d(0, 0) + d(1, 1) + d(2, 2) - 1);
}

function angle(a: readonly number[], b: readonly number[]): number {
  const cross = Math.hypot(a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]);
  return (180 / Math.PI) * Math.atan2(cross, a[0] * b[0] + a[1] * b[1] + a[2] * b[2]);
}

/** Rounding of a relative translation of f32 cameras. */
function noise(a: Extrinsics, b: Extrinsics): number {
  return roundingBaseline * (Math.hypot(a[3], a[7], a[11]) + Math.hypot(b[3], b[7], b[11]));
}

function norm(t: readonly number[]): number {
  return Math.hypot(...t);
}

function median(values: readonly number[]): number {
  if (values.length === 0) return 0;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function finite(camera: Extrinsics): boolean {
  for (let i = 0; i < 12; i++) if (!Number.isFinite(camera[i])) return false;
  return true;
}
