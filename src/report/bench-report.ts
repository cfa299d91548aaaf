/** What a benchmark run measured, its comparison with an earlier run, and both as one self-contained HTML page. */

export interface BenchEnvironment {
  /** ISO 8601. */
  date: string;
  /** "cpu", "cuda:0". */
  device: string;
  /** The processor's or card's own name. */
  deviceName: string;
  threads: number;
  /** Instruction set in use on the CPU, CUDA runtime and driver on a card. */
  isa: string;
  versions: Record<string, string>;
}

export interface BenchCase {
  /** What it is compared under: unique in a run. */
  name: string;
  dtype: string;
  /** Sizes for people. */
  shape: string;
  /** 10th percentile, median and 90th percentile of one call. */
  ms: { p10: number; p50: number; p90: number };
  samples: number;
  /** Of one call, by the formulas of the op or network. */
  flops?: number;
  bytes?: number;
  /** Figures that are not times, by name with the unit: calls, tokens. */
  figures?: Record<string, number>;
  /** Milliseconds by part of the work. */
  parts?: Record<string, number>;
  /** What the median must not exceed, in ms, and what that number is. */
  limit?: { ms: number; what: string };
}

export interface BenchResult {
  environment: BenchEnvironment;
  cases: BenchCase[];
}

/** Slower than the baseline by more than this share counts as a regression. */
export const regressionShare = 0.05;

/** Median relative to the same case of `baseline`: 0.1 is 10 % slower. Undefined where it has none. */
export function changeOf(measured: BenchCase, baseline: BenchResult | undefined): number | undefined {
  const before = baseline?.cases.find(({ name, dtype }) => name === measured.name && dtype === measured.dtype);
  return before === undefined ? undefined : measured.ms.p50 / before.ms.p50 - 1;
}

/** Why times of the two must not be compared; undefined when they may. */
export function mismatch(a: BenchEnvironment, b: BenchEnvironment): string | undefined {
  for (const key of ['deviceName', 'threads', 'isa'] as const) {
    if (a[key] !== b[key]) return `${key} is ${a[key]}, the baseline's is ${b[key]}`;
  }
  return undefined;
}

export function gflopsOf({ flops, ms }: BenchCase): number | undefined {
  return flops === undefined ? undefined : flops / ms.p50 / 1e6;
}

export function gbsOf({ bytes, ms }: BenchCase): number | undefined {
  return bytes === undefined ? undefined : bytes / ms.p50 / 1e6;
}

/** `passes` is undefined for a case without a limit. */
export function passes({ ms, limit }: BenchCase): boolean | undefined {
  return limit === undefined ? undefined : ms.p50 <= limit.ms;
}

/** The page: a table with one bar per case (p10 to p90, the median marked), the parts of the longer cases, the environment. */
export function renderBenchReport({ environment, cases }: BenchResult, baseline?: BenchResult): string {
  const { date, deviceName, device, threads, isa, versions } = environment;
  const against = baseline && mismatch(environment, baseline.environment) === undefined ? baseline : undefined;
  const where = [
    `${deviceName} (${device})`,
    `${threads} threads`,
    isa,
    ...Object.entries(versions).map(([name, version]) => `${name} ${version}`),
  ];
  const body = [
    '<h1>rl3dedit bench</h1>',
    `<p>${where.map(escapeHtml).join(' · ')} · ${escapeHtml(date)}</p>`,
    against ? `<p>Change against the baseline of ${escapeHtml(against.environment.date)}; red: more than ${100 * regressionShare} % slower.</p>` : '',
    '<table><thead><tr><th>case<th>type<th>sizes<th class=n>median ms<th>p10 to p90<th class=n>GFLOP/s<th class=n>GB/s<th class=n>limit<th class=n>change</tr></thead><tbody>',
    ...cases.map((one) => row(one, against)),
    '</tbody></table>',
    ...cases.filter(({ parts }) => parts !== undefined).map(partsChart),
  ];
  return `<!doctype html><html lang=en><meta charset=utf-8><title>rl3dedit bench</title><style>${css}</style>${body.join('\n')}</html>\n`;
}

const css =
  'body{font:14px/1.5 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:#222}' +
  'table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25em .6em;border-bottom:1px solid #ddd}' +
  'td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.bad{color:#b00020;font-weight:600}.good{color:#1b6e2b}' +
  'svg text{font:12px system-ui,sans-serif}';

function row(one: BenchCase, baseline: BenchResult | undefined): string {
  const { name, dtype, shape, ms, limit } = one;
  const change = changeOf(one, baseline);
  const slower = change !== undefined && change > regressionShare;
  const limitClass = passes(one) === false ? 'n bad' : 'n good';
  return (
    `<tr><td>${escapeHtml(name)}<td>${escapeHtml(dtype)}<td>${escapeHtml(shape)}<td class=n>${number(ms.p50)}<td>${spread(one)}` +
    `<td class=n>${number(gflopsOf(one))}<td class=n>${number(gbsOf(one))}` +
    `<td class="${limitClass}">${limit ? `≤ ${number(limit.ms)} <small>(${escapeHtml(limit.what)})</small>` : ''}` +
    `<td class="${slower ? 'n bad' : 'n'}">${change === undefined ? '' : percent(change)}</tr>`
  );
}

/** From 0 to p90: the range as a light bar, the median as a line. */
function spread({ ms }: BenchCase): string {
  const width = 140;
  const x = (value: number): string => ((value / Math.max(ms.p90, 1e-9)) * width).toFixed(1);
  return (
    `<svg width=${width} height=14 role=img aria-label="${number(ms.p10)} to ${number(ms.p90)} ms">` +
    `<rect x=0 y=6 width=${width} height=2 fill="#ddd"/>` +
    `<rect x=${x(ms.p10)} y=3 width=${x(ms.p90 - ms.p10)} height=8 fill="#9db8d9"/>` +
    `<rect x=${x(ms.p50)} y=0 width=2 height=14 fill="#1d4f91"/></svg>`
  );
}

function partsChart({ name, parts = {} }: BenchCase): string {
  const entries = Object.entries(parts);
  const longest = Math.max(...entries.map(([, ms]) => ms), 1e-9);
  const line = 22;
  const bars = entries.map(([part, ms], i) => {
    const y = i * line;
    const width = (ms / longest) * 500;
    return (
      `<text x=150 y=${y + 15} text-anchor=end>${escapeHtml(part)}</text><rect x=158 y=${y + 4} width=${width.toFixed(1)} height=14 fill="#1d4f91"/>` +
      `<text x=${(164 + width).toFixed(1)} y=${y + 15}>${number(ms)} ms</text>`
    );
  });
  return `<h2>${escapeHtml(name)}</h2><svg width=760 height=${entries.length * line}>${bars.join('')}</svg>`;
}

function number(value: number | undefined): string {
  return value === undefined ? '' : Number(value.toPrecision(4)).toLocaleString('en-US', { maximumSignificantDigits: 4 });
}

function percent(change: number): string {
  return `${change >= 0 ? '+' : '−'}${Math.abs(100 * change).toFixed(1)} %`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}
