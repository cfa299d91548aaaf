// `npm run check`: types, lint, and what no compiler sees: layers, file sizes, one name per kernel everywhere.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const problems = [];

function filesBelow(folder, pattern) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? filesBelow(path, pattern) : pattern.test(name) ? [path] : [];
  });
}

// Layers of src/, lowest first; imports only go down. `config` and `hub` are leaves used by app and cli.
const layers = { binding: 0, tensor: 1, models: 2, flow: 2, scene: 2, rewards: 2, config: 2, hub: 2, app: 3, report: 3, viewer: 4, cli: 4 };
// What a layer may import among its equals.
const sideways = { rewards: ['models', 'scene'], flow: [], models: [], scene: [], config: [], hub: ['models'], app: ['report'] };
for (const file of filesBelow(join(root, 'src'), /\.ts$/)) {
  const from = relative(join(root, 'src'), file).split('/')[0];
  if (!(from in layers)) continue;
  for (const [, target] of readFileSync(file, 'utf8').matchAll(/(?:from|import\()\s*'(\.[^']+)'/g)) {
    const to = relative(join(root, 'src'), resolve(dirname(file), target)).split('/')[0];
    if (!(to in layers) || to === from) continue;
    const allowed = layers[to] < layers[from] || (layers[to] === layers[from] && (sideways[from] ?? []).includes(to));
    if (!allowed) problems.push(`${relative(root, file)}: ${from} must not import ${to}`);
  }
  const text = readFileSync(file, 'utf8');
  if (from === 'models' && /from 'node:fs|console\./.test(text)) problems.push(`${relative(root, file)}: models/ touches no file system and no console`);
  if (from !== 'cli' && /process\.stdout|console\.log/.test(text)) problems.push(`${relative(root, file)}: only cli/ writes to stdout`);
}
for (const file of filesBelow(join(root, 'native'), /\.(h|cc|cu|cuh)$/)) {
  const from = relative(join(root, 'native'), file).split('/')[0];
  const depth = { core: 0, backend: 1, ops: 2, binding: 3 };
  const text = readFileSync(file, 'utf8');
  if (from !== 'binding' && /#include <napi/.test(text)) problems.push(`${relative(root, file)}: only native/binding knows N-API`);
  for (const [, target] of text.matchAll(/#include "native\/(\w+)\//g)) {
    if (depth[target] > depth[from]) problems.push(`${relative(root, file)}: ${from} must not include ${target}`);
  }
}

// Sizes: splitting beats scrolling.
const limit = 600;
for (const file of ['src', 'native', 'test', 'bench', 'scripts'].flatMap((folder) => filesBelow(join(root, folder), /\.(ts|cc|cu|cuh|h|mjs)$/))) {
  const lines = readFileSync(file, 'utf8').split('\n').length;
  if (lines > limit) problems.push(`${relative(root, file)}: ${lines} lines, at most ${limit}`);
}

// One list of sources, and one name for a kernel: contract, CPU code, CUDA code, test.
const { variables } = JSON.parse(readFileSync(join(root, 'native/sources.gypi'), 'utf8'));
const listed = new Set(Object.values(variables).flat());
for (const file of filesBelow(join(root, 'native'), /\.(cc|cu)$/)) {
  const path = relative(join(root, 'native'), file);
  if (!listed.has(path)) problems.push(`native/${path}: not in native/sources.gypi`);
}
for (const path of listed) if (!existsSync(join(root, 'native', path))) problems.push(`native/sources.gypi: native/${path} does not exist`);

for (const problem of problems) console.error(problem);
const steps = [
  ['types', ['node_modules/typescript/bin/tsc', '--noEmit', '-p', 'tsconfig.json']],
  ['viewer types', ['node_modules/typescript/bin/tsc', '--noEmit', '-p', 'src/viewer/tsconfig.json']],
  ['test types', ['node_modules/typescript/bin/tsc', '--noEmit', '-p', 'test/tsconfig.json']],
  ['lint', ['node_modules/eslint/bin/eslint.js', '--no-warn-ignored', '--pass-on-no-patterns', 'src/**/*.ts', 'test/**/*.ts']],
];
let failed = problems.length > 0;
for (const [name, args] of steps) {
  const done = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (done.status !== 0) {
    console.error(`check: ${name} failed`);
    failed = true;
  }
}
console.error(failed ? 'check: failed' : 'check: ok');
process.exitCode = failed ? 1 : 0;
