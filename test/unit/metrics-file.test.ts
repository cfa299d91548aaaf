import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { appendMetrics, figuresOf, metricsFileName, readMetrics, truncateMetrics } from '../../src/report/metrics-file';
import type { UpdateMetrics } from '../../src/report/metrics-file';

let folder: string;
beforeEach(() => (folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rl3dedit-metrics-'))));
afterEach(() => fs.rmSync(folder, { recursive: true }));

const file = (): string => path.join(folder, metricsFileName);
const text = (): string => fs.readFileSync(file(), 'utf8');
const line = (update: number): UpdateMetrics => ({
  update,
  seconds: 2.5,
  rewards: { depth: { mean: update / 3, std: 0.1, invalid: 0 } },
  advantage: { mean: 0, std: 1 },
  ratio: { mean: 1, min: 1, max: 1 },
  clipFraction: { high: 0, low: 0 },
  kl: 1e-9,
  gradientNorm: NaN,
  zeroVarianceShare: 0,
  sharpness: 1,
  editStrength: 0.2,
  diversity: 0.01,
  loss: -Infinity,
  learningRate: 3e-4,
});

it('gives back every number bit for bit, also those JSON lacks', async () => {
  await appendMetrics(folder, line(1));
  await appendMetrics(folder, { update: 1, evaluation: { warpError: 0.1 }, baseline: { warpError: 0.2 } });
  await appendMetrics(folder, { update: 1, stopped: 'no edit is left' });
  expect(await readMetrics(folder)).toEqual({
    updates: [line(1)],
    evaluations: [{ update: 1, evaluation: { warpError: 0.1 }, baseline: { warpError: 0.2 } }],
    stopped: 'no edit is left',
  });
});

it('reads a folder without the file as nothing logged', async () => {
  expect(await readMetrics(folder)).toEqual({ updates: [], evaluations: [] });
});

it('survives a kill anywhere in the last line', async () => {
  await appendMetrics(folder, line(1));
  const first = text().length;
  await appendMetrics(folder, line(2));
  const whole = text();
  for (let length = first; length < whole.length; length += 9) {
    fs.writeFileSync(file(), whole.slice(0, length));
    expect((await readMetrics(folder)).updates.map(({ update }) => update)).toEqual([1]);
  }
  fs.writeFileSync(file(), whole.slice(0, first + 7));
  await appendMetrics(folder, line(2));
  expect(text()).toBe(whole);
});

it('drops an unfinished line longer than the block it looks back by', async () => {
  fs.writeFileSync(file(), `{"update":1,"x":"${'a'.repeat(20_000)}`);
  await appendMetrics(folder, line(1));
  expect((await readMetrics(folder)).updates).toEqual([line(1)]);
});

it('names file and line of damage elsewhere', async () => {
  fs.writeFileSync(file(), '{"update":1,"evaluation":{}}\n{"upd\n{"update":2,"evaluation":{}}\n');
  await expect(readMetrics(folder)).rejects.toThrow(`${file()}:2: is damaged`);
});

it('goes back to an update, without later lines, the stop or an unfinished tail', async () => {
  for (const update of [1, 2, 3]) await appendMetrics(folder, line(update));
  await appendMetrics(folder, { update: 3, evaluation: { warpError: 0.1 } });
  await appendMetrics(folder, { update: 3, stopped: 'blur' });
  fs.appendFileSync(file(), '{"update":4,');
  await truncateMetrics(folder, 3);
  expect(await readMetrics(folder)).toEqual({ updates: [line(1), line(2), line(3)], evaluations: [{ update: 3, evaluation: { warpError: 0.1 } }] });
  expect(text().endsWith('\n')).toBe(true);
  await truncateMetrics(folder, 1);
  expect(await readMetrics(folder)).toEqual({ updates: [line(1)], evaluations: [] });
  expect(fs.readdirSync(folder)).toEqual([metricsFileName]);
});

it('names the figures of a line for the event stream', () => {
  const names = figuresOf(line(4)).map(([name]) => name);
  expect(names).toEqual(expect.arrayContaining(['rewards.depth.mean', 'ratio.max', 'clipFraction.high', 'kl']));
  expect(names).not.toContain('update');
});
