import { createCloud, SH_Y0 } from '../../src/scene/gaussians/cloud';
import { colourMap, mapColours, removeTint, tintsOf, withoutTint } from '../../src/scene/gaussians/colour-map';
import { isColourMap } from '../../src/scene/gaussians/edit-mask';
import type { Image } from '../../src/scene';
import { Rng } from '../../src/scene/procedural';

const size = 24;
const pixels = size * size;
const warm = [0.4, 0.5, 0.1, 0.05, 0.3, 0.4, 0.1, 0.02, 0.2, 0.2, 0.3, 0.01];

/** Smooth colours away from 0 and 1. */
function picture(seed: number): Image {
  const rng = new Rng(seed, 401);
  const waves = [0, 1, 2].map(() => [rng.range(2, 9), rng.range(2, 9), rng.range(0, 6)]);
  const data = Float32Array.from({ length: 3 * pixels }, (_, i) => {
    const [a, b, c] = waves[Math.floor(i / pixels)];
    const p = i % pixels;
    return 0.5 + 0.3 * Math.sin((a * (p % size)) / size + (b * Math.floor(p / size)) / size + c);
  });
  return { width: size, height: size, data };
}

function mapped({ data, ...rest }: Image, map: readonly number[], shift: readonly number[] = [0, 0, 0]): Image {
  const out = data.map((_, i) => {
    const [c, p] = [Math.floor(i / pixels), i % pixels];
    return map[4 * c] * data[p] + map[4 * c + 1] * data[pixels + p] + map[4 * c + 2] * data[2 * pixels + p] + map[4 * c + 3] + shift[c];
  });
  return { ...rest, data: out };
}

const before = [1, 2, 3].map(picture);
const after = before.map((image) => mapped(image, warm));
const worst = (a: ArrayLike<number>, b: ArrayLike<number>): number => Math.max(...Array.from(a, (x, i) => Math.abs(x - b[i])));

test('finds the map of colours that was applied, up to its ridge', () => {
  // Worst 0.0154: the ridge holds what these pictures hardly tell.
  expect(worst(colourMap(before, after), warm)).toBeLessThan(0.0162);
  expect(worst(mapped(before[0], colourMap(before, after)).data, after[0].data)).toBeLessThan(6.7e-3);
});

test('looks at the pixels of the masks alone', () => {
  const half = before.map(() => Float32Array.from({ length: pixels }, (_, i) => (i < pixels / 2 ? 1 : 0)));
  const partly = after.map((image, v) => ({ ...image, data: image.data.map((x, i) => (i % pixels < pixels / 2 ? x : before[v].data[i])) }));
  expect(worst(colourMap(before, partly, half), warm)).toBeLessThan(0.02);
  expect(worst(colourMap(before, partly), warm)).toBeGreaterThan(0.1);
});

test('maps every coefficient as it maps the colour', () => {
  const cloud = createCloud(2, 1);
  cloud.sh0.set([0.3, -0.2, 0.5, 0.3, -0.2, 0.5]);
  cloud.shRest.set(Array.from({ length: 18 }, (_, i) => Math.sin(i)));
  const { sh0, shRest, means } = mapColours(cloud, warm, [1, 0]);
  const colour = (from: Float32Array, rest: Float32Array, basis: readonly number[]): number[] =>
    [0, 1, 2].map((c) => 0.5 + SH_Y0 * from[c] + basis.reduce((sum, y, k) => sum + y * rest[3 * k + c], 0));
  const basis = [0.1, -0.3, 0.2];
  const old = colour(cloud.sh0, cloud.shRest, basis);
  const wanted = [0, 1, 2].map((c) => warm[4 * c] * old[0] + warm[4 * c + 1] * old[1] + warm[4 * c + 2] * old[2] + warm[4 * c + 3]);
  expect(worst(colour(sh0, shRest, basis), wanted)).toBeLessThan(1e-6);
  expect([sh0.slice(3), shRest.slice(9)]).toEqual([cloud.sh0.slice(3), cloud.shRest.slice(9)]);
  expect(means).toBe(cloud.means);
});

test('takes the tints of views away and leaves what they share', () => {
  const shifts = [[0.06, -0.04, 0.02], [-0.03, 0.05, -0.06], [-0.03, -0.01, 0.04]];
  const tinted = before.map((image, v) => mapped(image, warm, shifts[v]));
  const steady = withoutTint(tinted, after);
  steady.forEach((image, v) => expect(worst(image.data, after[v].data)).toBeLessThan(1e-5));
  expect(Math.max(...tinted.map((image, v) => worst(image.data, after[v].data)))).toBeGreaterThan(0.059);
});

test('leaves a picture alone that what was expected does not explain', () => {
  const other = picture(77);
  const random = { ...other, data: Float32Array.from({ length: 3 * pixels }, (_, i) => 0.5 + 0.4 * Math.sin(i * i)) };
  expect(worst(removeTint(random, tintsOf(random, other)).data, random.data)).toBeLessThan(0.02);
});

test('tells an edit of whole pictures from one of a part', () => {
  const local = before.map((image, v) => ({ ...image, data: image.data.map((x, i) => (i % pixels < pixels / 3 ? after[v].data[i] : x)) }));
  expect([isColourMap(before, after), isColourMap(before, local)]).toEqual([true, false]);
});
