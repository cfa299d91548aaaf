/** What every report page shares: one self-contained HTML file, without scripts unless it asks for them, readable in light and dark. */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { OutputError } from '../binding/errors';

/** Okabe and Ito's colours, told apart by colour-blind readers too; the darker set stands on white. */
const seriesLight = ['#0072b2', '#d55e00', '#007a5a', '#a8478a', '#8a6d00', '#3b3b3b', '#2a8fbd', '#7a4b00'];
const seriesDark = ['#56b4e9', '#ff8c42', '#2cc79a', '#e08fc4', '#e6c84c', '#d0d0d0', '#8fd3ff', '#d9a566'];
export const seriesColors = seriesLight.length;

const variables = (colors: readonly string[]): string => colors.map((color, i) => `--s${i}:${color};`).join('');
const seriesClasses = seriesLight
  .map((_, i) => `.l${i}{stroke:var(--s${i})}.b${i}{fill:var(--s${i})}.k${i}{background:var(--s${i})}`)
  .join('');

export const pageCss =
  `:root{color-scheme:light dark;--fg:#1c1c1c;--dim:#5c5c5c;--bg:#fff;--line:#dcdcdc;--soft:#f5f6f8;--good:#1b6e2b;--bad:#b00020;${variables(seriesLight)}}` +
  `@media(prefers-color-scheme:dark){:root{--fg:#e6e6e6;--dim:#a3a3a3;--bg:#15171a;--line:#3a3e44;--soft:#1e2126;--good:#6fce84;--bad:#ff8a80;${variables(seriesDark)}}}` +
  'body{font:15px/1.55 system-ui,sans-serif;margin:2rem auto;max-width:78rem;padding:0 1rem;color:var(--fg);background:var(--bg)}' +
  'h1{font-size:1.6rem;margin:0 0 .3rem}h2{font-size:1.2rem;margin:2.2rem 0 .6rem}p{max-width:50rem;margin:.5rem 0}' +
  'small,.dim{color:var(--dim)}.good{color:var(--good)}.bad{color:var(--bad);font-weight:600}' +
  '.scroll{overflow-x:auto}table{border-collapse:collapse}th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}' +
  'th{font-weight:600;white-space:nowrap}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}' +
  'dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:.6rem;margin:1rem 0}dl div{background:var(--soft);padding:.5rem .7rem;border-radius:6px}dt{color:var(--dim);font-size:.85rem}dd{margin:0;font-size:1.1rem;overflow-wrap:anywhere}' +
  '.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(24rem,100%),1fr));gap:1.4rem 1.6rem}figure{margin:0}figcaption{font-size:.85rem;color:var(--dim)}' +
  'svg{width:100%;height:auto;display:block}svg text{font:11px system-ui,sans-serif;fill:var(--dim)}svg text.title{font-size:13px;font-weight:600;fill:var(--fg)}' +
  '.grid{stroke:var(--line);stroke-width:1}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.dash{stroke-dasharray:5 4}.band{opacity:.18}' +
  '.key{display:inline-block;width:.9rem;height:.25rem;margin:0 .35rem .2rem 0;border-radius:2px}.keys span{margin-right:1rem;white-space:nowrap}' +
  '.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(16rem,100%),1fr));gap:1rem}.pictures img{width:100%;image-rendering:pixelated;border-radius:4px;background:var(--soft)}' +
  seriesClasses;

/** What a page has beyond text and pictures. */
export interface PageExtras {
  /** Rules after the common ones. */
  css?: string;
  /** Classic scripts, run in order after the body. */
  scripts?: readonly string[];
  /** Further directives of the content security policy: `worker-src blob:`. */
  policy?: readonly string[];
  /** Further sources of scripts: `'wasm-unsafe-eval'`. */
  scriptSources?: readonly string[];
}

/**
 * A whole page. Its policy allows nothing but the one style sheet and the given scripts (by their hashes) and pictures
 * inside the file.
 * @param body HTML; text from outside must have gone through `escapeHtml`
 */
