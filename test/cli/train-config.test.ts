/** Bad run files end `train` before anything is loaded, with file, line and what to do. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { temporaryFolder } from '../scene-fixtures';
import { commandLine } from './run-cli';

const folder = temporaryFolder();
const run = commandLine(folder, { RL3DEDIT_BINDING: path.join(folder, 'none.node') });

function refuses(args: string[], message: string): void {
  const { code, stdout, stderr } = run('train', ...args);
  const errors = stderr.split('\n').filter((line) => line.startsWith('error:'));
  expect({ code, stdout, errors }).toEqual({ code: 2, stdout: '', errors: [expect.stringContaining(message)] });
  expect(fs.existsSync(path.join(folder, 'out'))).toBe(false);
}

const head = 'out: out\ndata:\n  world: {}\n';

it.each([
  ['an unknown key', 'learningRate: 1\ngroups: 4\n', ':4: learningRate: unknown setting'],
  ['a mistyped key', 'groop: 4\n', ':4: groop: unknown setting (did you mean group?)'],
  ['a mistyped key in a section', 'rewards:\n  depth: 1\n  dept: 1\n', ':6: rewards.dept: unknown setting (did you mean depth?)'],
  ['a group of one', 'group: 1\n', ':4: group: expected an integer from 2 to 1024, got 1'],
  ['a window that is too wide', 'window: { size: 11 }\n', ':4: window.size: 11 stochastic steps do not fit'],
  ['a window over the first step', 'window:\n  first: 0\n', ':5: window.first: the first step (0) must stay deterministic'],
  ['a window over the last step', 'window:\n  last: 9\n', ':5: window.last: a window of 4 at step 9 reaches the last of 12 steps'],
  ['too few steps for the usual window', 'steps: 5\n', ':4: window.size: 4 stochastic steps do not fit between the first and the last of 5 steps'],
  ['an anchor that is no view', 'views: 3\nfixedAnchor: 3\n', ':5: fixedAnchor: there are 3 views, 0 to 2'],
  ['one view with an anchor', 'views: 1\nanchorGuided: true\n', ':4: views: anchor-guided training needs at least two views'],
  ['no reward', 'rewards: { depth: 0, point: 0, pose: 0, anchor: 0 }\n', ':4: rewards: all weights are 0'],
])('refuses %s', (_, text, message) => {
  fs.writeFileSync(path.join(folder, 'run.yaml'), head + text);
  refuses(['run.yaml'], `run.yaml${message}`);
});

it.each([
  ['a mistyped key', 'world: { familes: [floor-any] }', ':3: data.world.familes: unknown setting (did you mean families?)'],
  ['an unknown family', 'world: { families: [flor-any] }', ':3: data.world.families.0: expected one of floor-any, object-colour-any, sky-any, got "flor-any"'],
  ['no pre-edits', 'scenes: [{ scene: bear }]', ':3: missing data.scenes.0.preedits'],
])('refuses data with %s', (_, text, message) => {
  fs.writeFileSync(path.join(folder, 'run.yaml'), `out: out\ndata:\n  ${text}\n`);
  refuses(['run.yaml'], `run.yaml${message}`);
});

it('refuses a file without data, and one that is not there', () => {
  fs.writeFileSync(path.join(folder, 'run.yaml'), 'out: out\n');
  refuses(['run.yaml'], 'run.yaml:1: missing data (what to train on');
  refuses(['none.yaml'], 'none.yaml: cannot be read (ENOENT)');
});

it('lets flags and --set go before the file, and says where a bad one stands', () => {
  fs.writeFileSync(path.join(folder, 'run.yaml'), head);
  refuses(['run.yaml', '--views', '12'], '--views: expected an integer from 1 to 9, got 12');
  refuses(['run.yaml', '--set', 'rewards.pos=1'], '--set rewards.pos: unknown setting (did you mean pose?)');
});

it('resumes only a run, and only with what may change', () => {
  refuses(['--resume', 'nowhere'], 'nowhere: holds no run (run.yaml is missing)');
  refuses(['--resume', 'nowhere', '--views', '3'], '--views: a resumed run can change only updates, device, threads');
  refuses(['run.yaml', '--resume', 'nowhere'], '--resume nowhere brings its own run file; leave run.yaml away');
});
