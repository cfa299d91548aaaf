/** report.html of a finished edit, from what lies in its folder. */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { OutputError } from '../../binding/errors';
import { renderEditReport } from '../../report/edit-report';
import type { EditReportData, EditReportView, FigurePair, MapPair } from '../../report/edit-report';
import { readBrowserScripts } from '../../report/viewer-section';
import { embeddedScene } from '../../report/viewer-scene';
import { decodeImage } from '../../scene';
import type { Image } from '../../scene';
import { readSplats } from '../../scene/gaussians/formats';
import type { HeatMap } from '../../report/png';
import type { Chart } from '../../report/charts';
import type { RefitSection } from '../../report/edit-report';
import type { EditRecord } from './report';
import type { EditMaps } from './verification';

/** What the record does not hold and the page can show. */
export interface EditReportExtras {
  /** What the verifier saw in the first views. */
  maps?: EditMaps;
  /** Further figures of the whole edit, by name. */
  figures?: Record<string, FigurePair>;
  /** Further figures per view, by name. */
  viewFigures?: readonly Record<string, FigurePair>[];
  charts?: EditReportData['charts'];
  paragraphs?: readonly string[];
}

/** A render of the edited scene from the camera of a view. */
export function refittedFile(view: number): string {
  return `views/refit/${String(view).padStart(3, '0')}.png`;
}

/** Splat files of an edit: the scene before and after. */
const sceneFiles = [
  { title: 'before', name: 'scene_before.ply', describes: 'the scene before the edit, all Gaussians' },
  { title: 'after', name: 'scene.ply', describes: 'the edited scene, all Gaussians' },
] as const;

/**
 * The page of the edit in `dir`, with its scenes where there are any.
 * @throws OutputError for a picture that is missing, SceneError for a damaged scene, EnvironmentError without the bundles
 */
export async function editReport(dir: string, record: EditRecord, extras: EditReportExtras = {}): Promise<string> {
  const pictures = await Promise.all(record.views.map(({ before, after }) => Promise.all([picture(dir, before), picture(dir, after)])));
  const views = await Promise.all(record.views.map((_, i) => reportView(dir, record, i, pictures[i], extras)));
  const scenes: EditReportData['scenes'][number][] = [];
  const files: { href: string; title: string }[] = [];
  for (const { title, name, describes } of sceneFiles) {
    const file = path.join(dir, name);
    if (!(await exists(file))) continue;
    scenes.push(embeddedScene(title, (await readSplats(file)).cloud));
    files.push({ href: name, title: describes });
  }
  const { verification: checked } = record;
  const pair = (pick: (set: NonNullable<typeof checked>['after']) => number | undefined): FigurePair =>
    checked ? { before: pick(checked.before), after: pick(checked.after) } : {};
  const figures: Record<string, FigurePair> = checked
    ? {
        depthConfidence: pair((set) => set.depthConfidence),
        pointConfidence: pair((set) => set.pointConfidence),
        rotationErrorDeg: pair((set) => set.rotationDeg),
        translationErrorDeg: pair((set) => set.translationDeg),
      }
    : {};
  return renderEditReport(
    {
      prompt: record.prompt,
      facts: factsOf(record),
      paragraphs: extras.paragraphs,
      warnings: record.warnings,
      grid: { rows: record.grid.rows, cols: record.grid.cols, cells: record.cells },
      views,
      figures: { ...figures, ...extras.figures },
      charts: extras.charts,
      refit: record.refit ? refitSection(record.refit) : undefined,
      settings: { ...record.settings },
      seconds: record.seconds,
      scenes,
      files: [...files, { href: 'edit.json', title: 'the record of the edit' }],
    },
    await readBrowserScripts(),
  );
}

function factsOf({ model, device, dtype, seed, views, versions, outputHash }: EditRecord): [string, string][] {
  return [
    ['model', model],
    ['device', `${device}, ${dtype}`],
    ['views', String(views.length)],
    ['seed', String(seed)],
    ['version', versions.rl3dedit],
    ['output hash', outputHash.slice(0, 16)],
  ];
}

