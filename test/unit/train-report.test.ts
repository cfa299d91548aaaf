import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import type { AppEvent } from '../../src/app/events';
import { Log } from '../../src/cli/ui/log';
import { TrainView, sparkline } from '../../src/cli/ui/train-view';
import { renderChart, ticks } from '../../src/report/charts';
import { demoModes, writeDemoReport } from '../../src/report/demo-report';
import type { DemoReportData } from '../../src/report/demo-report';
import { appendMetrics, figuresOf, headlineFigures } from '../../src/report/metrics-file';
import type { UpdateMetrics } from '../../src/report/metrics-file';
import { formatChange, formatFigure } from '../../src/report/page';
import { writeTrainReport } from '../../src/report/train-report';

let folder: string;
beforeEach(() => (folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rl3dedit-report-'))));
afterEach(() => fs.rmSync(folder, { recursive: true }));

const png = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64');
const update = (n: number): UpdateMetrics => ({
  update: n,
  seconds: 3,
  rewards: { depth: { mean: n, std: 0.5, invalid: 0 }, pose: { mean: -n, std: 0.2, invalid: 1 } },
  advantage: { mean: 0, std: 1 },
  ratio: { mean: 1, min: 0.9, max: 1.1 },
  clipFraction: { high: 0.1, low: 0.2 },
  kl: 1e-4,
  gradientNorm: 1,
  zeroVarianceShare: 0,
  sharpness: 0.1,
  editStrength: 0.2,
  diversity: 0.01,
  entropy: 0.95,
  loss: 0.1,
  learningRate: 3e-4,
});

/** No scripts, nothing from outside, and a policy that lets the page's own style through. */
function expectSelfContained(html: string): void {
  expect(html).not.toMatch(/<script|<link|@import|https?:\/\/|\son\w+=|style="/);
  const style = /<style>(.*?)<\/style>/s.exec(html)![1];
  expect(html).toContain(`style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'`);
  expect(html).toContain("default-src 'none'");
}

it('shows state, curves, evaluations and samples of a run', async () => {
  fs.writeFileSync(path.join(folder, 'run.yaml'), 'updates: 8\ndevice: cpu\nmodel: <b>tiny</b>\nviews: 3\n');
  fs.mkdirSync(path.join(folder, 'samples'));
  for (const name of ['000000.png', '000004.png']) fs.writeFileSync(path.join(folder, 'samples', name), png);
  await appendMetrics(folder, { update: 0, evaluation: { warpError: 0.08, agreement: 0.4 } });
  for (let n = 1; n <= 4; n++) await appendMetrics(folder, update(n));
  await appendMetrics(folder, { update: 4, evaluation: { warpError: 0.06, agreement: 0.5 } });
  await appendMetrics(folder, { update: 4, stopped: 'edits fade & vanish' });
  fs.appendFileSync(path.join(folder, 'metrics.jsonl'), '{"update":5,"seco');
  const html = fs.readFileSync(await writeTrainReport(folder, { paragraphs: ['a < b'] }), 'utf8');
  expectSelfContained(html);
  for (const text of ['4 of 8', 'stopped', 'edits fade &#38; vanish', 'a &#60; b', '&#60;b&#62;tiny', '3.00 s']) expect(html).toContain(text);
  expect(html).toContain('<td class="n good">−25 %</td>');
  expect(html).toContain('<td class="n good">+25 %</td>');
  for (const title of ['reward: depth', 'reward: pose', 'probability ratio', 'clipped ratios', 'sharpness', 'held out: warp error']) expect(html).toContain(`<title>${title}</title>`);
  expect(html.match(/data:image\/png;base64,/g)).toHaveLength(2);
  expect(fs.readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
});

it('is there before the first update', async () => {
  expectSelfContained(fs.readFileSync(await writeTrainReport(folder), 'utf8'));
});

it('draws a line where the values are, with gaps and the figures in words', () => {
  const svg = renderChart({ title: 't<', x: 'update', y: 'm', series: [{ name: 'a', points: [[1, 0], [2, 1], [3, NaN], [4, 1], [5, 0]] }] });
  const lines = [...svg.matchAll(/<path class="line l0" d="M([^"]*)"/g)].map(([, d]) => d.split('L').map((point) => point.split(',').map(Number)));
  expect(lines).toHaveLength(2);
  expect(lines[0][0]).toEqual([58, 202]);
  expect(lines[0][1][1]).toBeLessThan(lines[0][0][1]);
  expect(lines[1][1]).toEqual([428, 202]);
  expect(svg).toContain('a: 0 at first, 0 at last, between 0 and 1.00.');
  expect(svg).toContain('t&#60;');
});

it('keeps spikes and skips non-positive values on a logarithmic axis', () => {
  const points = Array.from({ length: 10_000 }, (_, i) => [i, i === 4321 ? 1000 : 1] as const);
  expect(renderChart({ title: 't', x: 'x', y: 'y', series: [{ name: 'a', points }] })).toContain('between 1.00 and 1000');
  expect(renderChart({ title: 't', x: 'x', y: 'y', log: true, series: [{ name: 'a', points: [[0, 0], [1, -1]] }] })).toContain('no values yet');
});

it('chooses round ticks and figures', () => {
  expect(ticks(0, 1, 5)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
  expect(ticks(0.113, 0.287, 5)).toEqual([0.15, 0.2, 0.25]);
  expect([0.12345, 1234.5, 1e-5, -0.5, NaN].map((value) => formatFigure(value))).toEqual(['0.123', '1235', '1.0e−5', '−0.500', 'NaN']);
  expect([formatChange(4, 3), formatChange(0, 3), formatChange(-4, -3)]).toEqual(['−25 %', '–', '+25 %']);
});

it('tells the demo in one file', async () => {
  const row = Object.fromEntries(headlineFigures.map((name, i) => [name, (i + 1) / 10])) as DemoReportData['rows']['before'];
  const rows = Object.fromEntries(demoModes.map((mode) => [mode, row])) as DemoReportData['rows'];
  rows.after = { ...row, warpError: 0.05 };
  const data = { seed: 3, seconds: 300, device: 'cpu', instruction: 'change the floor', updates: 80, rows, pictures: { before: png, after: png }, paragraphs: ['It learned.'] };
  const html = fs.readFileSync(await writeDemoReport(folder, data), 'utf8');
  expectSelfContained(html);
  for (const text of ['−50 %', 'It learned.', 'mutual information (bits)', '5.0 min']) expect(html).toContain(text);
});

describe('the terminal view', () => {
  class Capture {
    text = '';
    columns = 100;
    write(text: string): void {
      this.text += text;
    }
  }
  function show(interactive: boolean, steps: number): string {
    const stream = new Capture();
    let ms = 0;
    const view = new TrainView(new Log('info', stream, {}), { stream, interactive, now: () => ms });
    const send = (event: AppEvent): void => view.event(event);
    send({ type: 'stage', name: 'train', index: 0, count: 1 });
    send({ type: 'step', stage: 'train', step: 0, steps });
    for (let step = 1; step <= steps; step++) {
      ms += 2000;
      for (const [name, value] of figuresOf(update(step))) send({ type: 'metric', name: `train.${name}`, value });
      send({ type: 'step', stage: 'train', step, steps });
    }
    send({ type: 'warning', message: 'sharpness falls' });
    view.close();
    return stream.text;
  }

  it('writes one line per ten updates where nothing can be redrawn', () => {
    const lines = show(false, 25).split('\n').filter((line) => line.startsWith('train '));
    expect(lines).toHaveLength(3);
    expect(lines[0]).toContain('train 10/25, 2.0s/update, ETA 30s, depth 10, pose -10, ratio 1 (0.9 to 1.1), clipped 30 %');
    expect(show(false, 25)).not.toContain('\x1b');
  });

  it('redraws a block and leaves it whole at the end', () => {
    const last = show(true, 12).split('\x1b[J').at(-1)!;
    expect(last).toContain('12/12, 2.0s/update');
    expect(last).toMatch(/depth +12 ▁+/);
    expect(last).toContain('last warning: sharpness falls');
    expect(last.endsWith('\n')).toBe(true);
  });

  it('draws the course of a figure', () => {
    expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7])).toBe('▁▂▃▄▅▆▇█');
    expect(sparkline([1, NaN, 1])).toBe('▄ ▄');
  });
});
