/** Similarities of splat scenes: x′ = scale · R x + translation, with rotations, sizes and view-dependent colour following. */
import { SceneError, ShapeError } from '../../binding/errors';
import { quaternionOf } from '../quaternion';
import { createCloud, MAX_SH_DEGREE, restCoefficients, SH_Y0, type GaussianCloud } from './cloud';

export interface Similarity {
  /** 3 × 3 row-major, a proper rotation. */
  readonly rotation: readonly number[];
  readonly translation: readonly number[];
  /** Above 0. */
  readonly scale: number;
}

/** Files hold rotations in 6 to 9 digits. */
const rotationTolerance = 1e-4;

/**
 * Real spherical harmonics at a unit direction, Condon–Shortley signs: Y₀, then degree by degree, order −l … l.
 * @returns 16 values
 */
export function sphericalHarmonics(x: number, y: number, z: number): number[] {
  const [xx, yy, zz] = [x * x, y * y, z * z];
  return [
    SH_Y0,
    -0.4886025119029199 * y,
    0.4886025119029199 * z,
    -0.4886025119029199 * x,
    1.0925484305920792 * x * y,
    -1.0925484305920792 * y * z,
    0.31539156525252005 * (2 * zz - xx - yy),
    -1.0925484305920792 * x * z,
    0.5462742152960396 * (xx - yy),
    -0.5900435899266435 * y * (3 * xx - yy),
    2.890611442640554 * x * y * z,
    -0.4570457994644658 * y * (4 * zz - xx - yy),
    0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
    -0.4570457994644658 * x * (4 * zz - xx - yy),
    1.445305721320277 * z * (xx - yy),
    -0.5900435899266435 * x * (xx - 3 * yy),
  ];
}

/**
 * Matrices D_l that rotate the coefficients of degree l = 1 … 3: c′ = D c makes f′(R d) = f(d).
 * D[j][k] = ∫ Y_j(d) Y_k(Rᵀ d) over the sphere, by a product rule (4 Gauss–Legendre heights × 8 azimuths) that is exact to
 * degree 7, more than the 6 that occur.
 * @returns three row-major matrices of 3, 5 and 7 rows
 */
export function rotationOfHarmonics(rotation: readonly number[]): Float64Array[] {
  const r = checkedRotation(rotation, 'rotation');
  const matrices = [1, 2, 3].map((l) => new Float64Array((2 * l + 1) ** 2));
  const inner = Math.sqrt(3 / 7 - (2 / 7) * Math.sqrt(6 / 5));
  const outer = Math.sqrt(3 / 7 + (2 / 7) * Math.sqrt(6 / 5));
  const innerWeight = (18 + Math.sqrt(30)) / 36;
  const outerWeight = (18 - Math.sqrt(30)) / 36;
  for (const [z, weight] of [[inner, innerWeight], [-inner, innerWeight], [outer, outerWeight], [-outer, outerWeight]]) {
    for (let a = 0; a < 8; a++) {
      const ring = Math.sqrt(1 - z * z);
      const [x, y] = [ring * Math.cos((Math.PI * a) / 4), ring * Math.sin((Math.PI * a) / 4)];
      const here = sphericalHarmonics(x, y, z);
      const there = sphericalHarmonics(
        r[0] * x + r[3] * y + r[6] * z,
        r[1] * x + r[4] * y + r[7] * z,
        r[2] * x + r[5] * y + r[8] * z,
      );
      for (let l = 1; l <= MAX_SH_DEGREE; l++) {
        const size = 2 * l + 1;
        for (let j = 0; j < size; j++) {
          for (let k = 0; k < size; k++) {
            matrices[l - 1][j * size + k] += weight * (Math.PI / 4) * here[l * l + j] * there[l * l + k];
          }
        }
      }
    }
  }
  return matrices;
}

/** A new cloud: every splat moved, turned and scaled, and its harmonics turned with it. */
export function transformCloud(cloud: GaussianCloud, similarity: Similarity): GaussianCloud {
  const r = checkedRotation(similarity.rotation, 'rotation');
  const { scale, translation: t } = similarity;
  if (!(scale > 0) || !Number.isFinite(scale)) throw new ShapeError(`similarity: expected a scale above 0, got ${scale}`);
  if (t.length !== 3 || !t.every(Number.isFinite)) {
    throw new ShapeError(`similarity: expected a translation of 3 numbers, got [${t.join(', ')}]`);
  }
  const { count, shDegree } = cloud;
  const out = createCloud(count, shDegree);
  const [w, x, y, z] = quaternionOf(r);
  const logScale = Math.log(scale);
  for (let i = 0; i < count; i++) {
    const m = 3 * i;
    for (let k = 0; k < 3; k++) {
      const turned = r[3 * k] * cloud.means[m] + r[3 * k + 1] * cloud.means[m + 1] + r[3 * k + 2] * cloud.means[m + 2];
      out.means[m + k] = scale * turned + t[k];
      out.logScales[m + k] = cloud.logScales[m + k] + logScale;
    }
    const [a, b, c, d] = cloud.quats.subarray(4 * i, 4 * i + 4);
    out.quats[4 * i] = w * a - x * b - y * c - z * d;
    out.quats[4 * i + 1] = w * b + x * a + y * d - z * c;
    out.quats[4 * i + 2] = w * c - x * d + y * a + z * b;
    out.quats[4 * i + 3] = w * d + x * c - y * b + z * a;
  }
  out.opacityLogits.set(cloud.opacityLogits);
  out.sh0.set(cloud.sh0);
  turnHarmonics(cloud, out, rotationOfHarmonics(r));
  return out;
}

