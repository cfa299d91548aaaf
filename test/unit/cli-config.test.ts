import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { z } from 'zod';
import { ConfigError, UsageError } from '../../src/binding/errors';
import { editFingerprint, editSchema } from '../../src/config/edit';
import { coerce, envName, fieldsOf, flagName } from '../../src/config/fields';
import { resolveSettings } from '../../src/config/resolve';
import type { Sources } from '../../src/config/resolve';
import { editDistance, nearest } from '../../src/config/suggest';

const required = { scene: 's', prompt: 'p', out: 'o' };
const edit = (sources: Sources) =>
  resolveSettings(editSchema, { ...sources, flags: { ...required, ...sources.flags } });

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rl3dedit-config-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

function yaml(text: string): string {
  const file = path.join(folder, `${Math.random().toString(36).slice(2)}.yaml`);
  fs.writeFileSync(file, text);
  return file;
}

function failure(action: () => unknown): Error {
  try {
    action();
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected a failure');
}

describe('precedence', () => {
  const sources = (level: number): Sources => ({
    ...(level >= 1 ? { base: { views: 1 } } : {}),
    ...(level >= 2 ? { file: yaml('# comment\nsteps: 7\nviews: 2\n') } : {}),
    ...(level >= 3 ? { env: { RL3DEDIT_VIEWS: '3' } } : {}),
    ...(level >= 4 ? { sets: ['views=8', 'views=4'] } : {}),
    ...(level >= 5 ? { flags: { views: '5' } } : {}),
  });

  it.each([
    [0, 9, /^default$/],
    [1, 1, /^resumed run$/],
    [2, 2, /\.yaml:3$/],
    [3, 3, /^env RL3DEDIT_VIEWS$/],
    [4, 4, /^--set views$/],
    [5, 5, /^flag --views$/],
  ])('level %i gives %i', (level, value, origin) => {
    const { settings, origins } = edit(sources(level));
    expect(settings.views).toBe(value);
    expect(origins.views).toMatch(origin);
  });

  it('leaves the other values alone', () => {
    const { settings, origins } = edit(sources(5));
    expect(settings.steps).toBe(7);
    expect(origins.steps).toMatch(/\.yaml:2$/);
    expect(origins.seed).toBe('default');
  });
});

describe('mistakes', () => {
  it.each<[Record<string, unknown>, RegExp]>([
    [{ views: '0' }, /^--views: expected an integer from 1 to 81, got 0$/],
    [{ views: 'many' }, /^--views: expected an integer from 1 to 81, got "many"$/],
    [{ views: '2.5' }, /^--views: expected an integer from 1 to 81, got 2.5$/],
    [{ prompt: '  ' }, /^--prompt: expected an instruction/],
    [{ device: 'gpu' }, /^--device: expected auto, cpu, cuda, cuda:N or null, got "gpu"$/],
    [{ noise: 'none' }, /^--noise: expected one of independent, shared, got "none"$/],
    [{ scene: undefined }, /^missing --scene /],
    [{ seed: '-1' }, /^--seed: expected an integer of at least 0, got -1$/],
  ])('%j', (flags, message) => {
    const error = failure(() => edit({ flags }));
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toMatch(message);
  });

  it('points at the line of a file', () => {
    const file = yaml('steps: 4\n\nviews: 82\n');
    expect(failure(() => edit({ file })).message).toBe(`${file}:3: views: expected an integer from 1 to 81, got 82`);
  });

  it('refuses unknown keys with a suggestion', () => {
    const file = yaml('steps: 4\nvews: 3\n');
    const error = failure(() => edit({ file }));
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toBe(`${file}:2: vews: unknown setting (did you mean views?)`);
    expect(failure(() => edit({ sets: ['sed=1'] })).message).toBe('--set sed: unknown setting (did you mean seed?)');
  });

  it('gives the line of broken YAML and of a repeated key', () => {
    expect(failure(() => edit({ file: yaml('steps: 4\nviews: [1,\n') })).message).toMatch(/\.yaml:[23]:\d+: /);
    expect(failure(() => edit({ file: yaml('steps: 4\nsteps: 5\n') })).message).toMatch(/\.yaml:2:1: .*unique/);
    expect(failure(() => edit({ file: yaml('- 1\n') })).message).toMatch(/expected settings/);
    expect(failure(() => edit({ file: path.join(folder, 'none.yaml') })).message).toMatch(/ENOENT/);
  });

  it('refuses an alias bomb and __proto__', () => {
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x,x]\n${'bcdefg'
      .split('')
      .map((name, i) => `${name}: &${name} [${new Array(10).fill(`*${'abcdef'[i]}`).join(',')}]`)
      .join('\n')}\n`;
    expect(failure(() => edit({ file: yaml(bomb) }))).toBeInstanceOf(ConfigError);
    expect(failure(() => edit({ sets: ['__proto__.x=1'] })).message).toMatch(/__proto__\.x: unknown setting/);
    expect(({} as Record<string, unknown>).x).toBeUndefined();
  });

  it('reads nested sections with --set and names the path', () => {
    const schema = z.strictObject({
      reward: z.strictObject({ pose: z.number().default(1), depth: z.number().default(2) }),
    });
    const file = path.join(folder, 'nested.yaml');
    fs.writeFileSync(file, 'reward:\n  pose: 3\n');
    const { settings, origins } = resolveSettings(schema, { file, sets: ['reward.depth=5'] });
    expect(settings).toEqual({ reward: { pose: 3, depth: 5 } });
    expect(origins).toEqual({ 'reward.pose': `${file}:2`, 'reward.depth': '--set reward.depth' });
    expect(failure(() => resolveSettings(schema, { file, sets: ['reward.dept=5'] })).message).toBe(
      '--set reward.dept: unknown setting (did you mean depth?)',
    );
    fs.writeFileSync(file, 'reward:\n  depth: 1\n  pose: high\n');
    expect(failure(() => resolveSettings(schema, { file })).message).toBe(
      `${file}:3: reward.pose: expected a number, got "high"`,
    );
  });
});

it('describes fields for flags and environment', () => {
  const views = fieldsOf(editSchema).find((field) => field.key === 'views');
  expect(views).toMatchObject({ kind: 'number', min: 1, max: 81, integer: true, required: false, defaultValue: 9 });
  expect(
    fieldsOf(editSchema)
      .filter((field) => field.required)
      .map((field) => field.key),
  ).toEqual(['scene', 'prompt', 'out']);
  expect(fieldsOf(editSchema).every((field) => field.description !== '')).toBe(true);
  expect(flagName('loraScale')).toBe('lora-scale');
  expect(envName('loraScale')).toBe('RL3DEDIT_LORA_SCALE');
  expect(
    coerce(
      fieldsOf(editSchema).find((field) => field.key === 'viewNames'),
      'a, b,,c',
    ),
  ).toEqual(['a', 'b', 'c']);
});

it('leaves where and how fast out of the fingerprint', () => {
  const { settings } = edit({});
  const other = editFingerprint({
    ...settings,
    out: 'x',
    threads: 2,
    resume: true,
    overwrite: true,
    stopAfter: 'encode',
  });
  expect(other).toEqual(editFingerprint(settings));
  expect(editFingerprint({ ...settings, seed: 1 })).not.toEqual(other);
});

it('finds near names only', () => {
  expect(editDistance('kitten', 'sitting')).toBe(3);
  expect(editDistance('promt', 'prompt')).toBe(1);
  expect(editDistance('sene', 'seen')).toBe(1);
  expect(nearest('promt', ['prompt', 'out'])).toBe('prompt');
  expect(nearest('xyzzy', ['prompt', 'out'])).toBeUndefined();
});
