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

/** What the paper's ablation table says about a variant against the full setting. */
export interface PaperSign {
  /** Words for the paper's row. */
  row: string;
  /** Photometric loss between views: here the true warp error. */
  consistency: Sign;
  /** VIEScore: here the error to the nearest valid edit. */
  quality: Sign;
}

/** RL3DEdit, arXiv 2603.03143, ablations on the face scenes: VIEScore / Ph-Loss against full 5.26 / .077. */
export const paperSigns: Record<string, PaperSign> = {
  'no-confidence': { row: 'w/o r_D, r_P: 2.11 / .193', consistency: 'worse', quality: 'worse' },
  'no-pose': { row: 'w/o r_T: 4.77 / .131', consistency: 'worse', quality: 'worse' },
  'no-anchor': { row: 'w/o r_a: 4.34 / .091', consistency: 'worse', quality: 'worse' },
  'fixed-anchor': { row: 'fixed anchor: 4.54 / .087', consistency: 'worse', quality: 'worse' },
  'steps-4': { row: '6 steps instead of 12: 3.91 / .093', consistency: 'worse', quality: 'worse' },
  'steps-12': { row: '20 steps instead of 12: 5.28 / .078', consistency: 'same', quality: 'same' },
  sfm: { row: 'SfM reward: 0.97 / .201', consistency: 'worse', quality: 'worse' },
  warp: { row: 'warp reward: 1.41 / .065', consistency: 'better', quality: 'worse' },
};

export interface AblationTable {
  /** The base editor before training, over all runs; absent where no run measured it. */
  base?: AblationRow;
  rows: AblationRow[];
  signs: SignRow[];
}

export interface SignRow {
  variant: string;
  paper: PaperSign;
  consistency?: Sign;
  quality?: Sign;
  /** Both signs are the paper's. */
  agrees?: boolean;
}

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
 * Whether `variant` differs from `full` in an error (lower is better) by more than one standard error of the
 * difference; with a single seed on a side any difference counts.
 */
export function signOf(variant: SeedFigure | undefined, full: SeedFigure | undefined): Sign | undefined {
  if (!variant || !full || !Number.isFinite(variant.mean) || !Number.isFinite(full.mean)) return undefined;
  const difference = variant.mean - full.mean;
  const error = Math.sqrt(variant.std ** 2 / variant.n + full.std ** 2 / full.n);
  if (difference === 0 || Math.abs(difference) <= (Number.isFinite(error) ? error : 0)) return 'same';
  return difference > 0 ? 'worse' : 'better';
}

/** Rows of the variants that the paper ablated too, against the one named `full`. */
export function compareSigns(rows: readonly AblationRow[]): SignRow[] {
  const full = rows.find(({ variant }) => variant === 'full');
  if (!full) return [];
  return rows.flatMap(({ variant, figures }): SignRow[] => {
    const paper = Object.hasOwn(paperSigns, variant) ? paperSigns[variant] : undefined;
    if (!paper) return [];
    const consistency = signOf(figures.warpError, full.figures.warpError);
    const quality = signOf(figures.quality, full.figures.quality);
    const agrees = consistency && quality ? consistency === paper.consistency && quality === paper.quality : undefined;
    return [{ variant, paper, consistency, quality, agrees }];
  });
}

const signNote =
  'Signs are those of the variant against full: consistency is the true warp error (the paper: Ph-Loss), quality the error to the nearest ' +
  'valid edit (the paper: VIEScore). "Same" means within one standard error of the difference over seeds; with one seed any difference counts, ' +
  'so such a sign is weak.';

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
    lines.push('', line(['variant', 'paper', 'consistency: paper', 'here', 'quality: paper', 'here', 'agrees']), rule(7));
    for (const { variant, paper, consistency, quality, agrees } of table.signs)
      lines.push(line([variant, paper.row, paper.consistency, consistency ?? '–', paper.quality, quality ?? '–', yesNo(agrees)]));
    lines.push('', signNote);
  }
  return `${lines.join('\n')}\n`;
}

/** Writes `folder`/report.html and returns its path. */
export function writeAblationReport(folder: string, table: AblationTable): Promise<string> {
  const { names, rows } = shown(table);
  const right = (text: string): Cell => ({ html: text, kind: 'n' });
  const signCell = (sign: Sign | undefined, paper: Sign): Cell =>
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
          ['variant', 'paper (VIEScore / Ph-Loss)', 'consistency: paper', 'here', 'quality: paper', 'here', 'agrees'],
          table.signs.map(({ variant, paper, consistency, quality, agrees }) => [
            variant,
            paper.row,
            paper.consistency,
            signCell(consistency, paper.consistency),
            paper.quality,
            signCell(quality, paper.quality),
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
