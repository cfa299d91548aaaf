import { SceneError, ShapeError } from '../../src/binding/errors';
import {
  inverseOfDataparser, inverseSimilarity, rotationOfHarmonics, sphericalHarmonics, transformCloud,
} from '../../src/scene/gaussians/transform';
import { matrixOf, quaternionGap, randomCloud, randomOf } from './splat-fixtures';

/** Y_lm by associated Legendre functions, with (−1)^m: independent of the polynomials of the source. */
function harmonic(l: number, m: number, [x, y, z]: readonly number[]): number {
  const a = Math.abs(m);
  const ring = Math.sqrt(x * x + y * y);
  // P_l^a without the Condon–Shortley sign, by the upward recurrence in l.
  let previous = 0;
  let current = 1;
  for (let k = 1; k <= a; k++) current *= (2 * k - 1) * ring;
  for (let k = a + 1; k <= l; k++) {
    [previous, current] = [current, ((2 * k - 1) * z * current - (k + a - 1) * previous) / (k - a)];
  }
  let ratio = 1;
  for (let k = l - a + 1; k <= l + a; k++) ratio /= k;
  const norm = Math.sqrt(((2 * l + 1) / (4 * Math.PI)) * ratio);
  const phi = Math.atan2(y, x);
  if (m === 0) return norm * current;
  return (a % 2 ? -1 : 1) * Math.SQRT2 * norm * current * (m < 0 ? Math.sin(a * phi) : Math.cos(a * phi));
}

const random = randomOf(11);
const direction = (): number[] => {
  for (;;) {
    const v = [0, 1, 2].map(() => 2 * random() - 1);
    const n = Math.hypot(...v);
    if (n > 0.1 && n < 1) return v.map((c) => c / n);
  }
};
const times = (r: readonly number[], v: readonly number[]): number[] =>
  [0, 1, 2].map((k) => r[3 * k] * v[0] + r[3 * k + 1] * v[1] + r[3 * k + 2] * v[2]);
const similarity = {
  rotation: matrixOf([0.3, -0.8, 0.4, 0.6]), translation: [3, -1, 0.5], scale: 0.37,
};

test('the basis is the real spherical harmonics, in f64', () => {
  for (let n = 0; n < 50; n++) {
    const d = direction();
    const basis = sphericalHarmonics(d[0], d[1], d[2]);
    for (let l = 0; l <= 3; l++) {
      for (let m = -l; m <= l; m++) expect(basis[l * l + l + m]).toBeCloseTo(harmonic(l, m, d), 13);
    }
  }
});

test('rotated harmonics are orthogonal matrices, and the identity leaves them alone', () => {
  rotationOfHarmonics([1, 0, 0, 0, 1, 0, 0, 0, 1]).forEach((matrix, l) => {
    const size = 2 * l + 3;
    matrix.forEach((v, k) => expect(v).toBeCloseTo(k % (size + 1) === 0 ? 1 : 0, 14));
  });
  rotationOfHarmonics(similarity.rotation).forEach((matrix, l) => {
    const size = 2 * l + 3;
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) {
        let dot = 0;
        for (let k = 0; k < size; k++) dot += matrix[i * size + k] * matrix[j * size + k];
        expect(dot).toBeCloseTo(i === j ? 1 : 0, 13);
      }
    }
  });
});

test.each([1, 2, 3])('degree %i: colour in the turned direction is the colour of before', (degree) => {
  const cloud = randomCloud(6, degree, 20 + degree);
  const rest = (degree + 1) ** 2 - 1;
  let worst = 0;
  for (const q of [[1, 0, 0, 0.2], [0.1, 1, -0.3, 0.5], [0, 0, 1, 0], [-0.5, 0.5, 0.5, 0.5]]) {
    const rotation = matrixOf(q);
    const turned = transformCloud(cloud, { ...similarity, rotation });
    const colour = (rests: Float32Array, i: number, c: number, d: readonly number[]): number => {
      let sum = 0;
      for (let l = 1; l <= degree; l++) {
        for (let m = -l; m <= l; m++) sum += rests[3 * (i * rest + l * l + l + m - 1) + c] * harmonic(l, m, d);
      }
      return sum;
    };
    for (let n = 0; n < 20; n++) {
      const d = direction();
      for (let i = 0; i < cloud.count; i++) {
        for (let c = 0; c < 3; c++) {
          worst = Math.max(worst, Math.abs(colour(turned.shRest, i, c, times(rotation, d)) - colour(cloud.shRest, i, c, d)));
        }
      }
    }
    expect(turned.sh0).toEqual(cloud.sh0);
  }
  // Coefficients are rounded to f32 once: worst seen 4.57e-8.
  expect(worst).toBeLessThan(4.8e-8);
});

