/** report.html of an edit: what was there, what became of it, what the verifier says, and both scenes to walk around in. */
import { renderChart, renderCharts } from './charts';
import type { Chart } from './charts';
import { escapeHtml, figureTitle, formatFigure, numberCell, renderPage, renderParagraphs, renderTable, renderTiles } from './page';
import type { Cell } from './page';
import { heatPng, hot, rangeOf } from './png';
import type { HeatMap, Ramp } from './png';
import type { ViewerCamera } from './viewer-data';
import { embeddedViewer, viewerCss, viewerPolicy } from './viewer-section';
import type { BrowserScripts, EmbeddedScene } from './viewer-section';

/** A number before and after the edit; one of them may be missing. */
export interface FigurePair {
  before?: number | null;
  after?: number | null;
}

/** A map of one view before and after; `after` alone for what only the edit has. */
export interface MapPair {
  before?: HeatMap;
  after?: HeatMap;
}

export interface EditReportView {
  name: string;
  /** PNG files. */
  before: Uint8Array;
  after: Uint8Array;
  /** The edited scene from the view's camera, PNG. */
  refitted?: Uint8Array;
  /** Where the viewer snaps to. */
  camera?: ViewerCamera;
  /** |edited − source|, mean over the channels. */
  difference?: HeatMap;
  /** The verifier's depth confidence, and the depth it sees. */
  confidence?: MapPair;
  depth?: MapPair;
  /** By name (`depthConfidence`); each becomes a column pair of the table and a curve over the views. */
  figures: Record<string, FigurePair>;
}

export interface EditReportData {
  prompt: string;
  /** Named facts about the run: model, device, seed. */
  facts: readonly (readonly [string, string])[];
  /** What happened in plain words, a paragraph each. */
  paragraphs?: readonly string[];
  warnings?: readonly string[];
  /** The grid that was edited: per cell, row-major, the index of the view it shows. */
  grid: { rows: number; cols: number; cells: readonly number[] };
  views: readonly EditReportView[];
  /** Figures of the whole edit, by name. */
  figures: Record<string, FigurePair>;
  /** Curves over the work: the loss of the refit, the reward of each step. */
  charts?: readonly Chart[];
  /** How the edited scene came out, where there is one. */
  refit?: RefitSection;
  /** Resolved settings, origins left out. */
  settings: Record<string, unknown>;
  /** Wall time by stage. */
  seconds: Record<string, number>;
  /** The scene before and after; none leaves the viewer out. */
  scenes: readonly EmbeddedScene[];
  /** Files beside the page, relative: what each is. */
  files?: readonly { href: string; title: string }[];
}

/** The edited splat scene in figures; its pictures are those of the views. */
export interface RefitSection {
  facts: readonly (readonly [string, string])[];
  charts: readonly Chart[];
  /** How far neighbouring views disagree when they are laid over each other. */
  warp: { before: number | null; after: number | null; refit: number | null };
}

const css =
  '.cells{display:grid;gap:3px;max-width:38rem}.cells img{width:100%;display:block;image-rendering:auto;background:var(--soft)}' +
  '.maps{display:flex;gap:2px}.maps img{flex:1;min-width:0}' +
  '.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(20rem,100%),1fr));gap:1.4rem}' +
  '.compare .pair{position:relative;line-height:0;overflow:hidden;border-radius:4px;background:var(--soft)}.compare img{width:100%}' +
  '.compare .after{position:absolute;inset:0;clip-path:inset(0 0 0 var(--at,50%))}' +
  '.compare .rule{position:absolute;top:0;bottom:0;left:var(--at,50%);width:2px;margin-left:-1px;background:#fff;box-shadow:0 0 3px #000}' +
  '.compare input{width:100%;margin:.4rem 0 0}';

/** The page. @param scripts the browser's side, see readBrowserScripts */
export function renderEditReport(data: EditReportData, scripts: BrowserScripts): string {
  const { grid, scenes, views, warnings = [], paragraphs = [], files = [] } = data;
  const body = [
    '<link rel="icon" href="data:,">',
    `<h1>${escapeHtml(data.prompt)}</h1>`,
    renderTiles(data.facts),
    warnings.length === 0 ? '' : `<ul class="bad">${warnings.map((text) => `<li>${escapeHtml(text)}</li>`).join('')}</ul>`,
    renderParagraphs(paragraphs),
    gridSection(data),
    viewerSection(data),
    refitSection(data),
    `<h2>View by view</h2><p class="dim">Drag the slider: left of the line before, right of it after.</p>`,
    `<div class="pictures">${views.map(compare).join('\n')}</div>`,
    figureSection(data),
    ...mapSections(views),
    curveSection(data),
    settingsSection(data),
    files.length === 0
      ? ''
      : `<h2>Files</h2><ul>${files.map(({ href, title }) => `<li><a href="${escapeHtml(encodeURI(href))}" download>${escapeHtml(href)}</a> ${escapeHtml(title)}</li>`).join('')}</ul>`,
  ];
  const withViewer = scenes.length > 0;
  return renderPage(`rl3dedit: ${data.prompt}`, body, {
    css: `${css}.cells{grid-template-columns:repeat(${grid.cols},1fr)}${withViewer ? viewerCss : ''}`,
    scripts: withViewer ? [scripts.page, scripts.viewer] : [scripts.page],
    ...(withViewer ? viewerPolicy : {}),
  });
}

