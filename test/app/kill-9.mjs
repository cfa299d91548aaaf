// Kills a training run with SIGKILL at random moments, takes it up again, and compares the bits it ends with to an undisturbed run's.
// Run after a build: node test/app/kill-9.mjs [kills (30) [updates (6) [seed (1)]]]. One line per kill; exit code 1 on any difference.
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const dist = process.env.RL3DEDIT_DIST ?? '../../dist';
const [kills, updates, seed] = [30, 6, 1].map((usual, i) => Number(process.argv[2 + i] ?? usual));
const script = fileURLToPath(import.meta.url);

const settings = (out) => ({
  out,
  device: 'cpu',
  data: { world: { scenes: 4 } },
  views: 2,
  resolution: 32,
  group: 2,
  groupsPerUpdate: 1,
  steps: 4,
  window: { size: 2 },
  updates,
  optimizer: { learningRate: 0.003 },
  ema: { every: 2 },
  adapter: { rank: 4 },
  evaluateEvery: 3,
  evaluationSamples: 1,
  sampleEvery: 2,
  checkpointEvery: 1,
  seed: 11,
});

if (process.argv[2] === 'run') await runHere(process.argv[3], Number(process.argv[4]), process.argv[5] === 'resume');
else await main();

/** The child: trains to the end, or goes on with what the folder holds. */
async function runHere(out, count, resume) {
  const { train } = require(`${dist}/app/train.js`);
  const { trainSchema } = require(`${dist}/config/train.js`);
  const given = trainSchema.parse({ ...settings(out), updates: count, overwrite: !resume });
  const app = train(given, { signal: new AbortController().signal }, { resume });
  while (!(await app.next()).done);
}

/** Runs a child; ends it after `killMs` when it still runs. Gives how it ended and what it took. */
function child(out, resume, killMs) {
  return new Promise((resolve) => {
    const begun = performance.now();
    const process_ = spawn(process.execPath, [script, 'run', out, String(updates), resume ? 'resume' : 'new'], { stdio: ['ignore', 'ignore', 'inherit'] });
    const timer = killMs === undefined ? undefined : setTimeout(() => process_.kill('SIGKILL'), killMs);
    process_.on('exit', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, ms: performance.now() - begun });
    });
  });
}

/** Every file a run ends with, by name; of the metrics all but the seconds. */
function results(out) {
  const last = readdirSync(join(out, 'checkpoints')).filter((name) => /^\d+$/.test(name)).sort().at(-1);
  const names = ['adapter', 'average', 'optimizer', 'lora'].map((name) => `checkpoints/${last}/${name}.safetensors`);
  const metrics = readFileSync(join(out, 'metrics.jsonl'), 'utf8').replace(/"seconds":[^,}]*/g, '"seconds":0');
  return new Map([...[...names, 'lora.safetensors'].map((name) => [name, readFileSync(join(out, name)).toString('base64')]), ['metrics.jsonl', metrics]]);
}

async function main() {
  const root = mkdtempSync(join(tmpdir(), 'rl3dedit-kill-'));
  try {
    const undisturbed = join(root, 'undisturbed');
    const whole = await child(undisturbed, false);
    if (whole.code !== 0) throw new Error(`the undisturbed run ended with ${whole.code ?? whole.signal}`);
    const expected = results(undisturbed);
    console.log(`undisturbed: ${updates} updates in ${(whole.ms / 1000).toFixed(1)} s, seed ${seed}`);
    let [different, killed] = [0, 0];
    let state = seed;
    const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
    for (let k = 1; k <= kills; k++) {
      const out = join(root, `kill-${k}`);
      const after = random() * whole.ms;
      const first = await child(out, false, after);
      if (first.signal === 'SIGKILL') killed += 1;
      const saved = existsSync(join(out, 'checkpoints')) ? readdirSync(join(out, 'checkpoints')).join(' ') : '';
      // Before it noted its settings a run left nothing to go on from.
      const resume = existsSync(join(out, 'run.yaml'));
      const second = await child(out, resume);
      const got = second.code === 0 ? results(out) : new Map();
      const wrong = [...expected].filter(([name, bits]) => got.get(name) !== bits).map(([name]) => name);
      if (wrong.length > 0) different += 1;
      const how = first.signal === 'SIGKILL' ? `killed after ${(after / 1000).toFixed(2)} s` : 'ended before the kill';
      const outcome = second.code !== 0 ? `FAILED (${second.code ?? second.signal})` : wrong.length === 0 ? 'same bits' : `DIFFERENT: ${wrong.join(', ')}`;
      console.log(`${k}: ${how}, checkpoints [${saved}], ${resume ? 'resumed' : 'begun anew'}: ${outcome}`);
      rmSync(out, { recursive: true });
    }
    console.log(`${killed} kills, ${kills - different} of ${kills} runs ended with the bits of the undisturbed one`);
    if (different > 0) process.exitCode = 1;
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}