export function renderPage(title: string, body: readonly string[], extras: PageExtras = {}): string {
  const hashOf = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
  const rules = pageCss + (extras.css ?? '');
  const scripts = (extras.scripts ?? []).map(inlineScript);
  const policy = [
    "default-src 'none'",
    'img-src data:',
    `style-src ${hashOf(rules)}`,
    ...(scripts.length > 0 ? [`script-src ${[...scripts.map(hashOf), ...(extras.scriptSources ?? [])].join(' ')}`] : []),
    ...(extras.policy ?? []),
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  return [
    '<!doctype html>',
    '<html lang="en">',
    `<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${policy}">`,
    '<meta name="viewport" content="width=device-width,initial-scale=1">',
    `<title>${escapeHtml(title)}</title><style>${rules}</style>`,
    ...body.filter((part) => part !== ''),
    ...scripts.map((script) => `<script>${script}</script>`),
    '</html>\n',
  ].join('\n');
}

/** Inside a string, an expression or a comment both spellings mean the same to JavaScript, and one of them nothing to HTML. */
function inlineScript(text: string): string {
  return text.replace(/<\/(?=script)/gi, '<\\/').replace(/<!--/g, '<\\!--').replace(/\r\n?/g, '\n');
}

/** JSON as the text of a script element that is data. */
export function inlineJson(value: unknown): string {
  return JSON.stringify(value).replace(/</g, '\\u003c');
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** Three significant digits; very small and very large ones with a power of ten, what is absent as a dash. */
export function formatFigure(value: number | undefined): string {
  if (value === undefined) return '–';
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(1).replace(/-/g, '−');
  const text = size >= 100 ? value.toFixed(size >= 1000 ? 0 : 1) : value.toPrecision(3);
  return (value === 0 ? '0' : text).replace('-', '−');
}

/** `+12 %` with a true minus; a dash where there is nothing to compare with. */
export function formatChange(first: number | undefined, last: number | undefined): string {
  if (first === undefined || last === undefined || !Number.isFinite(first) || !Number.isFinite(last) || first === 0) return '–';
  const percent = (100 * (last - first)) / Math.abs(first);
  return `${percent < 0 ? '−' : '+'}${Math.abs(percent).toFixed(Math.abs(percent) < 10 ? 1 : 0)} %`;
}

/** `mutualInformationBits` as `mutual information (bits)`: names of figures are made for programs. */
export function figureTitle(name: string): string {
  const words = name.replace(/([a-z0-9])([A-Z])/g, '$1 $2').replace(/[._-]/g, ' ').toLowerCase();
  return words.endsWith(' bits') ? `${words.slice(0, -5)} (bits)` : words;
}

export type Cell = string | { html: string; kind?: 'n' | 'n good' | 'n bad' | 'good' | 'bad' };

/** A number's cell. */
export function numberCell(value: number | undefined): Cell {
  return { html: formatFigure(value), kind: 'n' };
}

/** A table; plain strings are escaped, and the first cell of a row is its heading. */
export function renderTable(head: readonly Cell[], rows: readonly (readonly Cell[])[]): string {
  const cell = (tag: string, content: Cell, scope = ''): string => {
    const { html, kind } = typeof content === 'string' ? { html: escapeHtml(content), kind: undefined } : content;
    return `<${tag}${scope}${kind ? ` class="${kind}"` : ''}>${html}</${tag}>`;
  };
  const body = rows.map(
    (row) => `<tr>${row.map((content, i) => (i === 0 ? cell('th', content, ' scope="row"') : cell('td', content))).join('')}</tr>`,
  );
  return (
    `<div class="scroll"><table><thead><tr>${head.map((content) => cell('th', content, ' scope="col"')).join('')}</tr></thead>` +
    `<tbody>${body.join('\n')}</tbody></table></div>`
  );
}

/** Named values as a row of tiles. */
export function renderTiles(values: readonly (readonly [string, string])[]): string {
  const tiles = values.map(([name, value]) => `<div><dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd></div>`);
  return `<dl>${tiles.join('')}</dl>`;
}

export function renderParagraphs(paragraphs: readonly string[]): string {
  return paragraphs.map((text) => `<p>${escapeHtml(text)}</p>`).join('\n');
}

/** A picture inside the page: PNG bytes, or the path of a PNG. */
export interface Picture {
  caption: string;
  png: Uint8Array | string;
}

/** @throws OutputError for a picture that cannot be read */
export async function renderPictures(pictures: readonly Picture[]): Promise<string> {
  const figures = await Promise.all(
    pictures.map(async ({ caption, png }) => {
      const bytes = typeof png === 'string' ? await readPicture(png) : png;
      const text = escapeHtml(caption);
      return `<figure><img alt="${text}" src="data:image/png;base64,${Buffer.from(bytes).toString('base64')}"><figcaption>${text}</figcaption></figure>`;
    }),
  );
  return `<div class="pictures">${figures.join('\n')}</div>`;
}

async function readPicture(file: string): Promise<Uint8Array> {
  try {
    return await fs.readFile(file);
  } catch (error) {
    throw new OutputError(`${file}: the picture cannot be read (${(error as NodeJS.ErrnoException).code})`, { cause: error });
  }
}

/** Writes beside the target and renames: a reader sees the old page or the new one. Returns the path. */
export async function writePage(folder: string, name: string, html: string): Promise<string> {
  const target = path.join(folder, name);
  const temporary = `${target}.${process.pid}.tmp`;
  await fs.writeFile(temporary, html);
  await fs.rename(temporary, target);
  return target;
}
