/** report.html of a training run: where it stands, its curves, its evaluations and its samples in one file. */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { parse as parseYaml } from 'yaml';
import { renderCharts } from './charts';
import type { Chart, Series } from './charts';
import { readMetrics } from './metrics-file';
import type { EvaluationFigures, EvaluationMetrics, Metrics, UpdateMetrics } from './metrics-file';
import {
  figureTitle,
  formatChange,
  formatFigure,
  numberCell,
  renderPage,
  renderParagraphs,
  renderPictures,
  renderTable,
  renderTiles,
  writePage,
} from './page';
import type { Cell } from './page';

export interface TrainReportOptions {
  /** What happened in plain words, a paragraph each. */
  paragraphs?: readonly string[];
  /** Where the run computes ("cpu, 2 threads"); default: as the run file says. */
  device?: string;
}

/** Figures of an evaluation with a better side: less, or more. The others are shown without judgement. */
const lowerIsBetter = new Set(['warpError', 'quality', 'untouched']);
const higherIsBetter = new Set(['agreement', 'mutualInformationBits', 'entropy']);

/**
 * Writes `folder`/report.html from run.yaml, metrics.jsonl and samples/*.png, as far as they are there. May be called
 * while the run goes on.
 * @returns the page's path
 * @throws OutputError for a damaged metrics file or a picture that cannot be read
 */
export async function writeTrainReport(folder: string, options: TrainReportOptions = {}): Promise<string> {
  const metrics = await readMetrics(folder);
  const settings = await readRunFile(folder);
  const { updates, evaluations } = metrics;
  const body = [
    `<h1>rl3dedit train</h1>`,
    renderTiles(statusOf(metrics, settings, options.device)),
    metrics.stopped === undefined ? '' : renderParagraphs([`The run was stopped: ${metrics.stopped}`]),
    options.paragraphs && options.paragraphs.length > 0 ? `<h2>In plain words</h2>${renderParagraphs(options.paragraphs)}` : '',
    evaluations.length === 0 ? '' : `<h2>Held-out evaluations</h2>${evaluationTable(evaluations)}`,
    evaluations.length < 2 ? '' : renderCharts(evaluationCharts(evaluations)),
    updates.length === 0 ? renderParagraphs(['No update is finished yet.']) : `<h2>Curves</h2>${renderCharts(updateCharts(updates))}`,
    await sampleSection(folder),
  ];
  return writePage(folder, 'report.html', renderPage('rl3dedit train', body));
}

/** Curves of a run for other pages: evaluations first, then the health of the updates. */
export function runCharts({ updates, evaluations }: Metrics): Chart[] {
  return [...(evaluations.length > 1 ? evaluationCharts(evaluations) : []), ...(updates.length > 0 ? updateCharts(updates) : [])];
}

async function readRunFile(folder: string): Promise<Record<string, unknown>> {
  try {
    const value = parseYaml(await fs.readFile(path.join(folder, 'run.yaml'), 'utf8')) as unknown;
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    // The report of a run whose settings are unreadable still shows what was measured.
    return {};
  }
}

function statusOf({ updates, stopped }: Metrics, settings: Record<string, unknown>, device?: string): [string, string][] {
  const last = updates.at(-1);
  const planned = typeof settings.updates === 'number' ? settings.updates : undefined;
  const done = last?.update ?? 0;
  const seconds = updates.map((one) => one.seconds);
  const total = seconds.reduce((sum, value) => sum + value, 0);
  const state = stopped !== undefined ? 'stopped' : planned !== undefined && done >= planned ? 'finished' : 'unfinished';
  const shown = (name: string): string => (settings[name] === undefined ? '–' : String(settings[name]));
  return [
    ['state', state],
    ['updates', planned === undefined ? String(done) : `${done} of ${planned}`],
    ['device', device ?? shown('device')],
    ['per update', seconds.length === 0 ? '–' : `${formatFigure(median(seconds))} s`],
    ['time in updates', duration(total)],
    ['model', shown('model')],
    ['views', shown('views')],
    ['groups × rollouts', `${shown('groupsPerUpdate')} × ${shown('group')}`],
    ['steps', shown('steps')],
    ['anchor-guided', settings.anchorGuided === true ? 'yes' : 'no'],
    ['noise', shown('noise')],
    ['seed', shown('seed')],
  ];
}

