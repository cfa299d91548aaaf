import { spawn, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { emptyPng, temporaryFolder } from '../scene-fixtures';
import { commandLine, main } from './run-cli';
import type { Outcome } from './run-cli';

const folder = temporaryFolder();
const run = commandLine(folder);

const editArguments = (...extra: string[]): string[] => [
  'edit',
  '--scene',
  'nowhere',
  '--prompt',
  'sepia',
  '--out',
  path.join(folder, 'out'),
  ...extra,
];

const commands = [
  'edit', 'refit', 'reconstruct', 'view', 'demo', 'train', 'eval', 'parity', 'pretrain', 'bench', 'inspect', 'models', 'doctor',
];

describe('help', () => {
  it('lists the commands on stdout', () => {
    const { code, stdout, stderr } = run('--help');
    expect([code, stderr]).toEqual([0, '']);
    for (const name of commands)
      expect(stdout).toContain(`rl3dedit ${name}`);
  });

  it('shows the version', () => {
    const { version } = JSON.parse(fs.readFileSync(path.resolve(__dirname, '../../package.json'), 'utf8')) as {
      version: string;
    };
    expect(run('--version')).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
  });

  it.each(commands)('explains %s', (name) => {
    const { code, stdout, stderr } = run(name, '--help');
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain(`rl3dedit ${name}`);
  });
});

describe('usage mistakes end with 2, nothing on stdout, nothing written', () => {
  it.each<[string, string[], RegExp]>([
    [
      'an unknown flag',
      ['edit', '--promt', 'x', '--scene', 's', '--out', 'o'],
      /unknown argument --promt \(did you mean --prompt\?\)/,
    ],
    ['an unknown flag with a value', ['edit', '--lora-scal=2'], /--lora-scal \(did you mean --lora-scale\?\)/],
    ['an unknown flag of a command without settings', ['doctor', '--jsn'], /--jsn \(did you mean --json\?\)/],
    ['a surplus word', [...editArguments(), 'surplus'], /surplus/],
    ['an unknown command', ['edti'], /unknown command edti \(did you mean edit\?\)/],
    ['no command', [], /a command is missing/],
    ['zero views', editArguments('--views', '0'), /--views: expected an integer from 1 to 81, got 0/],
    ['ten views', editArguments('--views=10'), /--views: one joint pass takes at most 9 views; add --anchor-guided for more, got 10/],
    ['an empty prompt', ['edit', '--scene', 's', '--prompt', '', '--out', 'o'], /--prompt: expected an instruction/],
    ['a missing required flag', ['edit', '--scene', 's', '--prompt', 'x'], /missing --out/],
    ['a flag without its value', ['edit', '--prompt'], /prompt/],
    ['an unknown setting', editArguments('--set', 'vews=3'), /vews: unknown setting \(did you mean views\?\)/],
    ['an unknown action', ['models', 'pul'], /pul/],
    ['a missing argument', ['inspect'], /argument is missing/],
    ['unknown weights', ['models', 'pull', 'vggt-1'], /unknown name vggt-1 \(did you mean vggt-1b\?\)/],
    ['photographs without a scene', ['reconstruct', '--out', 'out'], /missing --scene/],
    ['a strategy that is none', ['reconstruct', '--scene', 's', '--out', 'out', '--strategy', 'prune'], /--strategy: .*prune/],
    ['harmonics of degree 4', ['reconstruct', '--scene', 's', '--out', 'out', '--sh-degree', '4'], /--sh-degree: expected an integer from 0 to 3, got 4/],
    ['a refit of nothing', ['refit'], /argument is missing/],
    ['a refit that refits nothing', ['refit', 'out', '--refit', 'none'], /--refit: .*none/],
    ['two folders to look at', ['view', 'a', 'b'], /\bb\b/],
    ['a view of nothing', ['view'], /argument is missing/],
    ['a wrong log level', ['doctor', '--log-level', 'loud'], /log-level/],
  ])('%s', (_, args, message) => {
    const { code, stdout, stderr } = run(...args);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n {4}at /);
    expect([code, stdout]).toEqual([2, '']);
    expect(fs.existsSync(path.join(folder, 'out'))).toBe(false);
  });

  it('gives JSON with --json and a stack with --debug', () => {
    const { code, stdout } = run(...editArguments('--views', '0', '--json'));
    expect(code).toBe(2);
    expect(JSON.parse(stdout)).toEqual({
      error: { code: 'ERR_USAGE', message: '--views: expected an integer from 1 to 81, got 0' },
    });
    expect(run(...editArguments('--views', '0', '--debug')).stderr).toMatch(/\n {4}at /);
  });

  it('gives the line of a wrong setting in a file', () => {
    const file = path.join(folder, 'edit.yaml');
    fs.writeFileSync(file, 'steps: 4\nviews: 0\n');
    const { code, stderr } = run(...editArguments('--config', file));
    expect([code, stderr.split('\n')[0]]).toEqual([
      2,
      `error: ${file}:2: views: expected an integer from 1 to 81, got 0`,
    ]);
  });
});

