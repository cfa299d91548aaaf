/** The splat viewer as part of a page: its markup, its scripts and what the page's policy must allow for it. */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { EnvironmentError } from '../binding/errors';
import { escapeHtml, inlineJson } from './page';
import type { PageExtras } from './page';
import { viewerDataElement, viewerElement } from './viewer-data';
import type { ViewerData, ViewerScene } from './viewer-data';

/** The bundles that `npm run build` makes for the browser. */
export interface BrowserScripts {
  /** Sliders. */
  page: string;
  /** The splat viewer: Spark and three.js. */
  viewer: string;
}

/** A scene inside the page: a file's bytes. SPZ must be of version 3 at most, which is what Spark reads. */
export interface EmbeddedScene extends Omit<ViewerScene, 'element' | 'url'> {
  bytes: Uint8Array;
}

/** Folder of the bundles, from the compiled and the plain sources alike. */
export const viewerFolder = path.resolve(__dirname, '../../dist/viewer');

/** @throws EnvironmentError when this build has no bundles */
export async function readBrowserScripts(): Promise<BrowserScripts> {
  const read = async (name: string): Promise<string> => {
    const file = path.join(viewerFolder, name);
    try {
      return await fs.readFile(file, 'utf8');
    } catch (error) {
      throw new EnvironmentError(`${file}: the browser's side is missing from this build; run npm run build`, { cause: error });
    }
  };
  return { page: await read('page.js'), viewer: await read('viewer.js') };
}

export const viewerCss =
  '#splat-viewer{max-width:60rem}#splat-viewer canvas{width:100%;height:auto;aspect-ratio:4/3;display:block;background:#000;border-radius:4px;touch-action:none;cursor:grab}' +
  '#splat-viewer canvas:active{cursor:grabbing}.bar{display:flex;flex-wrap:wrap;gap:.4rem;align-items:center;margin:.4rem 0}.bar b{min-width:4rem}' +
  'button{font:inherit;color:var(--fg);background:var(--soft);border:1px solid var(--line);border-radius:6px;padding:.15rem .7rem;cursor:pointer}button:hover{border-color:var(--dim)}';

/**
 * What Spark needs and no more: its worker comes from a blob, and its WebAssembly (which lies in the script) must be
 * compiled. It asks for nothing over the network.
 */
export const viewerPolicy: Required<Pick<PageExtras, 'policy' | 'scriptSources'>> = {
  policy: ['worker-src blob:'],
  scriptSources: ["'wasm-unsafe-eval'"],
};

/** The element that the viewer fills, and its data; the viewer's script must come after it. */
export function viewerMarkup(data: ViewerData): string {
  return (
    `<div id="${viewerElement}"><noscript>The viewer needs JavaScript.</noscript></div>` +
    `<script type="application/json" id="${viewerDataElement}">${inlineJson(data)}</script>`
  );
}

/** `viewerMarkup` with the scenes' files in the page. */
export function embeddedViewer(scenes: readonly EmbeddedScene[], data: Omit<ViewerData, 'scenes'>): string {
  const files = scenes.map(
    ({ bytes }, i) => `<script type="text/plain" id="splat-scene-${i}">${Buffer.from(bytes).toString('base64')}</script>`,
  );
  const listed = scenes.map(({ title, format }, i) => ({ title, format, element: `splat-scene-${i}` }));
  return files.join('\n') + viewerMarkup({ ...data, scenes: listed });
}

/** The page of a single file that a server gives: nothing inline, so that its policy may be the strictest. */
export function viewerFilePage(title: string, data: ViewerData, css: string): string {
  return [
    '<!doctype html>',
    '<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">',
    `<title>${escapeHtml(title)}</title><link rel="icon" href="data:,"><link rel="stylesheet" href="${css}">`,
    `<h1>${escapeHtml(title)}</h1>`,
    viewerMarkup(data),
    '<script src="viewer.js"></script></html>\n',
  ].join('\n');
}
