import { z } from 'zod';
import { ConfigError } from '../binding/errors';
import { deviceSetting, overwriteSetting, pathSetting, threadsSetting } from './common';
import { readConfigFile, resolveSettings } from './resolve';
import type { Section, Sources } from './resolve';
import { trainSchema } from './train';
import type { TrainSettings } from './train';

const partialTrain = z.record(z.string(), z.unknown());
const variantName = z.string().regex(/^[a-z0-9][a-z0-9.-]*$/i, 'expected a name of letters, digits, "-" and "."');

/** Settings of `rl3dedit eval`: several training runs that differ in a few settings each. */
export const evalSchema = z.strictObject({
  out: pathSetting().describe('folder of the runs and the table'),
  base: partialTrain.describe('settings that all runs share, as in a run file'),
  seeds: z
    .array(z.number().int().min(0).max(Number.MAX_SAFE_INTEGER))
    .min(1, 'expected a seed')
    .default([0])
    .describe('each variant is trained once with each'),
  variants: z.record(variantName, partialTrain.nullable()).describe('settings by which each variant differs'),
  device: deviceSetting.optional(),
  threads: threadsSetting.optional(),
  overwrite: overwriteSetting,
});

export interface EvalRun {
  variant: string;
  seed: number;
  settings: TrainSettings;
}

export interface EvalSettings {
  out: string;
  seeds: readonly number[];
  overwrite: boolean;
  /** Variant by variant, all seeds of one after the other. */
  runs: readonly EvalRun[];
}

/** Set by `rl3dedit eval` itself for every run. */
const managed = ['out', 'seed', 'overwrite'] as const;

/**
 * Settings of every run of an ablation file, checked before anything is loaded.
 * @throws ConfigError naming file, line and setting; UsageError for a bad flag
 */
export function resolveEval(path: string, sources: Omit<Sources, 'file' | 'sections'> = {}): EvalSettings {
  const file = readConfigFile(path);
  const { settings } = resolveSettings(evalSchema, { ...sources, sections: [{ file, at: [] }] });
  const { out, seeds, overwrite } = settings;
  const names = Object.keys(settings.variants);
  const refuse = (at: readonly string[], message: string): never => {
    throw new ConfigError(`${path}:${file.line(at)}: ${at.join('.')}: ${message}`);
  };
  if (names.length === 0) refuse(['variants'], 'expected a variant, as "full: {}"');
  if (new Set(seeds).size < seeds.length) refuse(['seeds'], 'the same seed twice');
  for (const at of [['base'], ...names.map((name) => ['variants', name])]) {
    const given = at.length === 1 ? settings.base : (settings.variants[at[1]] ?? {});
    for (const key of managed) if (key in given) refuse([...at, key], 'is set by eval for each run');
  }
  const runs = names.flatMap((variant) =>
    seeds.map((seed): EvalRun => {
      const sections: Section[] = [
        { file, at: ['base'] },
        { file, at: ['variants', variant] },
      ];
      const flags = { out: `${out}/${variant}/seed-${seed}`, seed, device: settings.device, threads: settings.threads };
      return { variant, seed, settings: resolveSettings(trainSchema, { sections, flags }).settings };
    }),
  );
  return { out, seeds, overwrite, runs };
}
