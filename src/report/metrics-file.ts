/**
 * metrics.jsonl of a training run: one JSON object per line, appended as the run proceeds. A line is there whole or not
 * at all: a last line that a killed process left unfinished is ignored by the reader and removed by the next append.
 */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { OutputError } from '../binding/errors';

export const metricsFileName = 'metrics.jsonl';

/** One reward over the rollouts of an update, before any normalisation. */
export interface RewardFigures {
  mean: number;
  std: number;
  /** Rollouts whose value was not finite. */
  invalid: number;
}

/** What an update reports: its health. */
export interface UpdateFigures {
  rewards: Record<string, RewardFigures>;
  /** Over all rollouts of the update. */
  advantage: { mean: number; std: number };
  /** Probability ratios new / old of the trained steps. */
  ratio: { mean: number; min: number; max: number };
  /** Share of ratios beyond the range on either side. */
  clipFraction: { high: number; low: number };
  kl: number;
  loss: number;
  gradientNorm: number;
  learningRate: number;
  /** Share of groups whose rollouts all scored the same. */
  zeroVarianceShare: number;
  sharpness: number;
  editStrength: number;
  /** Spread of the edits within and between groups. */
  diversity: number;
}

/** One update (they count from 1). */
export interface UpdateMetrics extends UpdateFigures {
  update: number;
  /** Wall time of the update. */
  seconds: number;
  /** Normalised entropy of the chosen answers, where the world knows them. */
  entropy?: number;
  /** Figures that need the world's exact answers. */
  truth?: Record<string, number>;
}

/** Figures of edits whose exact answers are known that say most, in the order of tables. */
export const headlineFigures = [
  'warpError',
  'agreement',
  'mutualInformationBits',
  'entropy',
  'quality',
  'untouched',
  'mixedWarpError',
] as const;
export type HeadlineFigure = (typeof headlineFigures)[number];

/** Figures of an evaluation on held-out samples. */
export interface EvaluationFigures {
  [figure: string]: number;
}

/** Held-out evaluation after `update` updates (0: before the first). */
export interface EvaluationMetrics {
  update: number;
  evaluation: EvaluationFigures;
  /** The base editor on the same samples and noise. */
  baseline?: EvaluationFigures;
}

/** Last line of a run that ended before its last update. */
export interface StopMetrics {
  update: number;
  stopped: string;
}

export type MetricsLine = UpdateMetrics | EvaluationMetrics | StopMetrics;

export interface Metrics {
  updates: UpdateMetrics[];
  evaluations: EvaluationMetrics[];
  /** Why the run ended early, when it did and was not taken up again. */
  stopped?: string;
}

/**
 * Appends one line and flushes it to the disk.
 * @throws OutputError
 */
export async function appendMetrics(folder: string, line: MetricsLine): Promise<void> {
  const file = path.join(folder, metricsFileName);
  try {
    const handle = await fs.open(file, 'a+');
    try {
      await dropUnfinishedLine(handle);
      await handle.appendFile(`${JSON.stringify(line, textForNonFinite)}\n`);
      await handle.datasync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new OutputError(`${file}: cannot be written (${(error as NodeJS.ErrnoException).code})`, { cause: error });
  }
}

/**
 * Drops what was logged after `update`, and why the run stopped: the state a resumed run goes on from. The file is
 * replaced in one step.
 * @throws OutputError
 */
export async function truncateMetrics(folder: string, update: number): Promise<void> {
  const file = path.join(folder, metricsFileName);
  const lines = await readLines(file);
  const kept = lines.filter((line) => line.update <= update && !('stopped' in line));
  if (kept.length === lines.length && (await endsWithNewline(file))) return;
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    const handle = await fs.open(temporary, 'w');
    try {
      await handle.writeFile(kept.map((line) => `${JSON.stringify(line, textForNonFinite)}\n`).join(''));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await fs.rename(temporary, file);
  } catch (error) {
    throw new OutputError(`${file}: cannot be written (${(error as NodeJS.ErrnoException).code})`, { cause: error });
  }
}

/**
 * Everything logged so far; a folder without the file has logged nothing.
 * @throws OutputError naming file and line for damage anywhere but in an unfinished last line
 */
export async function readMetrics(folder: string): Promise<Metrics> {
  const metrics: Metrics = { updates: [], evaluations: [] };
  for (const line of await readLines(path.join(folder, metricsFileName))) {
    if ('stopped' in line) metrics.stopped = line.stopped;
    else if ('evaluation' in line) metrics.evaluations.push(line);
    else {
      metrics.updates.push(line);
      metrics.stopped = undefined;
    }
  }
  return metrics;
}

/**
 * A line's numbers by dotted name (`rewards.depth.mean`, `ratio.max`, `evaluation.warpError`), without `update` itself:
 * what the event stream carries with `train.` in front.
 */
export function figuresOf(line: MetricsLine): [name: string, value: number][] {
  const collect = (value: unknown, name: string): [string, number][] => {
    if (typeof value === 'number') return [[name, value]];
    if (typeof value !== 'object' || value === null) return [];
    return Object.entries(value).flatMap(([key, item]) => collect(item, name === '' ? key : `${name}.${key}`));
  };
  return collect(line, '').filter(([name]) => name !== 'update');
}

async function readLines(file: string): Promise<MetricsLine[]> {
  let text: string;
  try {
    text = await fs.readFile(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return [];
    throw new OutputError(`${file}: cannot be read (${code})`, { cause: error });
  }
  // What follows the last newline was never finished.
  const lines = text.split('\n').slice(0, -1);
  return lines.map((line, i) => {
    try {
      const value = JSON.parse(line, numberFromText) as MetricsLine;
      if (typeof value !== 'object' || value === null || typeof value.update !== 'number') throw new Error('expected an object with "update"');
      return value;
    } catch (error) {
      throw new OutputError(`${file}:${i + 1}: is damaged (${(error as Error).message}); remove the line to go on`, { cause: error });
    }
  });
}

async function dropUnfinishedLine(handle: fs.FileHandle): Promise<void> {
  const { size } = await handle.stat();
  if (size === 0) return;
  const chunk = Buffer.alloc(4096);
  for (let end = size; end > 0; ) {
    const begin = Math.max(0, end - chunk.length);
    const { bytesRead } = await handle.read(chunk, 0, end - begin, begin);
    const at = chunk.subarray(0, bytesRead).lastIndexOf(10);
    if (at >= 0) {
      if (begin + at + 1 < size) await handle.truncate(begin + at + 1);
      return;
    }
    end = begin;
  }
  await handle.truncate(0);
}

async function endsWithNewline(file: string): Promise<boolean> {
  const text = await fs.readFile(file).catch(() => Buffer.from('\n'));
  return text.length === 0 || text[text.length - 1] === 10;
}

/** JSON has no NaN; null would read as "absent". */
function textForNonFinite(_key: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
}

function numberFromText(_key: string, value: unknown): unknown {
  return value === 'NaN' || value === 'Infinity' || value === '-Infinity' ? Number(value) : value;
}
