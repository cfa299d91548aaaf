/** Noise levels of rectified flow: sigma runs from 1 (noise) to 0 (image), x_sigma = (1 - sigma) x_0 + sigma noise. */
import { ConfigError } from '../binding/errors';

/** How far the schedule is shifted towards noise, as a line through two token counts (FLUX's scheduler_config.json). */
export interface ShiftLine {
  baseShift: number;
  maxShift: number;
  baseTokens: number;
  maxTokens: number;
}

export const fluxShift: ShiftLine = { baseShift: 0.5, maxShift: 1.15, baseTokens: 256, maxTokens: 4096 };

/** mu for a number of TARGET tokens; reference and text tokens do not count. Not clamped: larger images shift further. */
export function shiftMu(targetTokens: number, line: ShiftLine = fluxShift): number {
  const slope = (line.maxShift - line.baseShift) / (line.maxTokens - line.baseTokens);
  return line.baseShift + slope * (targetTokens - line.baseTokens);
}

/**
 * `steps + 1` sigmas, the first 1, the last 0: s_i = 1 - i/steps, sigma_i = e^mu / (e^mu + 1/s_i - 1).
 * @throws ConfigError when `steps` is not a positive integer
 */
export function flowSigmas(steps: number, mu: number): number[] {
  if (!Number.isInteger(steps) || steps < 1) throw new ConfigError(`flow schedule: expected at least one step, got ${steps}`);
  const shift = Math.exp(mu);
  const sigmas = Array.from({ length: steps }, (_, i) => shift / (shift + (1 / (1 - i / steps) - 1)));
  return [...sigmas, 0];
}
