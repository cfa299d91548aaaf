import { updateCases, updateSettings } from '../../src/app/bench/train-update';
import { benchSchema } from '../../src/config/bench';
import { Device } from '../../src/tensor/device';

const signal = new AbortController().signal;

describe('bench train-update', () => {
  it("has the demo's settings: three groups of eight, two trained CPS steps of six, rank 16", () => {
    const settings = updateSettings('random:tiny', 3);
    expect(settings).toMatchObject({ views: 3, group: 8, groupsPerUpdate: 3, steps: 6, sde: 'cps' });
    expect(settings).toMatchObject({ anchorGuided: true, groupNoise: 'shared', window: { size: 2 }, adapter: { rank: 16 } });
  });

  it('times every phase of an update, in both precisions of products, and its parts add up', async () => {
    using device = Device.open('cpu');
    const settings = benchSchema.parse({ device: 'cpu', seconds: 0.001 });
    const full = updateSettings('random:tiny', 3);
    const small = { ...full, group: 2, groupsPerUpdate: 2, steps: 4, window: { ...full.window, size: 1 } };
    const cases = await updateCases({ device, dtype: 'f32', settings, signal }, small);
    expect(cases.map(({ name }) => name)).toEqual(['train-update, f32 products', 'train-update, bf16 products']);
    for (const { ms, samples, parts = {}, figures = {} } of cases) {
      expect(samples).toBeGreaterThanOrEqual(2);
      expect(Object.keys(parts)).toEqual(['scenes', 'conditions', 'rollouts', 'decode', 'verifier', 'rest', 'update']);
      for (const [phase, value] of Object.entries(parts)) if (phase !== 'rest') expect(value).toBeGreaterThan(0);
      const sum = Object.values(parts).reduce((total, value) => total + value, 0);
      // The clock is read just before and just after the update it times.
      expect(Math.abs(sum - ms.p50)).toBeLessThan(0.01 * ms.p50 + 1);
      expect(figures['rollouts/s']).toBeCloseTo(4000 / ms.p50, 9);
      expect(figures['rollouts/s of the transformer alone']).toBeGreaterThan(figures['rollouts/s']);
    }
  });
});
