import { photometricLoss, sfmReading, sfmTerm, warpTerm } from '../../src/rewards';
import { Rng } from '../../src/scene/procedural';
import { blurred, flat, groupOf, toyReading, views, world } from '../reward-group';

const at = world(3);

describe('warp control', () => {
  it('likes blur better than detail that differs from view to view, and empty views best: its hack', async () => {
    const rng = new Rng(7, 99);
    const detailed = at.edit.map((image) => ({ ...image, data: image.data.map((value) => value + rng.range(-0.2, 0.2)) }));
    const rollouts = [detailed, detailed.map((image) => blurred(image, 3)), at.edit.map(() => flat(0.5))];
    const [sharp, blur, grey] = await warpTerm(1).score(groupOf(rollouts, at));
    expect(blur).toBeGreaterThan(sharp);
    expect(grey).toBeGreaterThan(blur);
    expect(grey).toBeCloseTo(1, 12);
  });

  it('sees views that disagree, whatever the scale of the depth', () => {
    const reading = toyReading(at.edit, at);
    const scaled = {
      ...reading,
      worldToCam: reading.worldToCam.map((m) => m.map((x, i) => (i % 4 === 3 ? 0.1 * x : x))),
      depthMap: { ...reading.depthMap!, data: reading.depthMap!.data.map((z) => 0.1 * z) },
    };
    const { loss, coverage } = photometricLoss(at.edit, at.cameras, reading);
    expect(photometricLoss(at.edit, at.cameras, scaled).loss).toBeCloseTo(loss, 4);
    expect(Math.min(...coverage)).toBeGreaterThan(0.2);
    const mixed = at.edit.map((image, v) => (v % 2 === 0 ? image : at.otherEdit[v]));
    expect(photometricLoss(mixed, at.cameras, reading).loss).toBeGreaterThan(1.1 * loss);
  });

  it('is NaN without overlap, and asks for depth', () => {
    const reading = toyReading(at.edit, at);
    const nowhere = { ...reading, depthMap: { ...reading.depthMap!, data: reading.depthMap!.data.map(() => NaN) } };
    expect(photometricLoss(at.edit, at.cameras, nowhere).loss).toBeNaN();
    expect(() => photometricLoss(at.edit, at.cameras, { ...reading, depthMap: undefined })).toThrow(/no depth map/);
  });
});

describe('SfM control', () => {
  it('registers views of one scene, none without texture, fewer under wrong cameras', async () => {
    const right = sfmReading(at.before, at.cameras);
    expect(right.registered).toBeGreaterThan(0);
    expect(right.meanErrorPx).toBeLessThan(2);
    const turned = sfmReading([...at.before].reverse(), at.cameras);
    const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);
    expect(sum(turned.tracks)).toBeLessThan(sum(right.tracks));
    expect(sfmReading(at.before.map(() => flat(0.5)), at.cameras)).toEqual({ registered: 0, meanErrorPx: 0, tracks: new Array(views).fill(0) });
    const [value, none] = await sfmTerm(1).score(groupOf([at.before, at.before.map(() => flat(0.5))], at));
    expect(value).toBeCloseTo((right.registered / views) * Math.exp(-right.meanErrorPx), 12);
    expect(none).toBe(0);
  });
});
