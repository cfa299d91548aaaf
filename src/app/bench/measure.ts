/** Timing of work on a device. */
import { performance } from 'node:perf_hooks';
import { AbortError } from '../../binding/errors';
import type { BenchCase } from '../../report/bench-report';
import type { Device } from '../../tensor/device';

const mostSamples = 2000;

/** Calls without a time, and the fewest that are timed. */
export interface Repeats {
  warmUps: number;
  fewest: number;
}

const usual: Repeats = { warmUps: 2, fewest: 3 };

/** Sorted milliseconds of `sample` calls: warm-up, then until `seconds` are spent, at least `fewest`. @throws AbortError */
export async function timesOf(
  sample: () => Promise<number>,
  seconds: number,
  signal: AbortSignal,
  { warmUps, fewest }: Repeats = usual,
): Promise<number[]> {
  const times: number[] = [];
  const poll = (): void => {
    if (signal.aborted) throw new AbortError();
  };
  for (let i = 0; i < warmUps; i++) {
    poll();
    await sample();
  }
  const stop = performance.now() + 1000 * seconds;
  while (times.length < fewest || (performance.now() < stop && times.length < mostSamples)) {
    poll();
    times.push(await sample());
  }
  return times.sort((a, b) => a - b);
}

/** Milliseconds of `step` (which frees what it makes) from the first call until the device has run it. */
export function deviceTimes(device: Device, step: () => void, seconds: number, signal: AbortSignal): Promise<number[]> {
  return timesOf(
    async () => {
      const begun = performance.now();
      step();
      await device.sync();
      return performance.now() - begun;
    },
    seconds,
    signal,
  );
}

/** @param sorted in rising order, not empty */
export function quantiles(sorted: readonly number[]): BenchCase['ms'] {
  const at = (q: number): number => sorted[Math.round(q * (sorted.length - 1))];
  return { p10: at(0.1), p50: at(0.5), p90: at(0.9) };
}