/** First and last evaluation with the change; where the base was measured on the same samples, that too. */
function evaluationTable(evaluations: readonly EvaluationMetrics[]): string {
  const first = evaluations[0];
  const last = evaluations[evaluations.length - 1];
  const { baseline } = last;
  const names = [...new Set([...Object.keys(first.evaluation), ...Object.keys(last.evaluation)])];
  const head: Cell[] = [
    'figure',
    ...(baseline ? [right('base editor')] : []),
    right(`after ${first.update}`),
    right(`after ${last.update}`),
    right('change'),
  ];
  const rows = names.map((name): Cell[] => [
    figureTitle(name),
    ...(baseline ? [numberCell(baseline[name])] : []),
    numberCell(first.evaluation[name]),
    numberCell(last.evaluation[name]),
    changeCell(name, (baseline ?? first.evaluation)[name], last.evaluation[name]),
  ]);
  const against = baseline ? 'the base editor on the same samples' : `the evaluation after ${first.update} updates`;
  return `${renderTable(head, rows)}<p class="dim">Change: last evaluation against ${against}. ${evaluations.length} evaluations in all.</p>`;
}

/** Change in percent, coloured where the figure has a better side. */
export function changeCell(name: string, first: number | undefined, last: number | undefined): Cell {
  const html = formatChange(first, last);
  if (html === '–' || first === last) return { html, kind: 'n' };
  const better = lowerIsBetter.has(name) ? last! < first! : higherIsBetter.has(name) ? last! > first! : undefined;
  return { html, kind: better === undefined ? 'n' : better ? 'n good' : 'n bad' };
}

function right(text: string): Cell {
  return { html: text, kind: 'n' };
}

const units: Record<string, string> = {
  warpError: 'mean colour difference',
  mixedWarpError: 'mean colour difference',
  agreement: 'share of views',
  mutualInformationBits: 'bits',
  entropy: 'share of the maximum',
  quality: 'mean colour error',
  untouched: 'mean colour error',
};

function evaluationCharts(evaluations: readonly EvaluationMetrics[]): Chart[] {
  const names = [...new Set(evaluations.flatMap(({ evaluation }) => Object.keys(evaluation)))];
  return names.map((name) => {
    const pick = (figures: (one: EvaluationMetrics) => EvaluationFigures | undefined): Series['points'] =>
      evaluations.map((one) => [one.update, figures(one)?.[name] ?? NaN]);
    const series: Series[] = [{ name: 'trained', points: pick((one) => one.evaluation) }];
    if (evaluations.some(({ baseline }) => baseline?.[name] !== undefined))
      series.push({ name: 'base editor', points: pick((one) => one.baseline), dashed: true });
    return { title: `held out: ${figureTitle(name)}`, x: 'update', y: units[name] ?? figureTitle(name), series, marks: true };
  });
}

