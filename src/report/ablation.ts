/** Comparison of training runs that differ in a few settings: figures over seeds, and the signs beside the paper's. */
import { headlineFigures } from './metrics-file';
import type { EvaluationFigures } from './metrics-file';
import { figureTitle, formatFigure, renderPage, renderParagraphs, renderTable, writePage } from './page';
import type { Cell } from './page';

/** Mean and sample standard deviation over seeds; the latter is NaN for a single one. */
export interface SeedFigure {
  mean: number;
  std: number;
  n: number;
}

export interface AblationRow {
  variant: string;
  figures: Record<string, SeedFigure>;
  /** Seeds whose run a guard stopped, with the reason. */
  stopped: Record<string, string>;
}

export type Sign = 'worse' | 'same' | 'better';

/** What the paper's ablation table says about a variant against another. */
export interface PaperSign {
  /** Words for the paper's row. */
  row: string;
  /** Photometric loss between views: here the true warp error. */
  consistency: Sign;
  /** VIEScore: here the error to the nearest valid edit. */
  quality: Sign;
  /** What the paper sees in the pictures: here the Laplacian variance over the exact edit's. */
  sharpness?: Sign;
  /** The variant it is compared with; default `full`. */
  against?: string;
}

/** RL3DEdit, arXiv 2603.03143, ablations on the face scenes: VIEScore / Ph-Loss against full 5.26 / .077. */
export const paperSigns: Record<string, PaperSign> = {
  'no-confidence': { row: 'w/o r_D, r_P: 2.11 / .193', consistency: 'worse', quality: 'worse' },
  'no-pose': { row: 'w/o r_T: 4.77 / .131', consistency: 'worse', quality: 'worse' },
  // Guided rollouts share their anchor: its reward tells them apart only in the paper's own mode.
  'paper-no-anchor': { row: 'w/o r_a: 4.34 / .091', consistency: 'worse', quality: 'worse', against: 'paper' },
  'no-anchor': { row: 'w/o r_a: 4.34 / .091', consistency: 'worse', quality: 'worse' },
  'fixed-anchor': { row: 'fixed anchor: 4.54 / .087', consistency: 'worse', quality: 'worse' },
  'steps-4': { row: '6 steps instead of 12: 3.91 / .093', consistency: 'worse', quality: 'worse' },
  'steps-12': { row: '20 steps instead of 12: 5.28 / .078', consistency: 'same', quality: 'same' },
  sfm: { row: 'SfM reward: 0.97 / .201', consistency: 'worse', quality: 'worse' },
  warp: { row: 'warp reward: 1.41 / .065, blurry', consistency: 'better', quality: 'worse', sharpness: 'worse' },
  'warp-no-kl': { row: 'warp reward: 1.41 / .065, blurry', consistency: 'better', quality: 'worse', sharpness: 'worse', against: 'no-kl' },
};

export interface AblationTable {
  /** The base editor before training, over all runs; absent where no run measured it. */
  base?: AblationRow;
  rows: AblationRow[];
  signs: SignRow[];
}

export interface SignRow {
  variant: string;
  against: string;
  paper: PaperSign;
  signs: Partial<Record<SignName, Sign>>;
  /** All signs that the paper names are the paper's. */
  agrees?: boolean;
}

export type SignName = 'consistency' | 'quality' | 'sharpness';

/** The figure behind a sign, and whether more of it is better. */
const signFigures: Record<SignName, { figure: string; more: boolean }> = {
  consistency: { figure: 'warpError', more: false },
  quality: { figure: 'quality', more: false },
  sharpness: { figure: 'sharpness', more: true },
};
const signNames = Object.keys(signFigures) as SignName[];

/** @param values evaluations of one variant, one per seed */
export function summarise(values: readonly EvaluationFigures[]): Record<string, SeedFigure> {
  const names = [...new Set(values.flatMap((one) => Object.keys(one)))];
  const ordered = [...headlineFigures.filter((name) => names.includes(name)), ...names.filter((name) => !(headlineFigures as readonly string[]).includes(name))];
  return Object.fromEntries(
    ordered.map((name) => {
      const given = values.map((one) => one[name]).filter((value) => typeof value === 'number');
      const n = given.length;
      const mean = given.reduce((sum, value) => sum + value, 0) / n;
      const std = n > 1 ? Math.sqrt(given.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1)) : NaN;
      return [name, { mean, std, n }];
    }),
  );
}

/**
 * Whether `variant` differs from `full` in a figure by more than one standard error of the difference; with a single seed on a side any
 * difference counts.
 * @param more whether more of the figure is better; an error is better the lower it is
 */
export function signOf(variant: SeedFigure | undefined, full: SeedFigure | undefined, more = false): Sign | undefined {
  if (!variant || !full || !Number.isFinite(variant.mean) || !Number.isFinite(full.mean)) return undefined;
  const difference = variant.mean - full.mean;
  const error = Math.sqrt(variant.std ** 2 / variant.n + full.std ** 2 / full.n);
  if (difference === 0 || Math.abs(difference) <= (Number.isFinite(error) ? error : 0)) return 'same';
  return difference > 0 === more ? 'better' : 'worse';
}

