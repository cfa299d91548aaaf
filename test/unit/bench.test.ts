import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bench, benches, chooseBenches, merged, summaryLine } from '../../src/app/bench';
import { baselinePath } from '../../src/app/bench/environment';
import { fluxFlops } from '../../src/app/bench/flux';
import { quantiles, timesOf } from '../../src/app/bench/measure';
import type { AppEvent } from '../../src/app/events';
import { AbortError, ConfigError } from '../../src/binding/errors';
import { benchSchema } from '../../src/config/bench';
import { fluxPresets } from '../../src/models/flux';
import { changeOf, mismatch, passes, renderBenchReport } from '../../src/report/bench-report';
import type { BenchCase, BenchResult } from '../../src/report/bench-report';

const signal = new AbortController().signal;

function oneCase(p50: number, more: Partial<BenchCase> = {}): BenchCase {
  return { name: 'gemm 1024', dtype: 'f32', shape: '1024', ms: { p10: 0.9 * p50, p50, p90: 1.2 * p50 }, samples: 9, ...more };
}

function resultOf(cases: BenchCase[], deviceName = 'Some CPU'): BenchResult {
  return {
    environment: { date: '2026-01-02T03:04:05Z', device: 'cpu', deviceName, threads: 2, isa: 'avx2', versions: { rl3dedit: '0.1.0' } },
    cases,
  };
}

describe('timing', () => {
  it('warms up, takes at least three samples, and sorts them', async () => {
    const given = [100, 100, 3, 1, 2];
    expect(await timesOf(() => Promise.resolve(given.shift() as number), 1e-9, signal)).toEqual([1, 2, 3]);
    expect(given).toEqual([]);
  });

  it('stops at an abort', async () => {
    const controller = new AbortController();
    let samples = 0;
    const sample = (): Promise<number> => {
      if (++samples === 4) controller.abort();
      return Promise.resolve(1);
    };
    await expect(timesOf(sample, 60, controller.signal)).rejects.toThrow(AbortError);
    expect(samples).toBe(4);
  });

  it('gives the 10th, 50th and 90th percentile', () => {
    expect(quantiles([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])).toEqual({ p10: 1, p50: 5, p90: 9 });
    expect(quantiles([7])).toEqual({ p10: 7, p50: 7, p90: 7 });
  });
});

describe('operations of FLUX', () => {
  it('are 12.9 GFLOP a token of products, and 165 TFLOP at 8704 tokens', () => {
    const config = fluxPresets['flux-kontext-dev'];
    // The published counts: 57 blocks of 24 D² per token, and 32 % of a forward at this length in attention.
    const products = fluxFlops(config, 8192, 512, 1) - 57 * 4 * 8704 ** 2 * 3072;
    expect(products / 8704 / 1e9).toBeGreaterThan(12.9);
    expect(products / 8704 / 1e9).toBeLessThan(13.0);
    expect(fluxFlops(config, 8192, 512, 1) / 1e12).toBeCloseTo(165.5, 0);
    expect(fluxFlops(config, 100, 10, 3)).toBeCloseTo(3 * fluxFlops(config, 100, 10, 1), 0);
  });
});

describe('choice of benches', () => {
  it('is all without names, else the named ones', () => {
    expect(chooseBenches([])).toBe(benches);
    expect(chooseBenches(['vae-tiny', 'gemm']).map(({ name }) => name)).toEqual(['gemm', 'vae-tiny']);
  });

  it('names what there is when asked for what there is not', () => {
    expect(() => chooseBenches(['gem'])).toThrow(ConfigError);
    expect(() => chooseBenches(['gem'])).toThrow(/no bench 'gem'.*\n.*host-overhead/);
  });
});

