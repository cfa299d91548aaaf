/** Headless Chromium for tests of pages: WebGL in software, every request and every complaint of a page recorded. */
import * as fs from 'node:fs';
import { chromium } from 'playwright-core';
import type { Browser, Page } from 'playwright-core';

const executable = process.env.RL3DEDIT_CHROMIUM ?? '/usr/bin/chromium';

export const chromiumMissing = fs.existsSync(executable)
  ? undefined
  : `no Chromium at ${executable} (install the package chromium, or set RL3DEDIT_CHROMIUM)`;

export function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: executable,
    args: [
      '--headless=new',
      '--no-sandbox',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--use-gl=angle',
      '--use-angle=swiftshader',
      '--enable-unsafe-swiftshader',
      '--ignore-gpu-blocklist',
    ],
  });
}

export interface WatchedPage {
  page: Page;
  /** Warnings and errors of the console, uncaught errors, refusals of the policy. */
  complaints: string[];
  /** What it asked for, beyond data: and blob: addresses. */
  requests: string[];
}

/** WebGL in software says so on the console, which is no complaint about the page. */
const aboutSoftware = /GPU stall due to ReadPixels|swiftshader|software WebGL/i;

export async function openPage(browser: Browser, url: string, viewport = { width: 1000, height: 900 }): Promise<WatchedPage> {
  const page = await browser.newPage({ viewport });
  const complaints: string[] = [];
  const requests: string[] = [];
  page.on('console', (message) => {
    if (['warning', 'error'].includes(message.type()) && !aboutSoftware.test(message.text())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => {
    if (!/^(data|blob):/.test(request.url())) requests.push(request.url());
  });
  await page.goto(url);
  return { page, complaints, requests };
}

/** As much of the page's own world as the functions below, which run there, need: these tests compile without a DOM. */
declare const document: {
  getElementById(id: string): { dataset: Record<string, string | undefined> } | null;
  querySelector(selector: string): { toDataURL(type: string): string } | null;
};

/** Waits until the splat viewer has drawn what it was told to. */
export async function viewerReady(page: Page): Promise<void> {
  // A string instead of a function would be evaluated, which the page's policy forbids.
  const ended = await page.waitForFunction(
    () => {
      const state = document.getElementById('splat-viewer')?.dataset.state;
      return state === 'ready' || state === 'failed' ? state : false;
    },
    undefined,
    { timeout: 90_000 },
  );
  const state = await ended.jsonValue();
  if (state !== 'ready') throw new Error(`viewer ${state}: ${await page.textContent('#splat-viewer')}`);
}

/** The viewer's picture as PNG. */
export async function canvasPng(page: Page): Promise<Buffer> {
  const url = await page.evaluate(() => document.querySelector('#splat-viewer canvas')?.toDataURL('image/png') ?? '');
  return Buffer.from(url.split(',')[1], 'base64');
}
