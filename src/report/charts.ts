/** Line charts as inline SVG: no script, colours from the page's style sheet, the figures in words for screen readers. */
import { escapeHtml, formatFigure, seriesColors } from './page';

export interface Series {
  name: string;
  /** `[x, y]` in ascending x; a y that is not finite leaves a gap. */
  points: readonly (readonly [number, number])[];
  /** `[x, low, high]`: drawn as a light area behind the line. */
  band?: readonly (readonly [number, number, number])[];
  dashed?: boolean;
}

export interface Chart {
  title: string;
  /** Axis titles with their units. */
  x: string;
  y: string;
  series: readonly Series[];
  /** Values that the y axis shows in any case: 0 for shares, 1 for ratios. */
  include?: readonly number[];
  /** Logarithmic y axis; values ≤ 0 leave gaps. */
  log?: boolean;
  /** Marks each point: for few and far-between values. */
  marks?: boolean;
}

const width = 440;
const height = 240;
const plot = { left: 58, right: width - 12, top: 30, bottom: height - 38 };
/** More points than twice the plot's pixels add nothing but bytes. */
const mostPoints = 800;

/** `<figure>` with the chart and its legend; a chart without any finite value says so. */
export function renderChart(chart: Chart): string {
  const drawable = (y: number): boolean => Number.isFinite(y) && (!chart.log || y > 0);
  const series = chart.series.map((one) => ({ ...one, points: thin(one.points) }));
  const xs = series.flatMap(({ points }) => points.map(([x]) => x));
  const ys = series
    .flatMap(({ points, band = [] }) => [...points.map(([, y]) => y), ...band.flatMap(([, low, high]) => [low, high])])
    .filter(drawable);
  if (ys.length === 0) {
    return `<figure><svg viewBox="0 0 ${width} 60" role="img"><title>${escapeHtml(chart.title)}: no values</title><text class="title" x="0" y="18">${escapeHtml(chart.title)}</text><text x="0" y="40">no values yet</text></svg></figure>`;
  }
  const transform = (y: number): number => (chart.log ? Math.log10(y) : y);
  const shown = [...ys, ...(chart.include ?? []).filter(drawable)].map(transform);
  const [bottom, top] = padded(least(shown), most(shown));
  const [first, last] = [least(xs), Math.max(most(xs), least(xs) + 1)];
  const px = (x: number): number => plot.left + ((x - first) / (last - first)) * (plot.right - plot.left);
  const py = (y: number): number => plot.bottom - ((transform(y) - bottom) / (top - bottom)) * (plot.bottom - plot.top);
  const at = (x: number, y: number): string => `${px(x).toFixed(1)},${py(y).toFixed(1)}`;

  const yTicks = chart.log ? logTicks(bottom, top) : ticks(bottom, top, 5);
  const parts = [
    `<text class="title" x="${plot.left}" y="16">${escapeHtml(chart.title)}</text>`,
    ...yTicks.map(
      (y) =>
        `<path class="grid" d="M${plot.left} ${py(y).toFixed(1)}H${plot.right}"/>` +
        `<text x="${plot.left - 6}" y="${(py(y) + 4).toFixed(1)}" text-anchor="end">${tickText(y, yTicks)}</text>`,
    ),
    ...ticks(first, last, 6)
      .filter((x) => Number.isInteger(x))
      .map((x) => `<text x="${px(x).toFixed(1)}" y="${plot.bottom + 15}" text-anchor="middle">${tickText(x, [])}</text>`),
    `<text x="${(plot.left + plot.right) / 2}" y="${height - 6}" text-anchor="middle">${escapeHtml(chart.x)}</text>`,
    `<text x="12" y="${(plot.top + plot.bottom) / 2}" text-anchor="middle" transform="rotate(-90 12 ${(plot.top + plot.bottom) / 2})">${escapeHtml(chart.y)}</text>`,
  ];
  series.forEach(({ band = [], points, dashed }, i) => {
    const color = i % seriesColors;
    const area = thin(band.filter(([, low, high]) => drawable(low) && drawable(high)).map(([x, low, high]) => [x, low, high]));
    if (area.length > 1) {
      const edge = [...area.map(([x, , high]) => at(x, high)), ...[...area].reverse().map(([x, low]) => at(x, low))];
      parts.push(`<path class="band b${color}" d="M${edge.join('L')}Z"/>`);
    }
    for (const run of runs(points, drawable)) {
      const line = run.length > 1 ? run.map(([x, y]) => at(x, y)).join('L') : '';
      if (line !== '') parts.push(`<path class="line l${color}${dashed ? ' dash' : ''}" d="M${line}"/>`);
      if (chart.marks || run.length === 1) {
        for (const [x, y] of run)
          parts.push(`<circle class="b${color}" cx="${px(x).toFixed(1)}" cy="${py(y).toFixed(1)}" r="3"><title>${formatFigure(x)}: ${formatFigure(y)}</title></circle>`);
      }
    }
  });
  const words = series.map(({ name, points }) => inWords(name, points.filter(([, y]) => Number.isFinite(y))));
  const legend =
    series.length > 1
      ? `<figcaption class="keys">${series.map(({ name }, i) => `<span><i class="key k${i % seriesColors}"></i>${escapeHtml(name)}</span>`).join(' ')}</figcaption>`
      : '';
  return (
    `<figure><svg viewBox="0 0 ${width} ${height}" role="img"><title>${escapeHtml(chart.title)}</title>` +
    `<desc>${escapeHtml(`${chart.y} over ${chart.x}. ${words.join(' ')}`)}</desc>${parts.join('')}</svg>${legend}</figure>`
  );
}

