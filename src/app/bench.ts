/** Measures the networks and the two ops they live on, on one device, and compares with what was recorded for it. */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { AbortError, ConfigError, OutputError } from '../binding/errors';
import type { BenchSettings } from '../config/bench';
import { changeOf, gbsOf, gflopsOf, mismatch, passes, regressionShare, renderBenchReport } from '../report/bench-report';
import type { BenchCase, BenchResult } from '../report/bench-report';
import { Device } from '../tensor/device';
import type { Bench } from './bench/cases';
import { editBench } from './bench/edit';
import { baselinePath, benchEnvironment } from './bench/environment';
import { denoiseStepBench, fluxBackwardBench, fluxForwardBench, hostOverheadBench } from './bench/flux';
import { attentionBench, gemmBench } from './bench/products';
import { splatFitBench } from './bench/splat-fit';
import { trainUpdateBench } from './bench/train-update';
import { vaeBench, vggtForwardBench } from './bench/verifier';
import type { AppContext, AppEvent } from './events';

/** All benches, in the order they are run. */
export const benches: readonly Bench[] = [
  hostOverheadBench,
  gemmBench,
  attentionBench,
  fluxForwardBench,
  fluxBackwardBench,
  vggtForwardBench,
  vaeBench,
  denoiseStepBench,
  trainUpdateBench,
  splatFitBench,
  editBench,
];

export interface BenchRunResult extends BenchResult {
  out?: string;
  summary: string[];
  [key: string]: unknown;
}

/**
 * Runs the named benches (all without names) and yields each case's median. With `out`, writes bench.json and bench.html there;
 * with `saveBaseline`, records the run for this device: cases of other benches recorded earlier are kept.
 * @throws ConfigError for an unknown name, OutputError, AbortError, and what opening the device or loading the model throws
 */
export async function* bench(settings: BenchSettings, { signal }: AppContext): AsyncGenerator<AppEvent, BenchRunResult> {
  const chosen = chooseBenches(settings.names);
  const given = settings.baseline === undefined ? undefined : await readBaseline(settings.baseline);
  if (settings.baseline !== undefined && given === undefined) throw new ConfigError(`baseline: there is no ${settings.baseline}`);
  if (settings.out !== undefined) await makeFolder(settings.out);
  const device = Device.open(settings.device);
  try {
    const environment = benchEnvironment(device);
    const recorded = await readBaseline(baselinePath(environment));
    const baseline = given ?? recorded;
    const dtype = settings.dtype ?? (device.defaultDtype as 'f32' | 'bf16');
    const cases: BenchCase[] = [];
    for (const [index, { name, run }] of chosen.entries()) {
      if (signal.aborted) throw new AbortError();
      yield { type: 'stage', name, index, count: chosen.length };
      for (const one of await run({ device, dtype, settings, signal })) {
        cases.push(one);
        yield { type: 'metric', name: `${one.name} ${one.dtype} ms`, value: one.ms.p50 };
      }
    }
    const measured: BenchResult = { environment, cases };
    const differs = baseline && mismatch(environment, baseline.environment);
    if (differs !== undefined) yield { type: 'note', message: `not compared with the baseline: ${differs}` };
    const compared = differs === undefined ? baseline : undefined;
    const { out } = settings;
    if (out !== undefined) await writeReport(out, measured, compared);
    if (settings.saveBaseline) {
      const file = baselinePath(environment);
      await writeJson(file, merged(measured, recorded));
      yield { type: 'note', message: `baseline recorded: ${file}` };
    }
    const summary = [...cases.map((one) => summaryLine(one, compared)), ...(out === undefined ? [] : [`report: ${path.join(out, 'bench.html')}`])];
    const result: BenchRunResult = { ...(out === undefined ? {} : { out }), summary, ...measured };
    yield { type: 'done', result };
    return result;
  } finally {
    device.dispose();
  }
}

