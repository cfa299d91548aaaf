import * as fs from 'node:fs';
import * as path from 'node:path';
import { temporaryFolder } from '../scene-fixtures';
import { commandLine } from './run-cli';

const folder = temporaryFolder();
const run = commandLine(folder);

const edit = ['edit', '--scene=nowhere', '--prompt=sepia', '--out=out'];
const preedit = ['preedit', '--scene=nowhere', '--out=out'];

it.each<[string, string[], RegExp]>([
  ['ten views in one pass', [...edit, '--views=10'], /--views: one joint pass takes at most 9 views; add --anchor-guided/],
  ['82 views', [...edit, '--anchor-guided', '--views=82'], /--views: expected an integer from 1 to 81, got 82/],
  ['one view that nothing follows', [...edit, '--anchor-guided', '--views=1'], /at least two views/],
  ['an anchor without the mode', [...edit, '--anchor=a'], /--anchor: belongs to an anchor-guided edit/],
  ['groups of ten', [...edit, '--anchor-guided', '--group-views=10'], /--group-views: expected an integer from 2 to 9/],
  ['pre-edits without an instruction', preedit, /prompt: missing: give --prompt/],
  ['no scene', ['preedit', '--prompt=sepia', '--out=out'], /missing --scene/],
])('%s: refused with 2', (_, args, message) => {
  const { code, stdout, stderr } = run(...args);
  expect([code, stdout]).toEqual([2, '']);
  expect(stderr).toMatch(message);
  expect(fs.readdirSync(folder)).toEqual([]);
});

it('preedit explains itself, and a missing list of instructions is named', () => {
  const help = run('preedit', '--help');
  expect([help.code, help.stderr]).toEqual([0, '']);
  expect(help.stdout).toContain('--min-sharpness');
  const { code, stderr } = run(...preedit, '--prompts=none.txt');
  expect(code).toBe(2);
  expect(stderr).toContain('none.txt cannot be read (ENOENT)');
});

it('the same for a settings file, with its line', () => {
  const file = path.join(folder, 'edit.yaml');
  fs.writeFileSync(file, 'steps: 4\nviews: 18\n');
  const { code, stderr } = run(...edit, `--config=${file}`);
  expect(code).toBe(2);
  expect(stderr).toContain(`${file}:2: views: one joint pass takes at most 9 views`);
  fs.rmSync(file);
});