/** Rows of the variants that the paper ablated too, each against the one it is compared with. */
export function compareSigns(rows: readonly AblationRow[]): SignRow[] {
  return rows.flatMap(({ variant, figures }): SignRow[] => {
    const paper = Object.hasOwn(paperSigns, variant) ? paperSigns[variant] : undefined;
    const against = rows.find((row) => row.variant === (paper?.against ?? 'full'));
    if (!paper || !against) return [];
    const named = signNames.filter((name) => paper[name] !== undefined);
    const signs: SignRow['signs'] = {};
    for (const name of named) {
      const { figure, more } = signFigures[name];
      signs[name] = signOf(figures[figure], against.figures[figure], more);
    }
    const known = named.every((name) => signs[name] !== undefined);
    return [{ variant, against: against.variant, paper, signs, agrees: known ? named.every((name) => signs[name] === paper[name]) : undefined }];
  });
}

const signNote =
  'Signs are those of a variant against the one beside it: consistency is the true warp error (the paper: Ph-Loss), quality the error to the nearest ' +
  'valid edit (the paper: VIEScore), sharpness the detail beside the exact edit\'s (the paper: its pictures). "Same" means within one standard error ' +
  'of the difference over seeds; with one seed any difference counts, so such a sign is weak.';

/** The table as Markdown. */
export function ablationMarkdown(table: AblationTable): string {
  const { names, rows } = shown(table);
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const rule = (count: number): string => `|${'---|'.repeat(count)}`;
  const lines = [
    line(['variant', 'seeds', ...names.map(figureTitle), 'stopped']),
    rule(names.length + 3),
    ...rows.map((row) => line([row.variant, seedsOf(row), ...names.map((name) => figureText(row.figures[name])), stoppedText(row)])),
  ];
  if (table.signs.length > 0) {
    const headings = ['variant', 'against', 'paper', ...signNames.flatMap((name) => [`${name}: paper`, 'here']), 'agrees'];
    lines.push('', line(headings), rule(headings.length));
    for (const { variant, against, paper, signs, agrees } of table.signs)
      lines.push(line([variant, against, paper.row, ...signNames.flatMap((name) => [paper[name] ?? '–', signs[name] ?? '–']), yesNo(agrees)]));
    lines.push('', signNote);
  }
  return `${lines.join('\n')}\n`;
}

/** Writes `folder`/report.html and returns its path. */
export function writeAblationReport(folder: string, table: AblationTable): Promise<string> {
  const { names, rows } = shown(table);
  const right = (text: string): Cell => ({ html: text, kind: 'n' });
  const signCell = (sign: Sign | undefined, paper: Sign | undefined): Cell =>
    sign === undefined ? '–' : { html: sign, kind: sign === paper ? 'good' : 'bad' };
  const body = [
    '<h1>rl3dedit eval</h1>',
    renderParagraphs(['Each variant was trained from the same base editor and measured on the same held-out samples. Figures: mean ± standard deviation over seeds.']),
    renderTable(
      ['variant', right('seeds'), ...names.map((name) => right(figureTitle(name))), 'stopped'],
      rows.map((row) => [row.variant, right(seedsOf(row)), ...names.map((name) => right(figureText(row.figures[name]))), stoppedText(row)]),
    ),
    table.signs.length === 0
      ? ''
      : `<h2>Against the paper</h2>${renderTable(
          ['variant', 'against', 'paper (VIEScore / Ph-Loss)', ...signNames.flatMap((name) => [`${name}: paper`, 'here']), 'agrees'],
          table.signs.map(({ variant, against, paper, signs, agrees }) => [
            variant,
            against,
            paper.row,
            ...signNames.flatMap((name) => [paper[name] ?? '–', signCell(signs[name], paper[name])]),
            yesNo(agrees),
          ]),
        )}${renderParagraphs([signNote])}`,
  ];
  return writePage(folder, 'report.html', renderPage('rl3dedit eval', body));
}

function shown({ base, rows }: AblationTable): { names: string[]; rows: AblationRow[] } {
  const all = base ? [base, ...rows] : rows;
  const names = [...new Set(all.flatMap(({ figures }) => Object.keys(figures)))];
  return { names, rows: all };
}

function seedsOf({ figures }: AblationRow): string {
  return String(Object.values(figures).reduce((most, { n }) => Math.max(most, n), 0));
}

function figureText(figure: SeedFigure | undefined): string {
  if (!figure) return '–';
  return Number.isFinite(figure.std) ? `${formatFigure(figure.mean)} ± ${formatFigure(figure.std)}` : formatFigure(figure.mean);
}

function stoppedText({ stopped }: AblationRow): string {
  return Object.entries(stopped)
    .map(([seed, reason]) => `seed ${seed}: ${reason.replace(/\|/g, '/')}`)
    .join('; ');
}

function yesNo(value: boolean | undefined): string {
  return value === undefined ? '–' : value ? 'yes' : 'no';
}
