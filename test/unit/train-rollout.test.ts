/** Invariants of rollouts (method 3.7): which steps are stored, where windows lie, whose noise a rollout has. */
import { disposeBatches } from '../../src/app/train/rollout';
import { windowStart } from '../../src/app/train/window';
import { windowRange } from '../../src/config/train';
import { relative } from './flux-fixtures';
import { condition, device, group, key, policy, rolled, settingsFor, useTinyPolicy } from './train-fixtures';

useTinyPolicy();

const bits = (values: Float32Array): Buffer => Buffer.from(values.buffer, values.byteOffset, values.byteLength);

describe('a rollout', () => {
  it.each([1, 2, 3])('stores the steps of its window only, from start %d', async (start) => {
    const before = device.memory().liveTensors;
    const { batches } = await rolled(settingsFor({ window: { size: 2, first: 1, last: 3 } }), { ...key, start });
    expect(batches.map(({ first, size, steps }) => [first, size, steps.map(({ step }) => step)])).toEqual([[0, group, [start, start + 1]]]);
    const sigmas = policy.sigmas(6, condition);
    for (const { step, options, x } of batches[0].steps) {
      expect(options).toMatchObject({ kind: 'flow_sde', sigma: sigmas[step], sigmaNext: sigmas[step + 1], sigmaMax: sigmas[1] });
      expect(x.shape).toEqual([group, condition.targetTokens, policy.channels]);
      expect(x.dtype).toBe('f32');
    }
    // What one step led to is where the next begins.
    const [one, two] = batches[0].steps;
    expect(bits(await two.x.toFloat32()).equals(bits(await one.next.toFloat32()))).toBe(true);
    disposeBatches(batches);
    expect(device.memory().liveTensors).toBe(before);
  });

  it('has one prefix for the group and a window of its own for every rollout', async () => {
    const { batches, latents } = await rolled(settingsFor());
    const from = await batches[0].steps[0].x.toFloat32();
    const length = from.length / group;
    const rollout = (all: Float32Array, i: number): Buffer => bits(all.slice(i * length, (i + 1) * length));
    for (let i = 1; i < group; i++) {
      expect(rollout(from, i).equals(rollout(from, 0))).toBe(true);
      for (let j = 0; j < i; j++) expect(rollout(latents, i).equals(rollout(latents, j))).toBe(false);
    }
    disposeBatches(batches);
  });

  it.each([
    ['shared', 'independent'],
    ['shared', 'shared'],
    ['independent', 'independent'],
    ['independent', 'shared'],
  ])('is the same but for rounding however the group is cut into batches: group noise %s, views %s', async (groupNoise, noise) => {
    const whole = await rolled(settingsFor({ groupNoise, noise }));
    disposeBatches(whole.batches);
    for (const batch of [1, 2, 3]) {
      const cut = await rolled(settingsFor({ groupNoise, noise, batch }));
      expect(cut.batches.map(({ size }) => size)).toEqual({ 1: [1, 1, 1, 1], 2: [2, 2], 3: [3, 1] }[batch]);
      // The same noise; but products of another number of rows round differently. Worst seen 1.94e-7.
      expect(relative(cut.latents, whole.latents)).toBeLessThan(2.1e-7);
      disposeBatches(cut.batches);
    }
  });

  it('draws other noise for other groups, updates and seeds', async () => {
    const seen = new Set<string>();
    for (const [at, seed] of [[key, 0], [{ ...key, group: 1 }, 0], [{ ...key, update: 1 }, 0], [key, 1]] as const) {
      const { batches, latents } = await rolled(settingsFor({ seed }), at);
      disposeBatches(batches);
      seen.add(bits(latents).toString('base64'));
    }
    expect(seen.size).toBe(4);
  });
});

describe('windows', () => {
  it('stay between the first and the last step', () => {
    for (const steps of [4, 6, 12, 28]) {
      for (const size of [1, 2, 4]) {
        for (const mode of ['random', 'progressive']) {
          if (size > steps - 2) continue;
          const settings = settingsFor({ steps, window: { size, mode, every: 3 } });
          const [first, last] = windowRange(settings);
          const starts = Array.from({ length: 200 }, (_, update) => windowStart(settings, update, update % 4));
          expect(Math.min(...starts)).toBe(first);
          expect(Math.max(...starts)).toBe(last);
          expect(first).toBeGreaterThanOrEqual(1);
          expect(last + size - 1).toBeLessThanOrEqual(steps - 2);
        }
      }
    }
  });

  it('of twelve steps and four begin at 1 or 2; a progressive one goes through all and starts over', () => {
    expect(windowRange(settingsFor({ steps: 12, window: { size: 4 } }))).toEqual([1, 2]);
    const settings = settingsFor({ steps: 12, window: { size: 4, mode: 'progressive', every: 25 } });
    const starts = Array.from({ length: 200 }, (_, update) => windowStart(settings, update, 3));
    expect(starts).toEqual(Array.from({ length: 200 }, (_, update) => 1 + (Math.floor(update / 25) % 7)));
  });

  it.each([
    [{ size: 5 }, /5 stochastic steps do not fit/],
    [{ size: 2, first: 0 }, /the first step \(0\) must stay deterministic/],
    [{ size: 2, first: 3, last: 2 }, /lies before first = 3/],
    [{ size: 2, last: 4 }, /a window of 2 at step 4 reaches the last of 6 steps/],
    [{ size: 2, first: 4 }, /reaches the last of 6 steps/],
  ])('%j is refused', (window, message) => expect(() => settingsFor({ window })).toThrow(message));
});
