import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser } from 'playwright-core';
import type { EditRecord } from '../../src/app/edit';
import { openView } from '../../src/app/view';
import { heatPng } from '../../src/report/png';
import { renderEditReport } from '../../src/report/edit-report';
import type { EditReportData } from '../../src/report/edit-report';
import { thinned } from '../../src/report/viewer-scene';
import { readBrowserScripts } from '../../src/report/viewer-section';
import { createImage, decodeImage, encodePng } from '../../src/scene';
import type { Camera } from '../../src/scene';
import type { GaussianCloud } from '../../src/scene/gaussians/cloud';
import { writeSplats } from '../../src/scene/gaussians/formats';
import { canvasPng, chromiumMissing, launchBrowser, openPage, viewerReady } from '../browser';
import { describeUnless } from '../describe-unless';
import { encodeTestPly, randomCloud, testCameras } from '../splat-fixtures';
import { psnr, renderReference } from '../splat-reference';

const before = randomCloud(1, 300);
const after = randomCloud(2, 300);
const cameras = testCameras();

let data: EditReportData;
beforeAll(async () => {
  data = await reportData();
}, 120_000);

async function reportData(): Promise<EditReportData> {
  const picture = async (cloud: GaussianCloud, camera: Camera): Promise<Buffer> => {
    const image = createImage(camera.width, camera.height);
    image.data.set(renderReference(cloud, camera));
    return encodePng(image);
  };
  const views = await Promise.all(
    cameras.map(async (camera, i) => ({
      name: `view <${i}> & "more"`,
      before: await picture(before, camera),
      after: await picture(after, camera),
      camera: { ...camera, worldToCam: Array.from(camera.worldToCam) },
      difference: { width: 8, height: 6, data: Float32Array.from({ length: 48 }, (_, k) => k / 48) },
      confidence: {
        before: { width: 8, height: 6, data: Float32Array.from({ length: 48 }, (_, k) => (k === 5 ? NaN : k)) },
        after: { width: 8, height: 6, data: new Float32Array(48).fill(20) },
      },
      figures: { meanChange: { after: 0.1 * i }, depthConfidence: { before: 2 + i, after: null } },
    })),
  );
  return {
    prompt: 'turn it <script>alert(1)</script> blue & "cold"',
    facts: [['model', 'tiny']],
    paragraphs: ['A paragraph.'],
    warnings: ['a warning </title>'],
    grid: { rows: 2, cols: 2, cells: [0, 1, 2, 0] },
    views,
    figures: { depthConfidence: { before: 2.5, after: 2.25 } },
    charts: [{ title: 'loss', x: 'iteration', y: 'L1 + SSIM', series: [{ name: 'loss', points: [[0, 1], [10, 0.5]] }] }],
    settings: { prompt: '</script>', steps: 4, viewNames: ['a', 'b'] },
    seconds: { denoise: 1.5, write: 0.5 },
    files: [{ href: 'scene.ply', title: 'the edited scene' }],
    scenes: [
      { title: 'before', format: 'ply', bytes: encodeTestPly(before) },
      { title: 'after', format: 'ply', bytes: encodeTestPly(after) },
    ],
  };
}

/** A camera of the same view on a canvas of another size. */
function scaled(camera: Camera, width: number, height: number): Camera {
  const [sx, sy] = [width / camera.width, height / camera.height];
  return { ...camera, width, height, fx: camera.fx * sx, cx: camera.cx * sx, fy: camera.fy * sy, cy: camera.cy * sy };
}

