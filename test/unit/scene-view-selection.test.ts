import { ConfigError, SceneError } from '../../src/binding/errors';
import { cameraArc, lookAtPoint, upAxis } from '../../src/scene/arc';
import { Camera, multiply, worldToCamFromOpenGl } from '../../src/scene/cameras';
import type { Scene, ScenePoints } from '../../src/scene/scene';
import { angleBetween } from '../../src/scene/vec3';
import { selectViews, ViewSelection } from '../../src/scene/view-selection';
import { orbitPose } from '../scene-fixtures';

const cameraAt = (azimuth: number, elevation = 20, distance = 4): Camera => ({
  width: 64, height: 64, fx: 64, fy: 64, cx: 32, cy: 32,
  worldToCam: worldToCamFromOpenGl(orbitPose(azimuth, elevation, distance).flat()),
});

const sceneOf = (cameras: readonly Camera[], points?: ScenePoints): Scene => ({
  name: 'test', root: '/nowhere', format: 'nerfstudio', points, warnings: [],
  views: cameras.map((camera, i) => ({ name: `v${i}`, imagePath: `/nowhere/v${i}.png`, camera })),
});

/** Azimuths in an order that has nothing to do with the arc. */
const shuffled = (azimuths: readonly number[]): number[] =>
  azimuths.map((_, i) => azimuths[(i * 17 + 3) % azimuths.length]);
const range = (count: number, from: number, step: number): number[] =>
  Array.from({ length: count }, (_, i) => from + i * step);
const steps = (values: readonly number[]): number[] => values.slice(1).map((v, i) => v - values[i]);

/** Points on a unit sphere around the origin. */
function spherePoints(count: number): ScenePoints {
  const positions = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) {
    const z = 1 - (2 * (i + 0.5)) / count;
    const a = i * 2.399963;
    positions.set([Math.sqrt(1 - z * z) * Math.cos(a), Math.sqrt(1 - z * z) * Math.sin(a), z], 3 * i);
  }
  return { count, positions };
}

