import { splatFitCase } from '../../src/app/bench/splat-fit';
import { benchSchema } from '../../src/config/bench';
import { Device } from '../../src/tensor/device';

const signal = new AbortController().signal;

describe('bench splat-fit', () => {
  it('times an iteration, names what its ops take, and frees its tensors', async () => {
    using device = Device.open('cpu');
    const settings = benchSchema.parse({ device: 'cpu', seconds: 0.001 });
    const size = { side: 48, count: 1500, views: 3 };
    const one = await splatFitCase({ device, dtype: 'f32', settings, signal }, size);
    expect(one).toMatchObject({ name: 'splat-fit 48 px, 1.5k', dtype: 'f32', shape: '3 views of 48×48, 1500 Gaussians of degree 3' });
    expect(one.samples).toBeGreaterThanOrEqual(3);
    expect(one.ms.p10).toBeGreaterThan(0);
    const { parts = {}, figures = {} } = one;
    expect(Object.keys(parts)).toEqual([
      'project', 'bin', 'blend', 'loss', 'blend backward', 'project backward', 'adam', 'noise', 'other',
    ]);
    for (const value of Object.values(parts)) expect(value).toBeGreaterThan(0);
    expect(Object.values(parts).reduce((sum, value) => sum + value, 0)).toBeCloseTo(one.ms.p50, 9);
    // Gaussians about a pixel wide lie in one or a few of the 3 × 3 tiles.
    expect(figures['tile pairs']).toBeGreaterThan(500);
    expect(figures['tile pairs']).toBeLessThan(9 * 1500);
    expect(device.memory().liveTensors).toBe(0);
  });

  it('stops at an abort', async () => {
    using device = Device.open('cpu');
    const settings = benchSchema.parse({ device: 'cpu', seconds: 60 });
    const aborted = AbortSignal.abort();
    const size = { side: 32, count: 100, views: 2 };
    await expect(splatFitCase({ device, dtype: 'f32', settings, signal: aborted }, size)).rejects.toThrow(/abort/i);
    expect(device.memory().liveTensors).toBe(0);
  });
});