export function renderCharts(charts: readonly Chart[]): string {
  return `<div class="charts">${charts.map(renderChart).join('\n')}</div>`;
}

/** Multiples of 1, 2 or 5 times a power of ten that lie in [low, high]; about `count` of them. */
export function ticks(low: number, high: number, count: number): number[] {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999) ?? 10) * power;
  const values: number[] = [];
  // Multiples of the step rather than a running sum, whose rounding errors would show in the labels.
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) values.push(Number((i * step).toPrecision(12)));
  return values;
}

function logTicks(low: number, high: number): number[] {
  const powers = ticks(low, high, Math.min(5, Math.max(1, high - low))).filter((exponent) => Number.isInteger(exponent));
  if (powers.length > 1) return powers.map((exponent) => 10 ** exponent);
  return ticks(10 ** low, 10 ** high, 4).filter((value) => value > 0);
}

/** As many decimals as the ticks need to differ. */
function tickText(value: number, all: readonly number[]): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e5) return value.toExponential(all.length > 0 && distinct(all, 0) ? 0 : 1).replace(/-/g, '−').replace('+', '');
  return String(Number(value.toPrecision(12))).replace('-', '−');
}

function distinct(values: readonly number[], digits: number): boolean {
  return new Set(values.map((value) => value.toExponential(digits))).size === values.length;
}

/** Some air above and below; a flat line gets a range of its own size. */
function padded(low: number, high: number): [number, number] {
  const range = high - low;
  // A range at the edge of float precision would put every tick on the same label.
  if (range <= 1e-9 * Math.max(Math.abs(low), Math.abs(high))) {
    const room = Math.abs(low) * 0.1 || 1;
    return [low - room, high + room];
  }
  return [low === 0 ? 0 : low - range * 0.06, high === 0 ? 0 : high + range * 0.06];
}

/** Of every bucket the lowest and the highest point, so that no spike disappears. */
function thin<P extends readonly number[]>(points: readonly P[]): readonly P[] {
  if (points.length <= mostPoints) return points;
  const kept: P[] = [];
  const buckets = mostPoints / 2;
  for (let bucket = 0; bucket < buckets; bucket++) {
    const begin = Math.floor((bucket * points.length) / buckets);
    const part = points.slice(begin, Math.floor(((bucket + 1) * points.length) / buckets));
    const finite = part.filter(([, y]) => Number.isFinite(y));
    if (finite.length === 0) {
      kept.push(part[0]);
      continue;
    }
    const lowest = finite.reduce((a, b) => (b[1] < a[1] ? b : a));
    const highest = finite.reduce((a, b) => (b[1] > a[1] ? b : a));
    kept.push(...(lowest === highest ? [lowest] : lowest[0] < highest[0] ? [lowest, highest] : [highest, lowest]));
  }
  return kept;
}

function runs(points: Series['points'], drawable: (y: number) => boolean): (readonly [number, number])[][] {
  const all: (readonly [number, number])[][] = [[]];
  for (const point of points) {
    if (drawable(point[1])) all[all.length - 1].push(point);
    else if (all[all.length - 1].length > 0) all.push([]);
  }
  return all.filter((run) => run.length > 0);
}

function inWords(name: string, points: Series['points']): string {
  if (points.length === 0) return `${name}: no values.`;
  const ys = points.map(([, y]) => y);
  return `${name}: ${formatFigure(ys[0])} at first, ${formatFigure(ys[ys.length - 1])} at last, between ${formatFigure(least(ys))} and ${formatFigure(most(ys))}.`;
}

// Math.min(...values) overflows the stack for long runs.
function least(values: readonly number[]): number {
  return values.reduce((a, b) => Math.min(a, b), Infinity);
}

function most(values: readonly number[]): number {
  return values.reduce((a, b) => Math.max(a, b), -Infinity);
}