it('writes the same page each time, with every text escaped and no address in it', () => {
  const scripts = { page: 'page()', viewer: 'let a = "</script><!--";' };
  const html = renderEditReport(data, scripts);
  expect(renderEditReport(data, scripts)).toBe(html);
  expect(html).not.toContain('<script>alert');
  expect(html).toContain('let a = "<\\/script><\\!--";');
  expect(html.match(/<script/g)).toHaveLength(5);
  expect(html.match(/<\/script>/g)).toHaveLength(5);
  expect(html).toMatch(/content="default-src 'none'; img-src data:; style-src 'sha256-[^']+'; script-src 'sha256-[^']+' 'sha256-[^']+' 'wasm-unsafe-eval'; worker-src blob:; base-uri 'none'; form-action 'none'"/);
  expect(html).not.toMatch(/(?:src|href)="(?!data:|#|scene\.ply)/);
});

it('leaves the viewer and all that it needs out where there is no scene', () => {
  const html = renderEditReport({ ...data, scenes: [] }, { page: 'page()', viewer: 'viewer()' });
  expect(html).not.toMatch(/viewer\(\)|wasm|worker|splat/);
});

it('draws numbers as colours between the given limits, with holes', async () => {
  const png = heatPng({ width: 4, height: 1, data: Float32Array.of(-5, 2, NaN, 1) }, [0, 2], [[0, 0, 0], [200, 100, 50]]);
  const { data } = await decodeImage(png);
  expect(Array.from(data, (value) => Math.round(value * 255))).toEqual([...[0, 200, 128, 100], ...[0, 100, 128, 50], ...[0, 50, 128, 25]]);
});

it('thins a scene to the Gaussians that cover most', () => {
  const kept = thinned(before, 100);
  expect([kept.count, kept.shDegree, kept.shRest.length]).toEqual([100, 1, 900]);
  const covers = (cloud: GaussianCloud) => (i: number): number => {
    const [, b, c] = Array.from(cloud.logScales.subarray(3 * i, 3 * i + 3)).sort((x, y) => x - y);
    return Math.exp(b + c) / (1 + Math.exp(-cloud.opacityLogits[i]));
  };
  const all = Array.from({ length: 300 }, (_, i) => covers(before)(i)).sort((x, y) => y - x);
  const least = Math.min(...Array.from({ length: 100 }, (_, i) => covers(kept)(i)));
  expect(least).toBeCloseTo(all[99], 6);
  const from = before.opacityLogits.indexOf(kept.opacityLogits[7]);
  expect(kept.means.subarray(21, 24)).toEqual(before.means.subarray(3 * from, 3 * from + 3));
  expect(kept.shRest.subarray(63, 72)).toEqual(before.shRest.subarray(9 * from, 9 * from + 9));
  expect(thinned(before, 300)).toBe(before);
});

describeUnless(chromiumMissing, 'in Chromium', () => {
  let folder: string;
  let browser: Browser;
  beforeAll(async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rl3dedit-report-'));
    browser = await launchBrowser();
  }, 60_000);
  afterAll(async () => {
    await browser?.close();
    fs.rmSync(folder, { recursive: true, force: true });
  });

  async function open(scenes: boolean) {
    const file = path.join(folder, `report-${scenes}.html`);
    fs.writeFileSync(file, renderEditReport(scenes ? data : { ...data, scenes: [] }, await readBrowserScripts()));
    const url = pathToFileURL(file).href;
    return { url, ...(await openPage(browser, url, { width: 400, height: 800 })) };
  }

  async function expectPicture(png: Buffer, cloud: GaussianCloud, camera: Camera, least = 35): Promise<void> {
    const shown = await decodeImage(png);
    const expected = renderReference(cloud, scaled(camera, shown.width, shown.height));
    const agreement = psnr(shown.data, expected);
    console.info(`viewer against the reference: ${agreement.toFixed(1)} dB at ${shown.width} × ${shown.height}`);
    expect(agreement).toBeGreaterThan(least);
  }

  it('shows the scene from each view as the reference does, and the other one after a click', async () => {
    const { page, complaints, requests, url } = await open(true);
    await viewerReady(page);
    await expectPicture(await canvasPng(page), before, cameras[0]);
    for (const view of [1, 2]) {
      await page.click(`#splat-viewer .view >> nth=${view}`);
      await viewerReady(page);
      await expectPicture(await canvasPng(page), before, cameras[view]);
    }
    expect(await page.textContent('#splat-viewer .bar b')).toBe('before');
    await page.click('#splat-viewer .toggle');
    await viewerReady(page);
    expect(await page.textContent('#splat-viewer .bar b')).toBe('after');
    await expectPicture(await canvasPng(page), after, cameras[2]);
    await page.click('#splat-viewer .toggle');
    await viewerReady(page);
    await expectPicture(await canvasPng(page), before, cameras[2]);
    if (process.env.RL3DEDIT_SCREENSHOTS) await page.screenshot({ path: path.join(process.env.RL3DEDIT_SCREENSHOTS, 'report.png'), fullPage: true });
    expect(complaints).toEqual([]);
    expect(requests).toEqual([url]);
    await page.close();
  });

  it('fills the pairs and moves the line with the slider', async () => {
    const { page, complaints, requests, url } = await open(false);
    const sources = await page.$$eval('.compare img', (images) => images.map((image) => image.getAttribute('src')?.slice(0, 22)));
    expect(sources).toEqual(Array(6).fill('data:image/png;base64,'));
    const clip = () => page.$eval('.compare >> nth=1', (pair) => pair.querySelector('.after')?.computedStyleMap().get('clip-path')?.toString());
    expect(await clip()).toBe('inset(0px 0px 0px 50%)');
    await page.locator('.compare >> nth=1').locator('input').fill('20');
    expect(await clip()).toBe('inset(0px 0px 0px 20%)');
    if (process.env.RL3DEDIT_SCREENSHOTS) await page.screenshot({ path: path.join(process.env.RL3DEDIT_SCREENSHOTS, 'plain.png'), fullPage: true });
    expect(complaints).toEqual([]);
    expect(requests).toEqual([url]);
    await page.close();
  });

  it('serves an edit without a report as one, in a sandbox of its own', async () => {
    const dir = path.join(folder, 'edit');
    fs.mkdirSync(dir);
    await writeSplats(path.join(dir, 'scene_before.ply'), before);
    await writeSplats(path.join(dir, 'scene.ply'), after);
    const views = data.views.map((view, i) => {
      const [first, last] = [`before-${i}.png`, `after-${i}.png`];
      fs.writeFileSync(path.join(dir, first), view.before);
      fs.writeFileSync(path.join(dir, last), view.after);
      return { name: view.name, sceneIndex: i, camera: { ...view.camera!, worldToCam: [...view.camera!.worldToCam] }, before: first, after: last, meanChange: 0.1 };
    });
    const record: Partial<EditRecord> = {
      ...{ prompt: 'make it gold', model: 'tiny', device: 'cpu', dtype: 'f32', seed: 1, cells: [0, 1, 2, 0], seconds: {}, warnings: [] },
      ...{ views, versions: { rl3dedit: '0', node: '0' }, verification: null, outputHash: 'abc' },
      grid: { rows: 2, cols: 2, cellWidth: 96, cellHeight: 72 } as EditRecord['grid'],
      settings: { steps: 4 } as EditRecord['settings'],
    };
    fs.writeFileSync(path.join(dir, 'edit.json'), JSON.stringify(record));
    const server = await openView({ path: dir, port: 0 });
    try {
      const { page, complaints, requests } = await openPage(browser, server.url, { width: 400, height: 800 });
      await viewerReady(page);
      await expectPicture(await canvasPng(page), before, cameras[0], 30);
      await page.click('#splat-viewer .toggle');
      await viewerReady(page);
      await expectPicture(await canvasPng(page), after, cameras[0], 30);
      expect(complaints).toEqual([]);
      expect(requests).toEqual([server.url]);
      // The page has an origin of its own: what else the server holds is out of its reach.
      expect(await page.evaluate(() => fetch('/edit.json').then(() => 'read', () => 'refused'))).toBe('refused');
      await page.close();
    } finally {
      await server.close();
    }
  });

  it.each(['ply', 'spz', 'splat'] as const)('serves a .%s file with the viewer', async (format) => {
    const file = path.join(folder, `cloud.${format}`);
    await writeSplats(file, before);
    const server = await openView({ path: file, port: 0 });
    try {
      const { page, complaints, requests } = await openPage(browser, server.url, { width: 400, height: 800 });
      await viewerReady(page);
      const shown = await decodeImage(await canvasPng(page));
      const lit = shown.data.filter((value) => value > 0.1).length / shown.data.length;
      expect(lit).toBeGreaterThan(0.1);
      // A drag turns the scene, a button brings the first look back.
      const first = await canvasPng(page);
      await page.mouse.move(180, 260);
      await page.mouse.down();
      await page.mouse.move(260, 280, { steps: 2 });
      await page.mouse.up();
      await viewerReady(page);
      expect((await canvasPng(page)).equals(first)).toBe(false);
      await page.click('#splat-viewer button');
      await viewerReady(page);
      expect(psnr((await decodeImage(await canvasPng(page))).data, shown.data)).toBeGreaterThan(40);
      expect(complaints).toEqual([]);
      expect(requests.sort()).toEqual(['', `scene.${format}`, 'viewer.css', 'viewer.js'].map((name) => server.url + name));
      await page.close();
    } finally {
      await server.close();
    }
  });
});