describe('inspect', () => {
  it('reads a safetensors header', () => {
    const json = Buffer.from(
      JSON.stringify({
        'x_embedder.weight': { dtype: 'F32', shape: [2, 1], data_offsets: [0, 8] },
        'transformer_blocks.0.attn.norm_q.weight': { dtype: 'F32', shape: [1], data_offsets: [8, 12] },
      }),
    );
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(BigInt(json.length));
    const file = path.join(folder, 'net.safetensors');
    fs.writeFileSync(file, Buffer.concat([prefix, json, Buffer.alloc(12)]));
    const { code, stdout, stderr } = run('inspect', file, '--json');
    expect([code, stderr]).toEqual([0, '']);
    expect(JSON.parse(stdout)).toMatchObject({
      kind: 'safetensors',
      tensorCount: 2,
      parameters: 3,
      architecture: { name: 'FLUX transformer', layout: 'diffusers' },
    });
    expect(run('inspect', file).stdout).toContain('x_embedder.weight');
  });

  it('survives a picture that claims 40,000 × 40,000 pixels', () => {
    const file = path.join(folder, 'huge.png');
    fs.writeFileSync(file, emptyPng(40_000, 40_000));
    const { code, stdout } = run('inspect', file, '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ kind: 'image', width: 40_000, height: 40_000, tooLarge: true });
  });

  it('reads scenes and ply headers', () => {
    fs.writeFileSync(
      path.join(folder, 'transforms.json'),
      JSON.stringify({ w: 4, h: 4, frames: [{ file_path: 'a.png' }] }),
    );
    expect(JSON.parse(run('inspect', folder, '--json').stdout)).toMatchObject({
      kind: 'nerfstudio scene',
      frames: 1,
      missingImages: ['a.png'],
    });
    const ply = path.join(folder, 'splats.ply');
    const properties = ['x', 'f_dc_0', 'opacity', 'scale_0', 'rot_0']
      .map((name) => `property float ${name}\n`)
      .join('');
    fs.writeFileSync(ply, `ply\nformat binary_little_endian 1.0\nelement vertex 3\n${properties}end_header\n`);
    expect(JSON.parse(run('inspect', ply, '--json').stdout)).toMatchObject({
      kind: 'ply',
      content: 'Gaussian splats',
      elements: [{ name: 'vertex', count: 3 }],
    });
  });

  it.each<[string, () => string, RegExp]>([
    ['a missing file', () => 'none', /ENOENT/],
    ['text', () => write('text.txt', 'hello'), /not a file this program knows/],
    ['a broken picture', () => write('x.png', '\x89PNG\r\n'), /no readable picture/],
    ['a broken scene', () => write('bad.json', '{"frames": ['), /is not JSON/],
    [
      'a header of 2^60 bytes',
      () => write('big.safetensors', '\0\0\0\0\0\0\0\x10{}'),
      /header claims 1152921504606846976/,
    ],
    ['an unended ply', () => write('x.ply', 'ply\nformat ascii 1.0\n'), /end_header/],
  ])('refuses %s with exit 1', (_, make, message) => {
    const { code, stdout, stderr } = run('inspect', make());
    expect(stderr).toMatch(message);
    expect([code, stdout]).toEqual([1, '']);
  });

  function write(name: string, text: string): string {
    fs.writeFileSync(path.join(folder, name), text, 'latin1');
    return path.join(folder, name);
  }
});

describe('doctor and models', () => {
  it('doctor --json is one JSON object with a next step for every bad line', () => {
    const { code, stdout } = run('doctor', '--json');
    const report = JSON.parse(stdout) as { ok: boolean; checks: { name: string; status: string; next?: string }[] };
    expect(code).toBe(report.ok ? 0 : 3);
    expect(report.checks.map((check) => check.name)).toEqual(
      expect.arrayContaining(['rl3dedit', 'Node', 'CPU', 'memory', 'weights cache', 'Hugging Face', 'add-on']),
    );
    for (const check of report.checks) if (check.status === 'bad') expect(check.next).toBeTruthy();
  });

  it('never shows the token', () => {
    const { stdout } = spawnSync(process.execPath, [main, 'doctor', '--json'], {
      encoding: 'utf8',
      env: { ...process.env, HF_TOKEN: 'hf_secret' },
    });
    expect(stdout).toContain('token present');
    expect(stdout).not.toContain('hf_secret');
  });

  it('lists weights with their licences', () => {
    const { code, stdout } = run('models', 'list', '--json');
    expect(code).toBe(0);
    const { known } = JSON.parse(stdout) as { known: { name: string; licence: string; licenceUrl: string }[] };
    expect(known.map((entry) => entry.name)).toContain('flux-kontext-dev');
    for (const entry of known) expect([entry.licence, entry.licenceUrl].every((text) => text.length > 5)).toBe(true);
    expect(run('models').stdout).toContain('Non-Commercial');
  });

  it('verify says when nothing is cached', () => {
    expect(run('models', 'verify')).toMatchObject({ code: 0, stdout: 'nothing cached\n' });
    expect(run('models', 'verify', 'vggt-1b')).toMatchObject({ code: 1, stdout: '' });
  });
});

describe('a running command', () => {
  /** Runs an action under the command line's own wrapper in a process of its own. */
  function start(
    action: string,
    argv = '{}',
  ): { child: ReturnType<typeof spawn>; outcome: Promise<Outcome>; ready: Promise<void> } {
    const command = JSON.stringify(path.join(path.dirname(main), 'command.js'));
    const errors = JSON.stringify(path.resolve(path.dirname(main), '../binding/errors.js'));
    const script = `const errors = require(${errors});
      require(${command}).runCommand(${argv}, async (context) => { ${action} });`;
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'pipe'] });
    const outcome: Outcome = { code: null, stdout: '', stderr: '' };
    let markReady: () => void;
    const ready = new Promise<void>((resolve) => (markReady = resolve));
    child.stdout.on('data', (data) => (outcome.stdout += data));
    child.stderr.on('data', (data) => {
      outcome.stderr += data;
      if (outcome.stderr.includes('ready')) markReady();
    });
    return {
      child,
      ready,
      outcome: new Promise((resolve) => child.on('close', (code) => resolve({ ...outcome, code }))),
    };
  }
  const waitForAbort = `context.onAbort = () => 'stage encode is kept'; process.stderr.write('ready\\n');
    await new Promise((_, reject) => {
      const timer = setInterval(() => {}, 1000);
      context.signal.addEventListener('abort', () => { clearInterval(timer); reject(context.signal.reason); });
    });`;

  it('stops on the first Ctrl-C, says what is kept, and ends with 130', async () => {
    const { child, ready, outcome } = start(waitForAbort);
    await ready;
    child.kill('SIGINT');
    const { code, stdout, stderr } = await outcome;
    expect([code, stdout]).toEqual([130, '']);
    expect(stderr).toMatch(/press Ctrl-C again[^]*error: aborted; stage encode is kept/);
  });

  it('dies on the second Ctrl-C even when the work does not listen', async () => {
    const { child, ready, outcome } = start(
      `process.stderr.write('ready\\n'); await new Promise(() => setInterval(() => {}, 1000));`,
    );
    await ready;
    child.kill('SIGINT');
    await new Promise((resolve) => setTimeout(resolve, 300));
    child.kill('SIGINT');
    expect((await outcome).code).toBe(130);
  });

  it.each<[string, string, number]>([
    ['success', 'context.print({ a: 1 }, "text");', 0],
    ['a failed result', 'return false;', 1],
    ['SceneError', 'throw new errors.SceneError("x");', 1],
    ['ConfigError', 'throw new errors.ConfigError("x");', 2],
    ['EnvironmentError', 'throw new errors.EnvironmentError("x");', 3],
    ['OutOfMemoryError', 'throw new errors.OutOfMemoryError("x");', 4],
    ['AbortError', 'throw new errors.AbortError();', 130],
    ['a native out-of-memory error', 'throw Object.assign(new Error("x"), { code: "ERR_OUT_OF_MEMORY" });', 4],
    ['an unforeseen error', 'null.x;', 1],
  ])('exit code of %s', async (name, action, expected) => {
    const { code, stdout, stderr } = await start(action).outcome;
    expect(code).toBe(expected);
    expect(stdout).toBe(name === 'success' ? 'text\n' : '');
    if (name === 'an unforeseen error') expect(stderr).toMatch(/internal error: .*\n.*--debug/);
    expect(stderr).not.toMatch(/\n {4}at /);
  });

  it('is silent with --quiet but for errors', async () => {
    const { stderr } = await start(
      'context.log.info("a"); context.log.warn("b"); throw new errors.SceneError("c");',
      '{ quiet: true }',
    ).outcome;
    expect(stderr).toBe('error: c\n');
  });
});
