import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { evaluate } from '../../src/app/eval';
import type { EvalResult, TrainApp } from '../../src/app/eval';
import { resolveEval } from '../../src/config/eval';
import { signOf, summarise } from '../../src/report/ablation';
import { appendMetrics } from '../../src/report/metrics-file';
import type { UpdateMetrics } from '../../src/report/metrics-file';

let folder: string;
beforeEach(() => (folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rl3dedit-eval-'))));
afterEach(() => fs.rmSync(folder, { recursive: true }));

function config(text: string): string {
  const file = path.join(folder, 'ablations.yaml');
  fs.writeFileSync(file, text);
  return file;
}
const good = (): string =>
  config(
    `out: ${folder}/runs\nseeds: [1, 2]\nbase:\n  data: { world: {} }\n  views: 3\n  rewards: { pose: 0.5 }\nvariants:\n  full: {}\n  no-pose:\n    rewards: { pose: 0 }\n`,
  );

it('merges variants over the base, one run per seed', () => {
  const { runs } = resolveEval(good());
  expect(runs.map(({ variant, seed }) => `${variant} ${seed}`)).toEqual(['full 1', 'full 2', 'no-pose 1', 'no-pose 2']);
  expect(runs.map(({ settings }) => settings.rewards.pose)).toEqual([0.5, 0.5, 0, 0]);
  expect(runs[3].settings).toMatchObject({ out: `${folder}/runs/no-pose/seed-2`, seed: 2, views: 3, rewards: { depth: 0.25 } });
});

it.each([
  ['variants:\n  full:\n    rewards: { pos: 1 }\n', ':4: variants.full.rewards.pos: unknown setting (did you mean pose?)'],
  ['variants:\n  full:\n    group: 1\n', ':4: variants.full.group: expected an integer from 2 to 1024, got 1'],
  ['variants:\n  full:\n    seed: 3\n', ':4: variants.full.seed: is set by eval'],
  ['variants:\n  full:\n    steps: 5\n', ':4: variants.full.window.size: 4 stochastic steps do not fit'],
  ['variant:\n  full: {}\n', ':2: variant: unknown setting (did you mean variants?)'],
  ['variants: {}\n', ':2: variants: expected a variant'],
])('refuses %j by file and line', (text, message) => {
  const file = config(`base: { data: { world: {} } }\n${text}`);
  expect(() => resolveEval(file, { flags: { out: 'x' } })).toThrow(`${file}${message}`);
});

it('accepts the shipped ablation file', () => {
  const { runs } = resolveEval(path.resolve(__dirname, '../../bench/ablations/tiny.yaml'));
  expect([...new Set(runs.map(({ variant }) => variant))]).toEqual(['full', 'no-confidence', 'no-pose', 'no-anchor', 'fixed-anchor', 'steps-4', 'steps-12', 'sfm', 'warp', 'no-kl', 'warp-no-kl', 'shuffled', 'paper', 'paper-no-anchor']);
  for (const { variant, settings } of runs) expect(settings).toMatchObject({ views: 3, group: 8, anchorGuided: !variant.startsWith('paper') });
});

/** Trains in no time: the warp error depends on variant and seed. */
function trainer(calls: string[], failAt?: string): TrainApp {
  return async function* (settings, _context, options) {
    const name = path.relative(path.join(folder, 'runs'), settings.out);
    calls.push(`${name}${options?.resume ? ' resumed' : ''}`);
    fs.mkdirSync(settings.out, { recursive: true });
    fs.writeFileSync(path.join(settings.out, 'run.yaml'), '');
    if (name === failAt) throw new Error('power cut');
    yield { type: 'stage', name: 'train', index: 0, count: 1 };
    const warpError = (settings.rewards.pose === 0 ? 0.08 : 0.04) + settings.seed * 0.001;
    await appendMetrics(settings.out, { update: 0, evaluation: { warpError: 0.1, quality: 0.02 } });
    await appendMetrics(settings.out, { update: 9, evaluation: { warpError, quality: 0.02 } });
    return {};
  };
}

async function run(train: TrainApp, file = good()): Promise<EvalResult> {
  const app = evaluate(resolveEval(file), { signal: new AbortController().signal }, { train });
  for (;;) {
    const next = await app.next();
    if (next.done) return next.value;
  }
}

it('compares the variants, keeps finished runs and resumes the others', async () => {
  const calls: string[] = [];
  await expect(run(trainer(calls, 'no-pose/seed-1'))).rejects.toThrow('power cut');
  const { rows, signs, base } = await run(trainer(calls));
  expect(calls).toEqual(['full/seed-1', 'full/seed-2', 'no-pose/seed-1', 'no-pose/seed-1 resumed', 'no-pose/seed-2']);
  expect(rows.map(({ figures }) => figures.warpError.mean)).toEqual([expect.closeTo(0.0415, 12), expect.closeTo(0.0815, 12)]);
  expect(rows[0].figures.warpError.std).toBeCloseTo(Math.SQRT1_2 * 0.001, 12);
  expect(base?.figures.warpError).toMatchObject({ mean: 0.1, n: 2 });
  expect(signs).toEqual([expect.objectContaining({ variant: 'no-pose', against: 'full', signs: { consistency: 'worse', quality: 'same' }, agrees: false })]);
  expect(fs.readdirSync(path.join(folder, 'runs')).sort()).toEqual(['full', 'no-pose', 'report.html', 'table.json', 'table.md']);
  expect(fs.readFileSync(path.join(folder, 'runs/table.md'), 'utf8')).toContain('| full | 2 | 0.0415 ± 7.1e−4 |');
});

it('keeps no stale figures of a run that a guard stopped without numbers', async () => {
  const broken: TrainApp = async function* (settings) {
    fs.mkdirSync(settings.out, { recursive: true });
    yield { type: 'stage', name: 'train', index: 0, count: 1 };
    await appendMetrics(settings.out, { update: 0, evaluation: { warpError: 0.1 } });
    await appendMetrics(settings.out, { update: 4, seconds: 1 } as UpdateMetrics);
    if (settings.seed === 2) await appendMetrics(settings.out, { update: 4, stopped: 'no numbers' });
    return {};
  };
  const file = (seed: number): string => config(fs.readFileSync(good(), 'utf8').replace('[1, 2]', `[${seed}]`));
  const { rows, base } = await run(broken, file(2));
  expect(rows[0]).toMatchObject({ figures: {}, stopped: { 2: 'no numbers' } });
  expect(base?.figures.warpError.mean).toBe(0.1);
  await expect(run(broken, file(1))).rejects.toThrow('the run has no evaluation after its last update');
});

it('refuses to mix runs made with other settings', async () => {
  await run(trainer([]));
  const text = fs.readFileSync(good(), 'utf8').replace('views: 3', 'views: 4');
  await expect(run(trainer([]), config(text))).rejects.toThrow('full/seed-1: was finished with other settings (views)');
});

it('judges a difference by its standard error', () => {
  const of = (...values: number[]) => summarise(values.map((warpError) => ({ warpError }))).warpError;
  expect(signOf(of(2, 4), of(1, 3))).toBe('same');
  expect(signOf(of(4, 4.1), of(1, 1.1))).toBe('worse');
  expect(signOf(of(1), of(2))).toBe('better');
  expect(signOf(of(1), of(2), true)).toBe('worse');
});