function dataUrl(png: Uint8Array): string {
  return `data:image/png;base64,${Buffer.from(png).toString('base64')}`;
}

/** Both grids. The first cell of a view holds its picture, under an id from which every other place takes it. */
function gridSection({ grid, views }: EditReportData): string {
  const cells = (when: 'before' | 'after'): string => {
    const seen = new Set<number>();
    const images = grid.cells.map((view) => {
      const alt = escapeHtml(`${views[view].name} ${when}`);
      const first = !seen.has(view);
      seen.add(view);
      return first
        ? `<img id="${when}-${view}" alt="${alt}" src="${dataUrl(views[view][when])}">`
        : `<img data-same="${when}-${view}" alt="${alt}">`;
    });
    return `<figure><div class="cells" id="grid-${when}">${images.join('')}</div><figcaption>${when}</figcaption></figure>`;
  };
  return `<h2>The views, edited together</h2><div class="two">${cells('before')}${cells('after')}</div>`;
}

function viewerSection({ scenes, views }: EditReportData): string {
  if (scenes.length === 0) return '';
  const cameras = views.flatMap(({ name, camera }) => (camera ? [{ name, camera }] : []));
  return `<h2>The scene</h2>${embeddedViewer(scenes, { views: cameras, background: [0, 0, 0] })}`;
}

/** How the edited scene shows the edited views. */
function refitSection({ refit, views }: EditReportData): string {
  if (!refit) return '';
  const { facts, charts, warp } = refit;
  const pictures = views.flatMap(({ name, refitted, figures }, view) => {
    if (!refitted) return [];
    const caption = escapeHtml(`${view + 1}. ${name}`);
    const psnr = figures['refitPsnr']?.after;
    return [
      `<figure><div class="maps"><img data-same="after-${view}" alt="${caption} edited">` +
        `<img alt="${caption} refitted" src="${dataUrl(refitted)}"></div>` +
        `<figcaption>${caption}${typeof psnr === 'number' ? `, ${psnr.toFixed(1)} dB` : ''}</figcaption></figure>`,
    ];
  });
  const right = (html: string): Cell => ({ html, kind: 'n' });
  const value = (loss: number | null): Cell => numberCell(loss ?? undefined);
  return [
    `<h2>The edited scene beside the edited views</h2>${renderTiles(facts)}`,
    pictures.length === 0 ? '' : `<p class="dim">Left the edited view, right the edited scene from its camera.</p><div class="pictures">${pictures.join('\n')}</div>`,
    [warp.before, warp.after, warp.refit].every((loss) => loss === null)
      ? ''
      : `<h3>Agreement of neighbouring views</h3><p class="dim">Photometric loss of each view laid over its neighbour by depth; lower is more consistent.</p>${renderTable(
          ['', right('before the edit'), right('edited views'), right('edited scene')],
          [['warp loss', value(warp.before), value(warp.after), value(warp.refit)]],
        )}`,
    charts.length === 0 ? '' : `<h3>How long to fit</h3><p class="dim">Some edited views are left out of fits of growing length; the length that meets them best is taken.</p>${renderCharts(charts)}`,
  ].join('');
}

function compare({ name }: EditReportView, view: number): string {
  const caption = escapeHtml(name);
  return (
    `<figure class="compare"><div class="pair"><img data-same="before-${view}" alt="${caption} before">` +
    `<img class="after" data-same="after-${view}" alt="${caption} after"><div class="rule"></div></div>` +
    `<input type="range" min="0" max="100" value="50" aria-label="${caption}: share shown of the picture before">` +
    `<figcaption>${view + 1}. ${caption}</figcaption></figure>`
  );
}

function has(pair: FigurePair | undefined, when: 'before' | 'after'): boolean {
  return typeof pair?.[when] === 'number';
}