function updateCharts(updates: readonly UpdateMetrics[]): Chart[] {
  const line = (name: string, value: (one: UpdateMetrics) => number | undefined): Series => ({
    name,
    points: updates.map((one) => [one.update, value(one) ?? NaN]),
  });
  const single = (title: string, y: string, value: (one: UpdateMetrics) => number | undefined, more: Partial<Chart> = {}): Chart => ({
    title,
    x: 'update',
    y,
    series: [line(title, value)],
    ...more,
  });
  const rewardNames = [...new Set(updates.flatMap(({ rewards }) => Object.keys(rewards)))];
  const truthNames = [...new Set(updates.flatMap(({ truth }) => Object.keys(truth ?? {})))];
  const charts = [
    ...rewardNames.map(
      (name): Chart => ({
        title: `reward: ${figureTitle(name)}`,
        x: 'update',
        y: 'raw value, mean ± std',
        series: [
          {
            ...line(name, ({ rewards }) => rewards[name]?.mean),
            band: updates.flatMap(({ update, rewards }) =>
              rewards[name] ? [[update, rewards[name].mean - rewards[name].std, rewards[name].mean + rewards[name].std] as const] : [],
            ),
          },
        ],
      }),
    ),
    {
      title: 'probability ratio',
      x: 'update',
      // Ratios differ from 1 by so little that labels around 1 would all read the same.
      y: 'new / old − 1',
      series: [
        { ...line('mean', ({ ratio }) => ratio && ratio.mean - 1) },
        { ...line('lowest', ({ ratio }) => ratio && ratio.min - 1), dashed: true },
        { ...line('highest', ({ ratio }) => ratio && ratio.max - 1), dashed: true },
      ],
      include: [0],
    },
    {
      title: 'clipped ratios',
      x: 'update',
      y: 'share of trained steps',
      series: [line('too high', ({ clipFraction }) => clipFraction?.high), line('too low', ({ clipFraction }) => clipFraction?.low)],
      include: [0],
    },
    single('distance to the base (KL)', 'mean squared velocity difference', ({ kl }) => kl, { include: [0] }),
    single('gradient norm', 'L2 norm before clipping', ({ gradientNorm }) => gradientNorm, { include: [0] }),
    single('groups without variance', 'share of groups', ({ zeroVarianceShare }) => zeroVarianceShare, { include: [0] }),
    single('sharpness', 'mean gradient of the edits', ({ sharpness }) => sharpness, { include: [0] }),
    single('edit strength', 'mean change of the pictures', ({ editStrength }) => editStrength, { include: [0] }),
    single('diversity', 'spread of the edits', ({ diversity }) => diversity, { include: [0] }),
    single('entropy of the chosen answers', 'share of the maximum', ({ entropy }) => entropy, { include: [0, 1] }),
    ...truthNames.map((name) => single(`true ${figureTitle(name)}`, units[name] ?? figureTitle(name), ({ truth }) => truth?.[name])),
    single('loss', 'loss', ({ loss }) => loss),
    single('learning rate', 'learning rate', ({ learningRate }) => learningRate, { include: [0] }),
  ] satisfies Chart[];
  // A figure that this run does not have needs no empty chart.
  return charts.filter(({ series }) => series.some(({ points }) => points.some(([, y]) => Number.isFinite(y))));
}

/** Grids of the held-out evaluations, then those of training; of each kind the first and the last stand in front. */
async function sampleSection(folder: string): Promise<string> {
  const samples = path.join(folder, 'samples');
  const names = (await fs.readdir(samples).catch(() => [])).filter((name) => name.endsWith('.png')).sort();
  const heldOut = names.filter((name) => name.startsWith('evaluation'));
  const kinds: [string, string[]][] = [
    ['Held-out samples', heldOut],
    ['Rollouts', names.filter((name) => !heldOut.includes(name))],
  ];
  const sections = kinds.map(async ([title, all]) => {
    if (all.length === 0) return '';
    const pictures = firstLastAndSome(all).map((name) => ({ caption: captionOf(name), png: path.join(samples, name) }));
    return `<h2>${title}</h2>${await renderPictures(pictures)}`;
  });
  return (await Promise.all(sections)).join('\n');
}

/** `evaluation-000040.png` as `after 40 updates`. */
function captionOf(file: string): string {
  const update = /(\d+)\.png$/.exec(file)?.[1];
  return update === undefined ? file.replace(/\.png$/, '') : `after ${Number(update)} updates`;
}

/** At most ten: more pictures than that make a page that no browser likes. */
function firstLastAndSome(names: readonly string[]): string[] {
  if (names.length <= 2) return [...names];
  const between = names.slice(1, -1);
  const step = Math.ceil(between.length / 8);
  return [names[0], names[names.length - 1], ...between.filter((_, i) => i % step === 0)];
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function duration(seconds: number): string {
  if (seconds < 120) return `${formatFigure(seconds)} s`;
  if (seconds < 7200) return `${(seconds / 60).toFixed(1)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}