function turnHarmonics(cloud: GaussianCloud, out: GaussianCloud, matrices: readonly Float64Array[]): void {
  const rest = restCoefficients(cloud.shDegree);
  for (let i = 0; i < cloud.count; i++) {
    for (let l = 1; l <= cloud.shDegree; l++) {
      const size = 2 * l + 1;
      const matrix = matrices[l - 1];
      const from = 3 * (i * rest + l * l - 1);
      for (let j = 0; j < size; j++) {
        for (let c = 0; c < 3; c++) {
          let sum = 0;
          for (let k = 0; k < size; k++) sum += matrix[j * size + k] * cloud.shRest[from + 3 * k + c];
          out.shRest[from + 3 * j + c] = sum;
        }
      }
    }
  }
}

/** The similarity that undoes another one. */
export function inverseSimilarity({ rotation: r, translation: t, scale }: Similarity): Similarity {
  const rotation = [0, 1, 2].flatMap((j) => [0, 1, 2].map((k) => r[3 * k + j]));
  const translation = turn(rotation, t).map((x) => -x / scale);
  return { rotation, translation, scale: 1 / scale };
}

/** The similarity that applies `before` and then `after`. */
export function composeSimilarities(after: Similarity, before: Similarity): Similarity {
  const [a, b] = [after.rotation, before.rotation];
  return {
    rotation: [0, 1, 2].flatMap((i) =>
      [0, 1, 2].map((j) => a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j]),
    ),
    translation: turn(a, before.translation).map((x, k) => after.scale * x + after.translation[k]),
    scale: after.scale * before.scale,
  };
}

/**
 * From the frame nerfstudio trains and exports splats in to that of transforms.json. Training sees scale · (T x) of original
 * coordinates x; transforms.json holds those after `applied_transform` and `applied_scale`, which T and scale include.
 * @param dataparser contents of dataparser_transforms.json: { transform: 3 × 4, scale }
 * @param applied `applied_transform` (3 × 4) and `applied_scale` of transforms.json, where it has them
 * @throws SceneError, beginning with `name`, when something has another form
 */
export function inverseOfDataparser(
  dataparser: unknown,
  applied: { readonly transform?: unknown; readonly scale?: unknown } = {},
  name = 'dataparser_transforms.json',
): Similarity {
  if (typeof dataparser !== 'object' || dataparser === null) {
    throw new SceneError(`${name}: expected { transform, scale }, got ${JSON.stringify(dataparser)}`);
  }
  const { transform, scale } = dataparser as { transform?: unknown; scale?: unknown };
  const trained = rigidOf(transform, `${name}: transform`);
  const none = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]];
  const saved = rigidOf(applied.transform ?? none, `${name}: applied_transform`);
  // What training itself scaled by: positions come back in the units of transforms.json.
  const factor = positive(scale, `${name}: scale`) / positive(applied.scale ?? 1, `${name}: applied_scale`);
  const training = { ...trained, translation: trained.translation.map((x) => factor * x), scale: factor };
  return composeSimilarities(saved, inverseSimilarity(training));
}

function positive(value: unknown, what: string): number {
  if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) {
    throw new SceneError(`${what} is ${JSON.stringify(value)}, expected a number above 0`);
  }
  return value;
}

function rigidOf(value: unknown, what: string): { rotation: number[]; translation: number[]; scale: 1 } {
  const rows = Array.isArray(value) ? (value as unknown[]) : [];
  const numbers = rows.slice(0, 3).flatMap((row) => (Array.isArray(row) && row.length === 4 ? (row as unknown[]) : []));
  if (rows.length > 4 || numbers.length !== 12 || !numbers.every(Number.isFinite)) {
    throw new SceneError(`${what} is not a 3 × 4 matrix of numbers`);
  }
  const m = numbers as number[];
  const rotation = [m[0], m[1], m[2], m[4], m[5], m[6], m[8], m[9], m[10]];
  try {
    return { rotation: checkedRotation(rotation, what), translation: [m[3], m[7], m[11]], scale: 1 };
  } catch (error) {
    throw new SceneError(`${what} holds no rotation`, { cause: error });
  }
}

function turn(r: readonly number[], v: readonly number[]): number[] {
  return [0, 1, 2].map((k) => r[3 * k] * v[0] + r[3 * k + 1] * v[1] + r[3 * k + 2] * v[2]);
}

/** @throws ShapeError unless R Rᵀ = 1 and det R = 1 */
function checkedRotation(r: readonly number[], what: string): number[] {
  if (r.length !== 9 || !r.every(Number.isFinite)) throw new ShapeError(`${what}: expected 9 finite numbers, row-major`);
  let worst = 0;
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) {
      const dot = r[3 * i] * r[3 * j] + r[3 * i + 1] * r[3 * j + 1] + r[3 * i + 2] * r[3 * j + 2];
      worst = Math.max(worst, Math.abs(dot - (i === j ? 1 : 0)));
    }
  }
  const determinant =
    r[0] * (r[4] * r[8] - r[5] * r[7]) - r[1] * (r[3] * r[8] - r[5] * r[6]) + r[2] * (r[3] * r[7] - r[4] * r[6]);
  if (worst > rotationTolerance || determinant < 0) {
    throw new ShapeError(`${what}: not a rotation (R Rᵀ is ${worst.toExponential(1)} off 1, det ${determinant.toFixed(3)})`);
  }
  return [...r];
}
