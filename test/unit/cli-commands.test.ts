import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import yargs from 'yargs';
import type { CommandModule } from 'yargs';
import type { AppEvent } from '../../src/app/events';
import { OutputFolder } from '../../src/app/output-folder';
import type { Apps, ShownCase } from '../../src/cli/apps';
import { benchCommand } from '../../src/cli/commands/bench';
import { demoCommand } from '../../src/cli/commands/demo';
import { editCommand } from '../../src/cli/commands/edit';
import { parityCommand } from '../../src/cli/commands/parity';
import { pretrainCommand } from '../../src/cli/commands/pretrain';
import { reconstructCommand } from '../../src/cli/commands/reconstruct';
import { refitCommand } from '../../src/cli/commands/refit';
import { editFingerprint } from '../../src/config/edit';
import type { EditSettings } from '../../src/config/edit';

/** The apps stand-ins: each records its settings, reports a stage and returns what the test wants. */
const mockCalls: { name: string; settings: unknown }[] = [];
const mockThreads: number[] = [];
let mockResult: unknown;
jest.mock('../../src/cli/apps', () => ({
  loadApp: (name: keyof Apps) =>
    async function* (settings: unknown): AsyncGenerator<AppEvent, unknown> {
      mockCalls.push({ name, settings });
      yield { type: 'stage', name: 'work', index: 0, count: 1 };
      return mockResult;
    },
  useThreads: (threads: number) => mockThreads.push(threads),
}));

let stdout: string;
let stderr: string;
let folder: string;
beforeEach(() => {
  mockCalls.length = 0;
  mockThreads.length = 0;
  mockResult = { out: 'somewhere', hash: 'abc', seconds: 1.23456 };
  stdout = stderr = '';
  jest.spyOn(process.stdout, 'write').mockImplementation((text) => ((stdout += String(text)), true));
  jest.spyOn(process.stderr, 'write').mockImplementation((text) => ((stderr += String(text)), true));
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rl3dedit-commands-'));
});
afterEach(() => {
  jest.restoreAllMocks();
  process.exitCode = undefined;
  fs.rmSync(folder, { recursive: true });
});

async function run(command: unknown, ...words: string[]): Promise<number> {
  process.exitCode = 0;
  await yargs(words)
    .parserConfiguration({ 'dot-notation': false, 'parse-numbers': false, 'parse-positional-numbers': false })
    .option('json', { type: 'boolean', default: false })
    .command(command as CommandModule)
    .parseAsync();
  const code = Number(process.exitCode);
  process.exitCode = 0;
  return code;
}

it('edit passes checked settings and prints the result', async () => {
  const code = await run(
    editCommand,
    'edit',
    '--scene',
    '007',
    '--prompt',
    '1e3',
    '--out',
    folder,
    '--views',
    '4',
    '--threads',
    '2',
  );
  expect(code).toBe(0);
  expect(mockCalls).toMatchObject([
    {
      name: 'edit',
      settings: { scene: '007', prompt: '1e3', out: folder, views: 4, threads: 2, model: 'tiny', noise: 'independent' },
    },
  ]);
  expect(mockThreads).toEqual([2]);
  expect(stdout).toBe('out: somewhere\nhash: abc\nseconds: 1.235\n');
  expect(stderr).toContain('work');
});

it('edit --resume takes the settings of the begun folder', async () => {
  await run(editCommand, 'edit', '--scene', 's', '--prompt', 'sepia', '--out', folder, '--seed', '7', '--no-overwrite');
  const settings = mockCalls[0].settings as EditSettings;
  await OutputFolder.open(folder, { command: 'edit', settings: editFingerprint(settings) });
  await run(editCommand, 'edit', '--out', folder, '--resume', '--json');
  expect(mockCalls[1].settings).toEqual({ ...settings, resume: true });
  expect(JSON.parse(stdout.split('\n').at(-2) ?? '')).toEqual(mockResult);
});

it.each<[string, unknown, string[], object]>([
  ['demo', demoCommand, ['demo', '--seed', '3'], { out: 'rl3dedit-demo', seed: 3, model: 'tiny' }],
  [
    'pretrain',
    pretrainCommand,
    ['pretrain', '--out', 'x', '--network', 'vae', '--learning-rate', '1e-3'],
    { network: 'vae', learningRate: 1e-3 },
  ],
  [
    'bench',
    benchCommand,
    ['bench', 'matmul', 'attention', '--device', 'null'],
    { names: ['matmul', 'attention'], device: 'null' },
  ],
  ['bench', benchCommand, ['bench'], { names: [] }],
  [
    'reconstruct',
    reconstructCommand,
    ['reconstruct', '--scene', '007', '--out', 'x', '--resolution', '128', '--strategy', 'densify', '--sh-degree', '1', '--test-every', '0'],
    { scene: '007', out: 'x', resolution: 128, strategy: 'densify', shDegree: 1, testEvery: 0, iterations: 7000, overwrite: false },
  ],
  [
    'refitEdit',
    refitCommand,
    ['refit', '12', '--preset', 'geometry', '--refit', 'scratch', '--refit-iterations', '50', '--folds', '0'],
    { dir: '12', preset: 'geometry', refit: 'scratch', refitIterations: 50, folds: 0, sourceIterations: 3000 },
  ],
  ['refitEdit', refitCommand, ['refit', 'out'], { dir: 'out', refit: 'source', preset: 'auto', folds: 3 }],
])('%s passes its settings', async (name, command, words, expected) => {
  expect(await run(command, ...words)).toBe(0);
  expect(mockCalls).toMatchObject([{ name, settings: expected }]);
});

describe('parity', () => {
  const good: ShownCase = {
    dir: 'a',
    kind: 'vggt',
    device: 'cpu',
    dtype: 'f32',
    errors: { x: 1e-7, y: 3e-7 },
    tolerance: 1e-4,
    pass: true,
  };

  it('prints a line per case and ends with 0 when all pass', async () => {
    mockResult = { cases: [good, { ...good, kind: 'flux-vae', dir: 'b' }], pass: true };
    expect(await run(parityCommand, 'parity', 'a', 'b')).toBe(0);
    expect(mockCalls[0].settings).toEqual(['a', 'b']);
    expect(stdout).toBe(
      'pass  vggt      cpu f32  a  worst 3.0e-7 (y) of 2, allowed 0.0001\n' +
        'pass  flux-vae  cpu f32  b  worst 3.0e-7 (y) of 2, allowed 0.0001\n',
    );
  });

  it('ends with 1 on a failure and never hides NaN or an error', async () => {
    const nan = { ...good, errors: { x: 5, y: Number.NaN, z: 9 }, pass: false };
    mockResult = { cases: [nan, { ...good, errors: {}, error: 'no case.json', pass: false }], pass: false };
    expect(await run(parityCommand, 'parity', 'a', 'b')).toBe(1);
    expect(stdout).toMatch(/FAIL.*worst NaN \(y\)/);
    expect(stdout).toMatch(/FAIL.*no case.json/);
  });
});
