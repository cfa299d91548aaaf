/** report.html of the demo: what training did to the edits of scenes nobody trained on, beside two cheap alternatives. */
import { renderCharts } from './charts';
import { headlineFigures, readMetrics } from './metrics-file';
import type { HeadlineFigure } from './metrics-file';
import { figureTitle, numberCell, renderPage, renderParagraphs, renderPictures, renderTable, renderTiles, writePage } from './page';
import type { Cell, Picture } from './page';
import { changeCell, runCharts } from './train-report';

export type DemoRow = Record<HeadlineFigure, number>;

/** Ways of editing the held-out scenes, in the order of the page. */
export const demoModes = ['before', 'after', 'sharedNoise', 'paperMode'] as const;
export type DemoMode = (typeof demoModes)[number];

export interface DemoReportData {
  seed: number;
  /** Of the whole demo. */
  seconds: number;
  device: string;
  /** The instruction of the pictures. */
  instruction: string;
  updates: number;
  rows: Record<DemoMode, DemoRow>;
  /** One grid of views per mode: PNG bytes or the path of a PNG; `scene` shows the views before any edit. */
  pictures: Partial<Record<DemoMode | 'scene', Uint8Array | string>>;
  /** Folder of the training run, whose metrics.jsonl gives the curves. */
  run?: string;
  /** What training did and what it did not, in plain words. */
  paragraphs: readonly string[];
}

const modeTitles: Record<DemoMode | 'scene', string> = {
  scene: 'the scene, before any edit',
  before: 'base editor, anchor-guided',
  after: 'after training, anchor-guided',
  sharedNoise: 'base editor, one starting noise for all views',
  paperMode: 'after training without an anchor (the paper’s mode)',
};

const explanations: Record<HeadlineFigure, string> = {
  warpError: 'colour difference of the same surface point between two views, in the edited region, by exact geometry; lower is better',
  agreement: 'share of the views that show the same answer to the instruction as their anchor; higher is better',
  mutualInformationBits: 'how much the anchor’s answer tells about the other views’ answer; higher is better',
  entropy: 'diversity of the answers over all edits, 1 is uniform; a fall means that the editor always does the same',
  quality: 'error of the edited region to the nearest valid answer, view by view; lower is better',
  untouched: 'error outside the edited region, where nothing should change; lower is better',
  mixedWarpError: 'colour difference when the views come from edits with different anchors: must stay above the error of views edited together',
};

/**
 * Writes `folder`/report.html.
 * @returns the page's path
 * @throws OutputError for a picture or a metrics file that cannot be read
 */
export async function writeDemoReport(folder: string, data: DemoReportData): Promise<string> {
  const { rows } = data;
  const table = renderTable(
    ['', ...headlineFigures.map((name): Cell => ({ html: figureTitle(name), kind: 'n' }))],
    [
      ...demoModes.map((mode): Cell[] => [modeTitles[mode], ...headlineFigures.map((name) => numberCell(rows[mode][name]))]),
      ['change by training', ...headlineFigures.map((name) => changeCell(name, rows.before[name], rows.after[name]))],
    ],
  );
  const pictures = (['scene', ...demoModes] as const).flatMap((mode): Picture[] => {
    const png = data.pictures[mode];
    return png === undefined ? [] : [{ caption: modeTitles[mode], png }];
  });
  const charts = data.run === undefined ? [] : runCharts(await readMetrics(data.run));
  const body = [
    '<h1>rl3dedit demo</h1>',
    renderTiles([
      ['instruction', data.instruction],
      ['updates', String(data.updates)],
      ['time in all', data.seconds < 120 ? `${data.seconds.toFixed(0)} s` : `${(data.seconds / 60).toFixed(1)} min`],
      ['device', data.device],
      ['seed', String(data.seed)],
    ]),
    data.paragraphs.length === 0 ? '' : `<h2>In plain words</h2>${renderParagraphs(data.paragraphs)}`,
    pictures.length === 0 ? '' : `<h2>Held-out scenes</h2>${await renderPictures(pictures)}`,
    '<h2>Measured on held-out scenes</h2>',
    table,
    renderTable(['figure', 'meaning'], headlineFigures.map((name) => [figureTitle(name), explanations[name]])),
    charts.length === 0 ? '' : `<h2>Training</h2>${renderCharts(charts)}`,
  ];
  return writePage(folder, 'report.html', renderPage('rl3dedit demo', body));
}
