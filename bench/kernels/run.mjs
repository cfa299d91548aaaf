// Runs the kernel benches of the native build and keeps their lines: node bench/kernels/run.mjs [--build DIR] [--out FILE]
// [--only OP,OP] [--save-baseline] [options of the benches: --filter TEXT --device cpu|cuda --seconds S --large].
// Build first: npm run build:native (CPU), or cmake with -DRL_WITH_CUDA=ON into the folder given as --build.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const { values } = parseArgs({
  options: {
    build: { type: 'string', default: join(root, 'build-native') },
    out: { type: 'string' },
    only: { type: 'string' },
    'save-baseline': { type: 'boolean', default: false },
    filter: { type: 'string' },
    device: { type: 'string' },
    seconds: { type: 'string' },
    large: { type: 'boolean', default: false },
  },
});

/** What the card says of itself and of its clock now; empty without one. */
function card() {
  const query = ['--query-gpu=name,driver_version,clocks.sm,clocks.mem,power.draw', '--format=csv,noheader'];
  const asked = spawnSync('nvidia-smi', query, { encoding: 'utf8' });
  return asked.status === 0 ? asked.stdout.trim() : '';
}

const options = ['filter', 'device', 'seconds'].flatMap((name) => (values[name] === undefined ? [] : [`--${name}`, values[name]]));
if (values.large) options.push('--large');
const wanted = values.only?.split(',');
// bench_gemm and bench_attention time the CPU code below the ops and have options of their own: bench/peers runs them.
const own = new Set(['gemm', 'attention']);
const names = readdirSync(join(root, 'bench/kernels'))
  .filter((file) => file.endsWith('.bench.cc'))
  .map((file) => file.slice(0, -'.bench.cc'.length))
  .filter((name) => (wanted ? wanted.includes(name) : !own.has(name)));
const before = card();
const cases = [];
for (const name of names) {
  const program = join(values.build, `bench_${name}`);
  if (!existsSync(program)) {
    console.error(`${program} is not there; build it with: npm run build:native`);
    process.exit(3);
  }
  const lines = execFileSync(program, options, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).split('\n').filter(Boolean);
  for (const line of lines) {
    const one = JSON.parse(line);
    cases.push(one);
    const peak = one.pctPeak === undefined ? '' : `  ${one.pctPeak} % of peak`;
    console.log(`${one.op}  ${one.case}  ${one.dtype}  ${one.device}  ${one.ms.p50} ms  ${one.gbs} GB/s  ${one.gflops} GFLOP/s${peak}`);
  }
}
const environment = { date: new Date().toISOString(), cpu: cpus()[0]?.model.trim(), ...(before && { card: { before, after: card() } }) };

/** Earlier cases that this run did not measure again are kept. */
function withEarlier(file) {
  const key = ({ op, case: name, dtype, shape }) => [op, name, dtype, shape].join('|');
  const measured = new Set(cases.map(key));
  const earlier = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).cases : [];
  return [...earlier.filter((one) => !measured.has(key(one))), ...cases];
}

function write(file, content) {
  mkdirSync(dirname(resolve(file)), { recursive: true });
  writeFileSync(file, `${JSON.stringify(content, undefined, 1)}\n`);
  console.error(`wrote ${file}`);
}
if (values.out) write(values.out, { environment, cases });
if (values['save-baseline']) {
  const device = before && cases.some((one) => one.device.startsWith('cuda')) ? before.split(',')[0] : environment.cpu;
  const slug = device.toLowerCase().replace(/\(r\)|\(tm\)/g, '').replace(/[^a-z0-9]+/g, '-').replace(/^-+|-+$/g, '');
  const file = join(root, 'bench/baselines', `${slug}.kernels.json`);
  write(file, { environment, cases: withEarlier(file) });
}
