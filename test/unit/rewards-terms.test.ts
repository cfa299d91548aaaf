import { ShapeError } from '../../src/binding/errors';
import type { RewardSettings } from '../../src/config/train';
import { anchorDistance, anchorTerm, buildRewards, depthTerm, poseTerm, scoreGroups, scoreTerms, surrogateDistance, type RewardRecipe } from '../../src/rewards';
import type { Image } from '../../src/scene';
import { blurred, flat, groupOf, toyReading, views, world } from '../reward-group';

const recipe: RewardRecipe = {
  depth: 0.25, point: 0.25, pose: 0.25, anchor: 0.25, sfm: 0, warp: 0, logConfidence: true, aggregation: 'per_reward', anchorScale: 1, custom: [],
};
const at = world(3);
/** The edit with k of the views taken from another valid edit, every second view first, never the anchor's. */
const mixed = (k: number): Image[] => {
  const odd = [1, 3, 5, 7, 0, 2, 6, 8].slice(0, k);
  return at.edit.map((image, v) => (odd.includes(v) ? at.otherEdit[v] : image));
};

describe('rewards of a group', () => {
  it('put a consistent edit over no edit, grey, blur and a mixed edit', async () => {
    const rollouts = [at.edit, at.before, at.edit.map(() => flat(0.5)), at.edit.map((image) => blurred(image, 4)), mixed(4)];
    const terms = await buildRewards(recipe);
    const [{ total, advantages }] = scoreGroups({ aggregation: 'per_reward' }, [await scoreTerms(terms, groupOf(rollouts, at))]);
    for (const other of total.slice(1)) expect(other).toBeLessThan(total[0]);
    expect(advantages[0]).toBe(Math.max(...advantages));
  });

  it('have a confidence that falls with the number of views edited otherwise', () => {
    const means = [0, 1, 2, 3, 4].map((k) => depthTerm(1, { log: true }).score({ ...groupOf([mixed(k)], at), readings: [toyReading(mixed(k), at)] }) as number[]);
    for (let k = 1; k < means.length; k++) expect(means[k][0]).toBeLessThan(means[k - 1][0]);
  });

  it('have values of the promised ranges', async () => {
    const group = groupOf([at.edit, at.before], at);
    for (const value of await depthTerm(1).score(group)) expect(value).toBeGreaterThanOrEqual(1);
    expect(await poseTerm(1).score(group)).toEqual([1, 1]);
    const anchors = await anchorTerm(1, 1, surrogateDistance()).score(group);
    expect(anchors[0]).toBe(1);
    expect(anchors[1]).toBeGreaterThan(0);
    expect(anchors[1]).toBeLessThan(0.999);
    const calibrated = await depthTerm(1, { calibrated: true }).score({ ...group, readings: [group.readingBefore, group.readings[1]] });
    expect(calibrated[0]).toBeCloseTo(1, 12);
  });

  it('follow λ, and refuse an anchor of another size', async () => {
    const group = groupOf([at.before], at);
    const [one] = await anchorTerm(1, 1, surrogateDistance()).score(group);
    const [three] = await anchorTerm(1, 3, surrogateDistance()).score(group);
    expect(three).toBeCloseTo(one ** 3, 12);
    const small = { view: 4, picture: { width: 2, height: 2, data: new Float32Array(12) } };
    await expect(async () => anchorTerm(1, 1, surrogateDistance()).score({ ...group, anchor: small })).rejects.toThrow(ShapeError);
  });

  it('are NaN where the verifier is, and then count as the lowest', async () => {
    const group = groupOf([at.edit, at.before, mixed(3)], at);
    const broken = { ...group.readings[0], depth: { mean: new Array<number>(views).fill(NaN), meanLog: new Array<number>(views).fill(NaN) } };
    const values = await scoreTerms([depthTerm(1, { log: true })], { ...group, readings: [broken, ...group.readings.slice(1)] });
    const [{ terms }] = scoreGroups({ aggregation: 'per_reward' }, [values]);
    expect(terms.depth.invalid).toBe(1);
    expect(terms.depth.used[0]).toBe(Math.min(...terms.depth.values.slice(1)));
  });

  it('are built from a run file, only those with a weight', async () => {
    const settings: Pick<RewardSettings, keyof RewardRecipe> = { ...recipe, point: 0, warp: 0.5, custom: [] };
    const terms = await buildRewards(settings);
    expect(terms.map(({ name }) => name)).toEqual(['depth', 'pose', 'anchor', 'warp']);
    expect(anchorDistance(terms)).toBe('surrogate');
    await expect(buildRewards({ ...recipe, lpips: 'missing.onnx' })).rejects.toThrow(/missing\.onnx/);
  });
});