test('centres, covariances and opacities follow', () => {
  const cloud = randomCloud(40, 0, 4);
  const moved = transformCloud(cloud, similarity);
  const { rotation, translation, scale } = similarity;
  for (let i = 0; i < cloud.count; i++) {
    times(rotation, [...cloud.means.slice(3 * i, 3 * i + 3)]).forEach((v, k) =>
      expect(moved.means[3 * i + k]).toBeCloseTo(scale * v + translation[k], 5),
    );
    // Axis k of the ellipsoid: s_k · column k of R(q).
    const [before, after] = [cloud, moved].map((c) => matrixOf(c.quats.subarray(4 * i, 4 * i + 4)));
    for (let k = 0; k < 3; k++) {
      expect(moved.logScales[3 * i + k]).toBeCloseTo(cloud.logScales[3 * i + k] + Math.log(scale), 5);
      times(rotation, [before[k], before[3 + k], before[6 + k]]).forEach((v, row) =>
        expect(after[3 * row + k]).toBeCloseTo(v, 5),
      );
    }
  }
  expect(moved.opacityLogits).toEqual(cloud.opacityLogits);
});

test('there and back again', () => {
  const cloud = randomCloud(100, 3, 8);
  const back = transformCloud(transformCloud(cloud, similarity), inverseSimilarity(similarity));
  let worst = 0;
  for (const field of ['means', 'logScales', 'shRest'] as const) {
    back[field].forEach((v, k) => (worst = Math.max(worst, Math.abs(v - cloud[field][k]))));
  }
  // f32 at ±20: the worst seen is one last place, 1.91e-6.
  expect(worst).toBeLessThan(2.01e-6);
  for (let i = 0; i < cloud.count; i++) {
    expect(quaternionGap(back.quats.subarray(4 * i), cloud.quats.subarray(4 * i))).toBeLessThan(3e-7);
  }
});

describe('dataparser_transforms.json', () => {
  const t = [0.5, -1, 2];
  const r = matrixOf([0.9, 0.1, -0.2, 0.4]);
  const rows = [0, 1, 2].map((k) => [...r.slice(3 * k, 3 * k + 3), t[k]]);
  const point = [1, 2, 3];

  test('its inverse brings training coordinates scale (R x + t) back', () => {
    const trained = times(r, point).map((v, k) => 0.25 * (v + t[k]));
    const { rotation, translation, scale } = inverseOfDataparser({ transform: rows, scale: 0.25 });
    times(rotation, trained).forEach((v, k) => expect(scale * v + translation[k]).toBeCloseTo(point[k], 12));
  });

  test('what ns-process-data had applied to transforms.json stays applied', () => {
    const applied = [[0, 1, 0, 0.1], [1, 0, 0, 0.2], [0, 0, -1, 0.3]];
    // Training saw 0.25 (R x + t) of saved coordinates x = A o + a; the file holds R A, R a + t and 0.25 · 2.
    const a = applied.flatMap((row) => row.slice(0, 3));
    const whole = [0, 1, 2].map((i) => [
      ...[0, 1, 2].map((j) => r[3 * i] * a[j] + r[3 * i + 1] * a[3 + j] + r[3 * i + 2] * a[6 + j]),
      times(r, applied.map((row) => row[3]))[i] + t[i],
    ]);
    const trained = times(r, point).map((v, k) => 0.25 * (v + t[k]));
    const back = inverseOfDataparser({ transform: whole, scale: 0.5 }, { transform: applied, scale: 2 });
    times(back.rotation, trained).forEach((v, k) => expect(back.scale * v + back.translation[k]).toBeCloseTo(point[k], 12));
  });

  test.each([
    ['nothing', null, {}, /expected \{ transform, scale \}/],
    ['no scale', { transform: rows }, {}, /scale is undefined/],
    ['a scale of 0', { transform: rows, scale: 0 }, {}, /scale is 0/],
    ['two rows', { transform: rows.slice(0, 2), scale: 1 }, {}, /not a 3 × 4 matrix/],
    ['a mirror', { transform: rows.map((row, k) => (k ? row : row.map((v) => -v))), scale: 1 }, {}, /holds no rotation/],
    ['words', { transform: rows, scale: 1 }, { transform: 'x' }, /applied_transform is not/],
  ])('%s is refused', (_name, file, applied, message) => {
    const attempt = (): unknown => inverseOfDataparser(file, applied);
    expect(attempt).toThrow(SceneError);
    expect(attempt).toThrow(message);
  });

  test('a similarity must be one', () => {
    const cloud = randomCloud(1, 0);
    expect(() => transformCloud(cloud, { ...similarity, scale: -1 })).toThrow(ShapeError);
    expect(() => transformCloud(cloud, { ...similarity, rotation: [2, 0, 0, 0, 1, 0, 0, 0, 1] })).toThrow(/not a rotation/);
    expect(() => transformCloud(cloud, { ...similarity, translation: [1, NaN, 0] })).toThrow(/translation/);
  });
});