function figureSection({ figures, views }: EditReportData): string {
  const value = (pair: FigurePair | undefined, when: 'before' | 'after'): Cell => numberCell(pair?.[when] ?? undefined);
  const whole = Object.entries(figures);
  const names = [...new Set(views.flatMap((view) => Object.keys(view.figures)))];
  const columns = names.flatMap((name) =>
    (['before', 'after'] as const).filter((when) => views.some((view) => has(view.figures[name], when))).map((when) => ({ name, when })),
  );
  const right = (html: string): Cell => ({ html, kind: 'n' });
  return [
    whole.length === 0
      ? ''
      : `<h2>Figures</h2>${renderTable(
          ['', right('before'), right('after')],
          whole.map(([name, pair]) => [figureTitle(name), value(pair, 'before'), value(pair, 'after')]),
        )}`,
    columns.length === 0
      ? ''
      : `<h2>Figures by view</h2>${renderTable(
          ['view', ...columns.map(({ name, when }) => right(escapeHtml(`${figureTitle(name)}, ${when}`)))],
          views.map((view, i) => [`${i + 1}. ${view.name}`, ...columns.map(({ name, when }) => value(view.figures[name], when))]),
        )}`,
  ].join('');
}

function mapSections(views: readonly EditReportView[]): string[] {
  const pair = (pick: (view: EditReportView) => MapPair | undefined) => (view: EditReportView) => {
    const { before, after } = pick(view) ?? {};
    return [...(before ? [{ map: before, when: 'before' }] : []), ...(after ? [{ map: after, when: 'after' }] : [])];
  };
  return [
    mapSection(views, 'What changed', 'mean |after − before| of the channels', pair(({ difference }) => ({ after: difference })), hot),
    mapSection(views, 'Depth confidence of the verifier', 'light: the views agree on this place', pair(({ confidence }) => confidence)),
    mapSection(views, 'Depth as the verifier sees it', 'light: far', pair(({ depth }) => depth)),
  ];
}

/** All maps of a kind share one scale, so that they can be compared. */
function mapSection(
  views: readonly EditReportView[],
  title: string,
  meaning: string,
  mapsOf: (view: EditReportView) => { map: HeatMap; when: string }[],
  ramp?: Ramp,
): string {
  const maps = views.map(mapsOf);
  const all = maps.flat().map(({ map }) => map);
  if (all.length === 0) return '';
  const range = rangeOf(all);
  const low = ramp === hot ? 0 : range[0];
  const figures = maps.map((ofView, view) => {
    if (ofView.length === 0) return '';
    const caption = escapeHtml(`${view + 1}. ${views[view].name}`);
    const images = ofView.map(
      ({ map, when }) => `<img alt="${escapeHtml(title)}: ${caption} ${when}" src="${dataUrl(heatPng(map, [low, range[1]], ramp))}">`,
    );
    const order = ofView.length > 1 ? ': before, after' : '';
    return `<figure><div class="maps">${images.join('')}</div><figcaption>${caption}${order}</figcaption></figure>`;
  });
  return (
    `<h2>${escapeHtml(title)}</h2><p class="dim">${escapeHtml(meaning)}; colours from ${formatFigure(low)} to ${formatFigure(range[1])}.</p>` +
    `<div class="pictures">${figures.join('\n')}</div>`
  );
}

function curveSection({ views, charts = [] }: EditReportData): string {
  const names = [...new Set(views.flatMap((view) => Object.keys(view.figures)))];
  const overViews = names.map((name): Chart => {
    const series = (['before', 'after'] as const)
      .filter((when) => views.some((view) => has(view.figures[name], when)))
      .map((when) => ({
        name: when,
        points: views.map((view, i) => [i + 1, view.figures[name]?.[when] ?? NaN] as const),
        dashed: when === 'before',
      }));
    return { title: figureTitle(name), x: 'view', y: figureTitle(name), series, marks: true };
  });
  return [
    charts.length === 0 ? '' : `<h2>Over the work</h2>${renderCharts(charts)}`,
    overViews.length === 0 || views.length < 2 ? '' : `<h2>Over the views</h2><div class="charts">${overViews.map(renderChart).join('\n')}</div>`,
  ].join('');
}

function settingsSection({ settings, seconds }: EditReportData): string {
  const shown = (value: unknown): string => (typeof value === 'string' ? value : (JSON.stringify(value) ?? ''));
  const total = Object.values(seconds).reduce((sum, value) => sum + value, 0);
  return [
    Object.keys(seconds).length === 0
      ? ''
      : `<h2>Time</h2>${renderTable(
          ['stage', { html: 'seconds', kind: 'n' }],
          [...Object.entries(seconds), ['in all', total] as const].map(([name, value]) => [name, numberCell(value)]),
        )}`,
    `<h2>Settings</h2>${renderTable(
      ['setting', 'value'],
      Object.entries(settings).filter(([, value]) => value !== undefined).map(([name, value]) => [name, shown(value)]),
    )}`,
  ].join('');
}
