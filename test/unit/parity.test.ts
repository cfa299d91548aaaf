import * as fs from 'node:fs/promises';
import { existsSync, readdirSync } from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { loadKind, parity, parityKinds } from '../../src/app/parity';
import type { ParitySummary } from '../../src/app/parity';
import { compare, Comparison, HostTensors, readCase, readHostTensors } from '../../src/app/parity/kinds';
import { AbortError, ConfigError, ShapeError, WeightsError } from '../../src/binding/errors';
import { Device } from '../../src/tensor/device';
import { writeSafetensors } from '../../src/tensor/safetensors';
import { collectLeftovers } from '../leftovers';

const golden = path.resolve(__dirname, '../golden');
const device = Device.open('cpu');
const signal = new AbortController().signal;

async function run(dirs: string[], dtype?: 'f32' | 'bf16'): Promise<ParitySummary> {
  const stream = parity(dirs, { device, dtype, signal });
  for (;;) {
    const next = await stream.next();
    if (next.done) return next.value;
  }
}

/** The copies in this repository, and a folder with more and larger cases where there is one. */
const folders = [golden, process.env.RL3DEDIT_GOLDENS ?? path.resolve(__dirname, '../../../shared/goldens')];
const cases = folders
  .filter((folder) => existsSync(folder))
  .flatMap((folder) => readdirSync(folder).map((name) => path.join(folder, name)))
  .filter((dir) => existsSync(path.join(dir, 'case.json')));

describe('reference cases', () => {
  test.each(cases.map((dir) => [path.relative(golden, dir), dir]))('%s', async (_, dir) => {
    const { cases: results, pass } = await run([dir]);
    expect(results[0].error).toBeUndefined();
    expect({ pass, errors: results[0].errors }).toEqual({ pass: true, errors: results[0].errors });
    expect(Object.keys(results[0].errors)).not.toHaveLength(0);
  });

  test('leave no tensor behind', async () => {
    const dirs = ['flow-schedule', 'flow-sde', 'pose-error', 'gaussian-splat'].map((name) => path.join(golden, name));
    await run(dirs);
    await device.sync();
    await collectLeftovers();
    const { liveTensors } = device.memory();
    await run(dirs);
    await device.sync();
    expect(device.memory().liveTensors).toBe(liveTensors);
  });

  test('every kind is known by its own name', () => {
    for (const kind of parityKinds) expect(loadKind(kind).kind).toBe(kind);
  });
});

describe('a case that is wrong', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await fs.mkdtemp(path.join(os.tmpdir(), 'parity-'));
    for (const name of ['case.json', 'inputs.safetensors', 'expected.safetensors']) {
      await fs.copyFile(path.join(golden, 'flow-sde', name), path.join(dir, name));
    }
  });
  afterEach(() => fs.rm(dir, { recursive: true }));

  async function edit(change: (json: { [key: string]: unknown; cases: { [key: string]: number }[] }) => void): Promise<void> {
    const file = path.join(dir, 'case.json');
    const json = JSON.parse(await fs.readFile(file, 'utf8')) as Parameters<typeof change>[0];
    change(json);
    await fs.writeFile(file, JSON.stringify(json));
  }

  test('fails where a number differs, and the others still run', async () => {
    await edit((json) => (json.cases[3].noise_level *= 1.001));
    const { cases: results, pass } = await run([dir, path.join(golden, 'flow-schedule')]);
    expect([pass, ...results.map((result) => result.pass)]).toEqual([false, false, true]);
    expect(results[0].errors['3.std']).toBeGreaterThan(9e-4);
    expect(results[0].errors['2.std']).toBeLessThan(1e-6);
  });

  test('fails when an expected tensor is not computed', async () => {
    await edit((json) => json.cases.pop());
    expect((await run([dir])).cases[0]).toMatchObject({ pass: false, error: expect.stringContaining('expected tensors were not computed: 17.') });
  });

  test('fails when the file lacks one that is', async () => {
    await edit((json) => json.cases.push(json.cases[0]));
    expect((await run([dir])).cases[0].error).toMatch(/inputs\.safetensors: holds no tensor '18\.sample'/);
  });

  test('fails on an unknown kind, a wrong field, no JSON and no folder', async () => {
    await edit((json) => (json.kind = '../parity/kinds'));
    expect((await run([dir])).cases[0].error).toMatch(/case\.json: kind/);
    for (const kind of ['kinds', 'flux-case', 'toString']) {
      await edit((json) => (json.kind = kind));
      expect((await run([dir])).cases[0].error).toMatch(/kind/);
      expect(() => loadKind(kind)).toThrow(ConfigError);
    }
    await edit((json) => {
      json.kind = 'flow-sde';
      json.cases[1].sigma = 'high' as unknown as number;
    });
    expect((await run([dir])).cases[0].error).toMatch(/case\.json: cases\.1\.sigma/);
    await fs.writeFile(path.join(dir, 'case.json'), '{');
    expect((await run([dir])).cases[0].error).toMatch(/case\.json: cannot be read as JSON/);
    expect((await run([path.join(dir, 'none')])).cases[0].error).toMatch(/expected a reference case folder/);
    await expect(run([])).rejects.toThrow(ConfigError);
  });

  test('fails on a truncated file', async () => {
    await fs.truncate(path.join(dir, 'inputs.safetensors'), 20_000);
    expect((await run([dir])).cases[0].error).toMatch(/inputs\.safetensors/);
  });

  test('an abort is no failed case', async () => {
    const stream = parity([dir], { device, signal: AbortSignal.abort() });
    await expect((async () => { for await (const _ of stream); })()).rejects.toThrow(AbortError);
  });
});

describe('comparison', () => {
  test('is relative to the largest expected value', () => {
    expect(compare('x', [1, 2.5], [1, 2])).toEqual({ name: 'x', relError: 0.25, maxAbs: 0.5 });
    expect(compare('x', [1e-9], [0]).relError).toBeCloseTo(1e-3, 12);
    expect(compare('x', [], [])).toEqual({ name: 'x', relError: 0, maxAbs: 0 });
  });

  test('NaN and infinity never pass', () => {
    for (const got of [NaN, Infinity, -Infinity]) expect(compare('x', [1, got], [1, 2]).relError <= 1e9).toBe(false);
    expect(compare('x', [NaN], [NaN]).relError).toBeNaN();
  });

  test('other sizes are refused', async () => {
    expect(() => compare('x', [1], [1, 2])).toThrow(ShapeError);
    const expected = new HostTensors('expected.safetensors', new Map([['y', { shape: [2], data: Float32Array.of(1, 2) }]]));
    const comparison = new Comparison(expected);
    await expect(comparison.check('y', device.tensor([1, 2, 3]))).rejects.toThrow(ShapeError);
    await expect(comparison.check('z', [1])).rejects.toThrow(WeightsError);
    expect(() => comparison.finish()).toThrow(/1 expected tensors were not computed: y/);
  });

  test('case files are read in every type the cases use', async () => {
    const { inputs } = await readCase(path.join(golden, 'clip-text'));
    expect(inputs.get(inputs.names[0]).data).toBeInstanceOf(Int32Array);
    const file = path.join(await fs.mkdtemp(path.join(os.tmpdir(), 'parity-')), 'x.safetensors');
    await writeSafetensors(file, new Map([['x', device.tensor([1, -2.5, 0.15625])]]), { dtype: 'bf16' });
    expect([...(await readHostTensors(file)).floats('x')]).toEqual([1, -2.5, 0.15625]);
    await fs.rm(path.dirname(file), { recursive: true });
  });
});
