/** `rl3dedit view`: a splat file or the report of an output folder in the browser, from a server on this machine alone. */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { OutputError, RlError, SceneError } from '../binding/errors';
import type { ViewSettings } from '../config/view';
import { pageCss } from '../report/page';
import { readBrowserScripts, viewerCss, viewerFilePage } from '../report/viewer-section';
import { encodeSpz, readSplats } from '../scene/gaussians/formats';
import { editReport } from './edit/report-page';
import type { EditRecord } from './edit/report';
import { openBelow } from './view/folder-files';
import { policyBytes, reportPolicy, viewerPagePolicy } from './view/policy';
import { startServer } from './view/server';
import type { LocalServer, Resource, ServedContent } from './view/server';

export interface ViewServer extends LocalServer {
  /** What the address shows: a report that lay there, one made of edit.json, or a splat file. */
  shows: 'report' | 'edit' | 'splats';
  /** About the file, in words for the user. */
  warnings: readonly string[];
}

type Shown = Pick<ViewServer, 'shows' | 'warnings'> & ServedContent;

const html = 'text/html; charset=utf-8';

/**
 * Serves until closed.
 * @throws SceneError for what is no splat file or has nothing to show, EnvironmentError for a port in use or a build
 * without the viewer
 */
export async function openView({ path: target, port }: ViewSettings, signal?: AbortSignal): Promise<ViewServer> {
  const info = await fs.stat(target).catch((error: NodeJS.ErrnoException) => {
    throw new SceneError(`${target}: cannot be opened (${error.code}); expected a splat file or an output folder`, { cause: error });
  });
  const { resources, folder, index, ...rest } = info.isDirectory() ? await showFolder(target, signal) : await showSplats(target, signal);
  signal?.throwIfAborted();
  return { ...(await startServer({ resources, folder, index }, port)), ...rest };
}

async function showFolder(dir: string, signal: AbortSignal | undefined): Promise<Shown> {
  const folder = await fs.realpath(dir);
  const holds = async (name: string): Promise<boolean> => {
    const file = await openBelow(folder, [name]);
    await file?.handle.close();
    return file !== undefined;
  };
  // Read at each request: the report of a run that goes on is written anew.
  if (await holds('report.html')) return { shows: 'report', warnings: [], folder, index: 'report.html', resources: new Map() };
  if (await holds('edit.json')) {
    const content = Buffer.from(await reportOf(folder));
    const policy = reportPolicy(content.toString('utf8', 0, policyBytes));
    return { shows: 'edit', warnings: [], folder, resources: new Map([['', { type: html, content, policy }]]) };
  }
  for (const name of ['scene.ply', 'scene.spz', 'scene.splat', 'scene_before.ply'])
    if (await holds(name)) return { ...(await showSplats(path.join(folder, name), signal)), folder };
  throw new SceneError(`${dir}: nothing to show: holds no report.html, edit.json or scene.ply`);
}

/** @throws OutputError for a damaged record */
async function reportOf(dir: string): Promise<string> {
  const file = path.join(dir, 'edit.json');
  try {
    return await editReport(dir, JSON.parse(await fs.readFile(file, 'utf8')) as EditRecord);
  } catch (error) {
    if (error instanceof RlError) throw error;
    throw new OutputError(`${file}: damaged (${(error as Error).message})`, { cause: error });
  }
}

/** The file is read here first: what is no scene is refused in words, and what Spark cannot read goes out as SPZ 3. */
async function showSplats(file: string, signal: AbortSignal | undefined): Promise<Shown> {
  const { cloud, format, warnings } = await readSplats(file, { signal });
  if (cloud.count === 0) throw new SceneError(`${file}: holds no Gaussians`);
  const asIs = format === 'spz v4' ? undefined : format.startsWith('spz') ? 'spz' : format === 'splat' ? 'splat' : 'ply';
  const url = `scene.${asIs ?? 'spz'}`;
  const title = path.basename(file);
  const scenes = [{ title: `${title}: ${cloud.count.toLocaleString('en-US')} Gaussians`, format: asIs ?? 'spz', url } as const];
  const markup = viewerFilePage(title, { scenes, views: [], background: [0, 0, 0] }, 'viewer.css');
  const { viewer } = await readBrowserScripts();
  const resource = (type: string, content: Resource['content']): Resource => ({ type, content, policy: viewerPagePolicy });
  const resources = new Map([
    ['', resource(html, Buffer.from(markup))],
    ['viewer.js', resource('text/javascript; charset=utf-8', Buffer.from(viewer))],
    ['viewer.css', resource('text/css; charset=utf-8', Buffer.from(pageCss + viewerCss))],
    [url, resource('application/octet-stream', asIs === undefined ? encodeSpz(cloud) : { file })],
  ]);
  return { shows: 'splats', warnings, resources };
}
