/** Trains variants of one run one after the other and compares what they reached on held-out samples. */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { AbortError, OutputError } from '../binding/errors';
import type { EvalRun, EvalSettings } from '../config/eval';
import type { TrainSettings } from '../config/train';
import { ablationMarkdown, compareSigns, summarise, writeAblationReport } from '../report/ablation';
import type { AblationRow, AblationTable } from '../report/ablation';
import { readMetrics } from '../report/metrics-file';
import type { EvaluationFigures } from '../report/metrics-file';
import type { AppContext, AppEvent } from './events';
import { writeAtomic } from './output-folder';

/** The training app, as `evaluate` needs it. */
export type TrainApp = (
  settings: TrainSettings,
  context: AppContext,
  options?: { resume?: boolean },
) => AsyncGenerator<AppEvent, unknown>;

export interface EvalResult {
  out: string;
  table: string;
  report: string;
  rows: AblationTable['rows'];
  base?: AblationTable['base'];
  signs: AblationTable['signs'];
  summary: readonly string[];
  [key: string]: unknown;
}

/** What is kept of a finished run: result.json in its folder. */
interface RunResult {
  settings: TrainSettings;
  update: number;
  evaluation: EvaluationFigures;
  baseline?: EvaluationFigures;
  stopped?: string;
}

const resultFile = 'result.json';

/**
 * Runs every variant with every seed in `out`/variant/seed-N, then writes table.json, table.md and report.html. A run
 * that is finished is kept, an unfinished one is resumed; `overwrite` starts all of them again.
 * @throws OutputError for a finished run made with other settings or one without an evaluation, and what training throws
 */
export async function* evaluate(
  settings: EvalSettings,
  { signal }: AppContext,
  { train }: { train: TrainApp },
): AsyncGenerator<AppEvent, EvalResult> {
  const { out, runs, overwrite } = settings;
  // All folders are looked at first: a conflict must not show after hours of training.
  const kept = new Map<EvalRun, RunResult>();
  for (const run of runs) {
    const result = overwrite ? undefined : await readResult(run);
    if (result) kept.set(run, result);
  }
  const results = new Map<EvalRun, RunResult>();
  for (const [index, run] of runs.entries()) {
    if (signal.aborted) throw new AbortError();
    const name = `${run.variant}, seed ${run.seed}`;
    const earlier = kept.get(run);
    yield { type: 'note', message: `[${index + 1}/${runs.length}] ${name}${earlier ? ': kept' : ''}` };
    results.set(run, earlier ?? (yield* trainOne(run, train, signal, overwrite)));
  }
  const table = tableOf(runs, results);
  await writeAtomic(path.join(out, 'table.json'), `${JSON.stringify(table, null, 2)}\n`);
  const markdown = ablationMarkdown(table);
  await writeAtomic(path.join(out, 'table.md'), markdown);
  const report = await writeAblationReport(out, table);
  const result: EvalResult = {
    out,
    table: path.join(out, 'table.json'),
    report,
    ...table,
    summary: [...markdown.trimEnd().split('\n'), '', `report: ${report}`],
  };
  yield { type: 'done', result };
  return result;
}

async function* trainOne(run: EvalRun, train: TrainApp, signal: AbortSignal, overwrite: boolean): AsyncGenerator<AppEvent, RunResult> {
  const { settings } = run;
  const begun = await isThere(path.join(settings.out, 'run.yaml'));
  const resume = begun && !overwrite;
  // A result that is about to be made again must not count as finished if this run is cut short.
  await fs.rm(path.join(settings.out, resultFile), { force: true });
  // A folder without run.yaml holds nothing that a run could go on from.
  const app = train({ ...settings, overwrite: overwrite || !begun }, { signal }, { resume });
  try {
    for (;;) {
      const next = await app.next();
      if (next.done) break;
      if (next.value.type !== 'done') yield next.value;
    }
  } finally {
    await app.return(undefined).catch(() => undefined);
  }
  const metrics = await readMetrics(settings.out);
  const last = metrics.evaluations.at(-1);
  // A policy that was stopped because it had no numbers any more has no figures either.
  const update = metrics.updates.at(-1)?.update ?? 0;
  if (!last || (last.update < update && metrics.stopped === undefined)) {
    throw new OutputError(`${settings.out}: the run has no evaluation after its last update; set evaluateEvery`);
  }
  // The base editor as measured beside the last evaluation, or before the first update.
  const baseline = last.baseline ?? metrics.evaluations.find((evaluated) => evaluated.update === 0)?.evaluation;
  const evaluation = last.update < update ? {} : last.evaluation;
  const result: RunResult = { settings, update, evaluation, baseline, stopped: metrics.stopped };
  await writeAtomic(path.join(settings.out, resultFile), `${JSON.stringify(result, null, 2)}\n`);
  return result;
}

async function readResult({ settings }: EvalRun): Promise<RunResult | undefined> {
  const file = path.join(settings.out, resultFile);
  let result: RunResult;
  try {
    result = JSON.parse(await fs.readFile(file, 'utf8')) as RunResult;
  } catch {
    return undefined;
  }
  const changed = Object.keys({ ...settings, ...result.settings }).filter((key) => {
    // Where and with how many threads something was computed, and how it was called, decide nothing here.
    if (['out', 'overwrite', 'threads', 'device'].includes(key)) return false;
    const name = key as keyof TrainSettings;
    return JSON.stringify(settings[name]) !== JSON.stringify(result.settings?.[name]);
  });
  if (changed.length > 0)
    throw new OutputError(`${settings.out}: was finished with other settings (${changed.join(', ')}); choose another --out, or add --overwrite to train all variants again`);
  return result;
}

function tableOf(runs: readonly EvalRun[], results: ReadonlyMap<EvalRun, RunResult>): AblationTable {
  const of = (variant: string): [EvalRun, RunResult][] => [...results].filter(([run]) => run.variant === variant);
  const rows = [...new Set(runs.map(({ variant }) => variant))].map((variant): AblationRow => {
    const own = of(variant);
    const stopped = own.flatMap(([{ seed }, result]) => (result.stopped === undefined ? [] : [[String(seed), result.stopped]]));
    return { variant, figures: summarise(own.map(([, { evaluation }]) => evaluation)), stopped: Object.fromEntries(stopped) };
  });
  // Variants with other steps have another base; the full setting's is the one to compare with.
  const reference = of('full').length > 0 ? of('full') : [...results];
  const baselines = reference.flatMap(([, { baseline }]) => (baseline ? [baseline] : []));
  const base = baselines.length > 0 ? { variant: 'base editor', figures: summarise(baselines), stopped: {} } : undefined;
  return { base, rows, signs: compareSigns(rows) };
}

async function isThere(file: string): Promise<boolean> {
  return fs.access(file).then(
    () => true,
    () => false,
  );
}