describe('comparison', () => {
  it('is the relative change of the median of the same case and type', () => {
    const baseline = resultOf([oneCase(10)]);
    expect(changeOf(oneCase(11), baseline)).toBeCloseTo(0.1);
    expect(changeOf(oneCase(11, { dtype: 'bf16' }), baseline)).toBeUndefined();
    expect(changeOf(oneCase(11), undefined)).toBeUndefined();
  });

  it('is refused between machines', () => {
    expect(mismatch(resultOf([]).environment, resultOf([]).environment)).toBeUndefined();
    expect(mismatch(resultOf([]).environment, resultOf([], 'Other CPU').environment)).toMatch(/Some CPU.*Other CPU/);
  });

  it('keeps recorded cases that were not measured again, of the same machine alone', () => {
    const other = oneCase(5, { name: 'attention' });
    expect(merged(resultOf([oneCase(2)]), resultOf([oneCase(1), other])).cases).toEqual([other, oneCase(2)]);
    expect(merged(resultOf([oneCase(2)]), resultOf([other], 'Other CPU')).cases).toEqual([oneCase(2)]);
  });

  it('files baselines under plain names', () => {
    const { environment } = resultOf([], 'Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz');
    expect(baselinePath(environment)).toMatch(/bench\/baselines\/intel-xeon-platinum-8481c-cpu-2-70ghz\.json$/);
  });
});

describe('report', () => {
  it('holds every case and marks what is too slow', () => {
    const slow = oneCase(12, { limit: { ms: 10, what: 'the <limit>' }, parts: { encode: 4, edit: 8 }, flops: 24e6 });
    expect(passes(slow)).toBe(false);
    const page = renderBenchReport(resultOf([slow]), resultOf([oneCase(10)]));
    expect(page).toContain('+20.0 %');
    expect(page.match(/class="n bad"/g)).toHaveLength(2);
    expect(page).toContain('the &#60;limit&#62;');
    expect(page).toContain('8 ms</text>');
    expect(page).not.toMatch(/<script|src=|href=/);
  });

  it('compares nothing with another machine', () => {
    const page = renderBenchReport(resultOf([oneCase(12)]), resultOf([oneCase(10)], 'Other CPU'));
    expect(page).not.toContain('+20.0 %');
  });

  it('has a line for people', () => {
    expect(summaryLine(oneCase(10, { flops: 2e9 }), resultOf([oneCase(8)]))).toBe(
      'gemm 1024 f32  10 ms (9 to 12)  200 GFLOP/s  SLOWER +25 % against the baseline',
    );
    expect(summaryLine(oneCase(12, { limit: { ms: 10, what: 'a step' } }))).toContain('ABOVE 10 ms: a step');
  });
});

describe('a run', () => {
  it('measures, tells of it, frees its tensors and writes a report', async () => {
    const out = mkdtempSync(join(tmpdir(), 'bench-'));
    try {
      const settings = benchSchema.parse({ names: ['vggt-tiny-forward', 'vae-tiny'], device: 'cpu', seconds: 0.001, out });
      const stream = bench(settings, { signal });
      const events: AppEvent[] = [];
      let next = await stream.next();
      for (; !next.done; next = await stream.next()) events.push(next.value);
      const { cases, environment } = next.value;
      expect(cases.map(({ name }) => name)).toEqual(['vggt-tiny-forward', 'vae-tiny encode', 'vae-tiny decode']);
      for (const { ms, samples } of cases) {
        expect(ms.p10).toBeGreaterThan(0);
        expect(ms.p90).toBeGreaterThanOrEqual(ms.p50);
        expect(samples).toBeGreaterThanOrEqual(3);
      }
      expect(events.filter(({ type }) => type === 'metric')).toHaveLength(3);
      expect(JSON.parse(readFileSync(join(out, 'bench.json'), 'utf8'))).toEqual({ environment, cases });
      expect(readFileSync(join(out, 'bench.html'), 'utf8')).toContain('vae-tiny decode');
    } finally {
      rmSync(out, { recursive: true });
    }
  });

  it('counts the op calls of a full-size step without computing it', async () => {
    const settings = benchSchema.parse({ names: ['host-overhead'], seconds: 0.001 });
    const stream = bench(settings, { signal });
    let next = await stream.next();
    while (!next.done) next = await stream.next();
    const [step] = next.value.cases;
    // 19 double and 38 single blocks of a few dozen ops each.
    expect(step.figures?.['op calls']).toBeGreaterThan(57 * 10);
    expect(step.figures?.['op calls']).toBeLessThan(57 * 50);
    expect(step.limit?.ms).toBe(10);
  });
});