describe('arc', () => {
  test('look-at point and up axis of an orbit are exact; a stray camera hardly moves them', () => {
    const cameras = range(12, 0, 30).map((a) => cameraAt(a));
    lookAtPoint(cameras).forEach((x) => expect(Math.abs(x)).toBeLessThan(1e-9));
    upAxis(cameras).forEach((x, i) => expect(x).toBeCloseTo([0, 0, 1][i], 9));
    const stray: Camera = { ...cameraAt(0), worldToCam: worldToCamFromOpenGl(orbitPose(77, 0, 4).flat()) };
    stray.worldToCam[3] += 3;
    lookAtPoint([...cameras, stray]).forEach((x) => expect(Math.abs(x)).toBeLessThan(0.05));
  });

  test('up follows the cameras whatever the world axes are', () => {
    // The same orbit with its axis turned onto -x.
    const turn = [0, 0, -1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1];
    const cameras = range(5, 10, 12).map((a) => {
      const pose = orbitPose(a, 25, 3).flat();
      const turned = multiply(turn, pose);
      return { ...cameraAt(0), worldToCam: worldToCamFromOpenGl(turned) };
    });
    expect(angleBetween(upAxis(cameras), [-1, 0, 0])).toBeLessThan(0.02);
  });

  test('parallel cameras look at the median depth of the points', () => {
    const cameras = [0, 1, 2].map((x) => {
      const worldToCam = Float64Array.from([1, 0, 0, -x, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
      return { ...cameraAt(0), worldToCam };
    });
    const points = { count: 3, positions: Float32Array.from([0, 0, 5, 0, 0, 6, 0, 0, 9]) };
    lookAtPoint(cameras, points).forEach((x, i) => expect(x).toBeCloseTo([1, 0, 6][i], 9));
    expect(lookAtPoint(cameras)[2]).toBeCloseTo(3, 9);
  });

  test('the largest gap is at the ends', () => {
    // An arc of 200 degrees across the ±180 seam.
    const azimuths = shuffled(range(21, 100, 10));
    const arc = cameraArc(azimuths.map((a) => cameraAt(a)));
    expect(arc.order.map((i) => azimuths[i])).toEqual(range(21, 100, 10));
    // The mean up of an open arc leans a little and tilts the axis with it: 0.0403 degrees seen.
    const worst = Math.max(...arc.positionsDeg.map((p, k) => Math.abs(p - 10 * k)));
    expect(worst).toBeLessThan(0.0423);
    expect(arc.outward).toBe(false);
  });
});

describe('selection', () => {
  const pick = (
    azimuths: readonly number[], options = {}, points?: ScenePoints,
  ): { azimuths: number[]; selection: ViewSelection } => {
    const selection = selectViews(sceneOf(azimuths.map((a) => cameraAt(a)), points), options);
    return { azimuths: selection.indices.map((i) => azimuths[i]), selection };
  };

  test('an open arc is sampled from end to end, evenly, in arc order', () => {
    const { azimuths, selection } = pick(shuffled(range(33, -80, 5)));
    expect(azimuths).toEqual(range(9, -80, 20));
    expect(selection.duplicateOf).toEqual(Array(9).fill(null));
    selection.neighbours.forEach((n) => expect(n.angleDeg).toBeLessThan(20));
    expect(selection.warnings).toEqual([]);
  });

  test('a full orbit is sampled all the way round', () => {
    const { azimuths } = pick(shuffled(range(72, 0, 5)));
    const unrolled = azimuths.map((a) => (a < azimuths[0] ? a + 360 : a));
    steps(unrolled).forEach((s) => expect(s).toBe(40));
  });

  test('uneven density does not draw the views together', () => {
    const dense = [...range(40, 0, 1), ...range(8, 50, 10)];
    steps(pick(dense).azimuths).forEach((s) => expect(Math.abs(s - 15)).toBeLessThanOrEqual(5));
  });

  test('few views of a wide orbit keep enough overlap instead of spreading out', () => {
    const { azimuths } = pick(range(72, 0, 5), { views: 4 });
    const ends = azimuths.slice(0, 4);
    steps(ends).forEach((s) => expect(s).toBe(45));
  });

  test('cameras far off the common height or distance are avoided', () => {
    const cameras = [...range(40, 0, 4).map((a) => cameraAt(a)), ...range(20, 2, 8).map((a) => cameraAt(a, 75, 12))];
    const { indices } = selectViews(sceneOf(cameras));
    expect(indices.every((i) => i < 40)).toBe(true);
  });

  test('sparse points give the shared part, and opposite views share nothing', () => {
    const { selection } = pick(range(33, -80, 5), {}, spherePoints(500));
    selection.neighbours.forEach((n) => expect(n.sharedPoints).toBeGreaterThan(0.9));
    const opposite = pick([0, 180], {}, spherePoints(500)).selection;
    expect(opposite.neighbours[0].sharedPoints).toBe(0);
    expect(opposite.warnings.join()).toMatch(/overlap little: 140 degrees apart and 0 % shared points/);
  });

  test('too few views are repeated back and forth, and the repeats are recorded', () => {
    const { selection } = pick([0, 20, 40, 60]);
    expect(selection.indices).toEqual([0, 1, 2, 3, 2, 1, 0, 1, 2]);
    expect(selection.duplicateOf).toEqual([null, null, null, null, 2, 1, 0, 1, 2]);
    expect(selection.neighbours).toHaveLength(3);
    expect(selection.warnings[0]).toMatch(/has 4 views, fewer than the 9 wanted/);
    expect(pick(range(30, 0, 5), { views: 2 }).selection.duplicateOf).toEqual([null, null, 0, 1, 0, 1, 0, 1, 0]);
    expect(pick([12]).selection.indices).toEqual(Array(9).fill(0));
    // One view of many is the middle of the arc.
    expect(pick(range(31, 0, 5), { views: 1, cells: 1 }).azimuths).toEqual([75]);
  });

  test('the same scene gives the same views whatever the order of its frames', () => {
    const azimuths = range(41, 3, 4.3);
    expect(pick(shuffled(azimuths)).azimuths).toEqual(pick(azimuths).azimuths);
  });

  test("the user's own views, by name or index, in the user's order", () => {
    const scene = sceneOf(range(12, 0, 10).map((a) => cameraAt(a)));
    expect(selectViews(scene, { choose: ['v7', 2, 'v11'], cells: 4 }).indices).toEqual([7, 2, 11, 2]);
    expect(() => selectViews(scene, { choose: ['v99'] })).toThrow(
      /no view "v99"; it has 12, index 0 to 11, named v0, v1, v2/,
    );
    expect(() => selectViews(scene, { choose: [12] })).toThrow(ConfigError);
    expect(() => selectViews(scene, { choose: [1, 'v1'] })).toThrow(/v1 is listed twice/);
    expect(() => selectViews(scene, { choose: [] })).toThrow(/0 views were listed/);
    expect(() => selectViews(scene, { choose: [1], views: 3 })).toThrow(ConfigError);
  });

  test('cameras on one pole, on one spot, or looking outward still give views', () => {
    const pole = sceneOf(range(30, 0, 2).map((e) => cameraAt(0, e)));
    expect(new Set(selectViews(pole).indices).size).toBe(9);
    const spot = sceneOf(range(10, 0, 0).map(() => cameraAt(5)));
    expect(new Set(selectViews(spot).indices).size).toBe(9);
    const outward = range(72, 0, 5).map((a) => {
      const pose = orbitPose(a, 0, -0.5).flat();
      return { ...cameraAt(0), worldToCam: worldToCamFromOpenGl(pose) };
    });
    expect(cameraArc(outward).outward).toBe(true);
    expect(selectViews(sceneOf(outward)).neighbours.every((n) => Math.abs(n.angleDeg - 40) < 1e-6)).toBe(true);
  });

  test('a thousand cameras are searched in a moment', () => {
    const start = performance.now();
    const { azimuths } = pick(shuffled(range(1001, 0, 0.16)), {}, spherePoints(3000));
    expect(performance.now() - start).toBeLessThan(5000);
    steps(azimuths).forEach((s) => expect(Math.abs(s - 20)).toBeLessThan(1));
  });

  test('counts that make no sense, and a scene without views', () => {
    const scene = sceneOf([cameraAt(0)]);
    for (const views of [0, -1, 10, 2.5, NaN]) expect(() => selectViews(scene, { views })).toThrow(ConfigError);
    expect(() => selectViews(scene, { cells: 0 })).toThrow(ConfigError);
    expect(() => selectViews(sceneOf([]))).toThrow(SceneError);
  });
});
