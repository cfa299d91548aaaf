// A thousand small updates in one process: resident memory after the last within 5 % of that after the hundredth, every figure a number.
// Run after a build: node test/app/train-1000.mjs [updates (1000) [model (tiny)]]
import { createRequire } from 'node:module';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

// Garbage that waits for its collection is no leak.
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc');
const require = createRequire(import.meta.url);
const dist = process.env.RL3DEDIT_DIST ?? '../../dist';
const { train } = require(`${dist}/app/train.js`);
const { trainSchema } = require(`${dist}/config/train.js`);
const { Device } = require(`${dist}/tensor/device.js`);

const updates = Number(process.argv[2] ?? 1000);
const model = process.argv[3] ?? 'tiny';
const root = mkdtempSync(join(tmpdir(), 'rl3dedit-train-'));
const device = Device.open('cpu');
try {
  const settings = trainSchema.parse({
    out: join(root, 'run'), model, device: 'cpu', seed: 2, updates,
    data: { world: { scenes: 50 } }, views: 2, resolution: 32, group: 2, groupsPerUpdate: 1, steps: 4, window: { size: 2 }, adapter: { rank: 4 },
    // Collapse is not what this is about.
    guards: { editStrength: 0, sharpness: 0, diversity: 0 },
    evaluateEvery: Math.ceil(updates / 4), evaluationSamples: 1, sampleEvery: 50, checkpointEvery: 10,
  });
  const left = device.memory().liveTensors;
  const rssMb = new Map();
  const tensors = new Set();
  const at = Math.min(100, Math.floor(updates / 2));
  const begun = performance.now();
  const app = train(settings, { signal: new AbortController().signal }, { device });
  let next = await app.next();
  for (; !next.done; next = await app.next()) {
    const event = next.value;
    if (event.type !== 'step') continue;
    tensors.add(device.memory().liveTensors);
    if (event.step === at || event.step % 50 === 0 || event.step === updates) {
      collectGarbage();
      rssMb.set(event.step, process.memoryUsage().rss / 2 ** 20);
      console.log(`${event.step}: ${rssMb.get(event.step).toFixed(1)} MiB, ${((performance.now() - begun) / 1000).toFixed(0)} s`);
    }
  }
  const { stopped, updates: done } = next.value;
  const metrics = readFileSync(join(root, 'run', 'metrics.jsonl'), 'utf8');
  const broken = (metrics.match(/"(NaN|-?Infinity)"/g) ?? []).length;
  const growth = rssMb.get(updates) / rssMb.get(at) - 1;
  console.log(
    `${done} updates in ${((performance.now() - begun) / 1000).toFixed(0)} s; resident memory ${rssMb.get(at)?.toFixed(1)} MiB after ${at}, ` +
      `${rssMb.get(updates)?.toFixed(1)} MiB after ${updates} (${(100 * growth).toFixed(1)} %)`,
  );
  const remaining = device.memory().liveTensors - left;
  console.log(`figures that are no numbers: ${broken}; tensors during the run: ${[...tensors].join(', ')}; left after it: ${remaining}${stopped ? `; stopped: ${stopped}` : ''}`);
  if (!(growth <= 0.05) || broken > 0 || stopped || done !== updates || remaining !== 0) process.exitCode = 1;
} finally {
  device.dispose();
  rmSync(root, { recursive: true, force: true });
}
