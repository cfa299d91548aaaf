import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { BuildInfo } from '../../src/binding/types';
import { describeUnless } from '../describe-unless';

interface Outcome {
  info: BuildInfo;
  exports: string[];
  ops: string[];
  results: Record<string, (number | null)[]>;
  /** What opening "cuda" threw; null when it opened. */
  cuda: { code: string; message: string } | null;
}

const root = resolve(__dirname, '../..');
const cpuBinary = join(root, 'build/Release/rl3dedit.node');
// Another place for the CUDA build may be named, so that it can be tested before it becomes the one in use.
const cudaBinary = process.env.RL3DEDIT_CUDA_BINDING ?? join(root, 'build-cuda/Release/rl3dedit.node');
const main = join(root, 'dist/cli/main.js');

const missing = [cpuBinary, cudaBinary].find((path) => !existsSync(path));

function outcomeOf(binary: string): Outcome {
  const text = execFileSync(process.execPath, [join(__dirname, 'op-results.cjs'), binary],
                            { encoding: 'utf8', maxBuffer: 1 << 26 });
  return JSON.parse(text) as Outcome;
}

/** Largest |a - b| over max |b|; Infinity where lengths differ or a value is not finite. */
function difference(a: (number | null)[], b: (number | null)[]): number {
  if (a.length !== b.length || [...a, ...b].includes(null)) return Infinity;
  const peak = Math.max(1e-6, ...b.map((value) => Math.abs(value!)));
  return Math.max(0, ...a.map((value, i) => Math.abs(value! - b[i]!))) / peak;
}

describeUnless(missing === undefined ? undefined : `no ${missing}`, 'the CPU and the CUDA build', () => {
  const cpu = missing === undefined ? outcomeOf(cpuBinary) : ({} as Outcome);
  const cuda = missing === undefined ? outcomeOf(cudaBinary) : ({} as Outcome);

  test('say of themselves the same, CUDA apart', () => {
    const common = ({ compiler, napiVersion, cpuFeatures, threads }: BuildInfo) => ({ compiler, napiVersion,
                                                                                     cpuFeatures, threads });
    expect(common(cuda.info)).toEqual(common(cpu.info));
    expect([cpu.info.cuda, cuda.info.cuda]).toEqual([false, true]);
    expect(cuda.info.cudaRuntime).toMatch(/^\d+\.\d+$/);
    expect(cuda.info.cudaArchitectures).not.toBe('');
    expect(cuda.info.cudaUnavailable === '').toBe(cuda.info.cudaDeviceCount !== 0 && cuda.cuda === null);
    expect(cuda.exports).toEqual(cpu.exports);
    expect(cuda.ops).toEqual(cpu.ops);
  });

  test('give the same results on the CPU', () => {
    const names = Object.keys(cpu.results);
    expect(names.length).toBeGreaterThanOrEqual(20);
    expect(Object.keys(cuda.results)).toEqual(names);
    // One compiler, one set of sources, two sets of flags: a rounding may differ, no more.
    const apart = names.filter((name) => !(difference(cuda.results[name]!, cpu.results[name]!) <= 1e-6));
    expect(apart).toEqual([]);
  });

  test('answer "cuda" with a device or with a typed error that says why', () => {
    expect(cpu.cuda?.code).toBe('ERR_ENVIRONMENT');
    expect(cpu.cuda?.message).toContain('npm run build:cuda');
    if (cuda.cuda === null) return;
    expect(cuda.cuda.code).toBe('ERR_ENVIRONMENT');
    expect(cuda.cuda.message).toContain(cuda.info.cudaUnavailable!);
    expect(cuda.cuda.message).toContain('built for');
  });

  test('"auto" falls back with one line on stderr, and --device cuda does not fall back', () => {
    const environment = { ...process.env, RL3DEDIT_BINDING: cudaBinary };
    const library = JSON.stringify(join(root, 'dist/tensor/device.js'));
    const script = `process.stdout.write(require(${library}).Device.open('auto').kind);`;
    const auto = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', env: environment });
    const golden = join(root, 'test/golden/flow-schedule');
    const explicit = spawnSync(process.execPath, [main, 'parity', golden, '--device', 'cuda'],
                               { encoding: 'utf8', env: environment });
    if (cuda.info.cudaUnavailable === '') {
      expect([auto.stdout, auto.stderr, explicit.status]).toEqual(['cuda', '', 0]);
      return;
    }
    expect(auto.stdout).toBe('cpu');
    expect(auto.stderr).toBe(`rl3dedit: using the CPU: ${cuda.info.cudaUnavailable}\n`);
    expect(explicit.status).toBe(3);
    expect(explicit.stdout).toBe('');
    expect(explicit.stderr).toContain("device 'cuda:0' cannot be used");
  });
});