/** @throws ConfigError naming the benches there are */
export function chooseBenches(names: readonly string[]): readonly Bench[] {
  const unknown = names.find((name) => !benches.some((one) => one.name === name));
  if (unknown !== undefined) {
    const known = benches.map(({ name, describe }) => `  ${name}: ${describe}`);
    throw new ConfigError(`there is no bench '${unknown}', expected some of\n${known.join('\n')}`);
  }
  return names.length === 0 ? benches : benches.filter(({ name }) => names.includes(name));
}

/** One line for people: `gemm 1024 f32  18.2 ms (17.9 to 19.0)  118 GFLOP/s`. */
export function summaryLine(one: BenchCase, baseline?: BenchResult): string {
  const { name, dtype, ms, samples, figures = {}, parts = {}, limit } = one;
  const show = (value: number): string => String(Number(value.toPrecision(3)));
  const words = [`${name} ${dtype}`, samples > 1 ? `${show(ms.p50)} ms (${show(ms.p10)} to ${show(ms.p90)})` : `${show(ms.p50)} ms`];
  const [gflops, gbs, change] = [gflopsOf(one), gbsOf(one), changeOf(one, baseline)];
  if (gflops !== undefined) words.push(`${show(gflops)} GFLOP/s`);
  else if (gbs !== undefined) words.push(`${show(gbs)} GB/s`);
  for (const [figure, value] of Object.entries(figures)) words.push(`${show(value)} ${figure}`);
  for (const [part, value] of Object.entries(parts)) words.push(`${part} ${show(value)}`);
  if (limit) words.push(`${passes(one) ? 'within' : 'ABOVE'} ${show(limit.ms)} ms: ${limit.what}`);
  if (change !== undefined) words.push(`${change > regressionShare ? 'SLOWER ' : ''}${change >= 0 ? '+' : ''}${show(100 * change)} % against the baseline`);
  return words.join('  ');
}

/** The run with the cases of the earlier record that it did not measure again, if both are of the same machine. */
export function merged(run: BenchResult, recorded: BenchResult | undefined): BenchResult {
  if (!recorded || mismatch(run.environment, recorded.environment) !== undefined) return run;
  const again = (old: BenchCase): boolean => run.cases.some(({ name, dtype }) => name === old.name && dtype === old.dtype);
  return { environment: run.environment, cases: [...recorded.cases.filter((old) => !again(old)), ...run.cases] };
}

/** Undefined when there is no such file. @throws ConfigError when it is not the JSON of a run */
async function readBaseline(file: string): Promise<BenchResult | undefined> {
  let text: string;
  try {
    text = await fs.readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new ConfigError(`baseline: ${file} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  try {
    const { environment, cases } = JSON.parse(text) as BenchResult;
    if (typeof environment.deviceName !== 'string' || !cases.every(({ name, ms }) => typeof name === 'string' && ms.p50 > 0)) {
      throw new TypeError('environment or cases are incomplete');
    }
    return { environment, cases };
  } catch (error) {
    throw new ConfigError(`baseline: ${file} is not a bench.json: ${(error as Error).message}`, { cause: error });
  }
}

async function makeFolder(folder: string): Promise<void> {
  try {
    await fs.mkdir(folder, { recursive: true });
    await fs.access(folder, fs.constants.W_OK);
  } catch (error) {
    throw new OutputError(`out: cannot write into ${folder}: ${(error as Error).message}`, { cause: error });
  }
}

async function writeReport(out: string, result: BenchResult, baseline: BenchResult | undefined): Promise<void> {
  await writeJson(path.join(out, 'bench.json'), result);
  await writeText(path.join(out, 'bench.html'), renderBenchReport(result, baseline));
}

function writeJson(file: string, value: unknown): Promise<void> {
  return writeText(file, `${JSON.stringify(value, undefined, 2)}\n`);
}

async function writeText(file: string, text: string): Promise<void> {
  try {
    await fs.mkdir(path.dirname(file), { recursive: true });
    await fs.writeFile(file, text);
  } catch (error) {
    throw new OutputError(`cannot write ${file}: ${(error as Error).message}`, { cause: error });
  }
}