/** The record of a refit as the page shows it. */
function refitSection({ from, preset, gaussians, iterations, leaveOneOut, fitPsnr, editedShare, warp, seconds }: NonNullable<EditRecord['refit']>): RefitSection {
  const db = (value: number | null | undefined): string => (typeof value === 'number' ? `${value.toFixed(2)} dB` : 'unknown');
  const facts: [string, string][] = [
    ['from', from === 'source' ? "the scene's own splats" : 'points'],
    ['preset', preset],
    ['Gaussians', gaussians.source === gaussians.edited ? String(gaussians.edited) : `${gaussians.source} → ${gaussians.edited}`],
    ...(from === 'source' ? ([['touched by the edit', `${(100 * editedShare).toFixed(0)} %`]] as [string, string][]) : []),
    ['iterations', String(iterations)],
    ['PSNR, edited views', db(meanOf(fitPsnr))],
    ...(leaveOneOut ? ([['PSNR, views left out', db(leaveOneOut.psnr)], ['the same, before fitting', db(leaveOneOut.start)]] as [string, string][]) : []),
    ['seconds', seconds.toFixed(1)],
  ];
  const charts: Chart[] = [];
  const curve = leaveOneOut?.curve ?? [];
  if (leaveOneOut && curve.length > 1) {
    charts.push({
      title: 'Views left out of the refit',
      x: 'iteration',
      y: 'PSNR, dB',
      series: [
        { name: 'views left out', points: curve.map(({ iteration, psnr }) => [iteration, psnr]) },
        { name: `chosen: ${iterations}`, points: [[iterations, leaveOneOut.psnr]] },
        { name: 'before fitting', points: [[curve[0].iteration, leaveOneOut.start], [curve[curve.length - 1].iteration, leaveOneOut.start]], dashed: true },
      ],
    });
  }
  return { facts, charts, warp };
}

function meanOf(values: readonly (number | null)[]): number | undefined {
  const known = values.filter((value) => value !== null);
  return known.length > 0 ? known.reduce((sum, value) => sum + value, 0) / known.length : undefined;
}

/** The map of one view among those of the first ones; undefined for a later one. */
function mapOf({ width, height }: EditMaps['before'], data: Float32Array | undefined, view: number): HeatMap | undefined {
  const size = width * height;
  if (!data || data.length < (view + 1) * size) return undefined;
  return { width, height, data: data.subarray(view * size, (view + 1) * size) };
}

function mapPair(maps: EditMaps | undefined, what: 'confidence' | 'depth', view: number): MapPair | undefined {
  return maps && { before: mapOf(maps.before, maps.before[what], view), after: mapOf(maps.after, maps.after[what], view) };
}

async function reportView(
  dir: string,
  { views, verification, refit }: EditRecord,
  i: number,
  [before, after]: readonly [Uint8Array, Uint8Array],
  extras: EditReportExtras,
): Promise<EditReportView> {
  const { name, camera, meanChange } = views[i];
  const read = (set: 'before' | 'after') => verification?.[set].views[i];
  const [first, last] = [read('before'), read('after')];
  return {
    name,
    camera,
    before,
    after,
    difference: difference(await decodeImage(before), await decodeImage(after)),
    refitted: refit ? await picture(dir, refittedFile(i)).catch(() => undefined) : undefined,
    confidence: mapPair(extras.maps, 'confidence', i),
    depth: mapPair(extras.maps, 'depth', i),
    figures: {
      meanChange: { after: meanChange },
      ...(first && last
        ? {
            depthConfidence: { before: first.depthConfidence, after: last.depthConfidence },
            rotationErrorDeg: { before: first.rotationDeg, after: last.rotationDeg },
          }
        : {}),
      ...(refit ? { refitPsnr: { after: refit.fitPsnr[i] } } : {}),
      ...extras.viewFigures?.[i],
    },
  };
}

/** |a − b|, mean over the channels; undefined for pictures of different sizes. */
function difference(a: Image, b: Image): HeatMap | undefined {
  if (a.width !== b.width || a.height !== b.height) return undefined;
  const plane = a.width * a.height;
  const data = new Float32Array(plane);
  for (let p = 0; p < plane; p++)
    for (let c = 0; c < 3; c++) data[p] += Math.abs(a.data[c * plane + p] - b.data[c * plane + p]) / 3;
  return { width: a.width, height: a.height, data };
}

async function picture(dir: string, name: string): Promise<Uint8Array> {
  const file = path.join(dir, name);
  // The record may come from someone else, and the page would carry what it names.
  if (path.isAbsolute(name) || path.relative(dir, file).startsWith('..'))
    throw new OutputError(`${dir}: edit.json names a picture outside of the folder (${name})`);
  try {
    return await fs.readFile(file);
  } catch (error) {
    throw new OutputError(`${file}: the picture cannot be read (${(error as NodeJS.ErrnoException).code})`, { cause: error });
  }
}

function exists(file: string): Promise<boolean> {
  return fs.access(file).then(
    () => true,
    () => false,
  );
}
