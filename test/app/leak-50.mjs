// Fifty edits in one process: resident memory after the last within 5 % of that after the fifth, and no tensor left.
// Run after a build: node test/app/leak-50.mjs [model [scene]]   (default: the shipped tiny networks, a procedural scene)
import { createRequire } from 'node:module';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

// Garbage that waits for its collection is no leak. What one collection frees, it frees in the background; the next one
// waits for that.
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');
const collectGarbage = () => {
  collect();
  collect();
};
const require = createRequire(import.meta.url);
const dist = process.env.RL3DEDIT_DIST ?? '../../dist';
// The heap as the `rl3dedit` command sets it up, before anything else is loaded.
require(`${dist}/cli/heap.js`);
const { Device, edit, editSchema } = require(`${dist}/index.js`);
const { sampleScene, seedOf, writeScene } = require(`${dist}/scene/procedural/index.js`);
const { nativeRenderer } = require(`${dist}/scene/procedural/native.js`);

const runs = 50;
const model = process.argv[2] ?? 'tiny';
const given = process.argv[3];
const root = mkdtempSync(join(tmpdir(), 'rl3dedit-leak-'));
const device = Device.open('cpu');
try {
  const scene = given ?? join(root, 'scene');
  if (!given) {
    const size = { width: 512, height: 512, spp: 4 };
    await writeScene(sampleScene(seedOf('test', 0)), scene, size, nativeRenderer().raycast);
  }
  const baseline = device.memory().liveTensors;
  const rssMb = [];
  for (let i = 0; i < runs; i++) {
    const settings = editSchema.parse({
      scene,
      model,
      prompt: 'turn the photo into sepia',
      out: join(root, 'out'),
      overwrite: true,
      device: 'cpu',
      seed: i,
      refit: 'none',
    });
    const app = edit(settings, { signal: new AbortController().signal });
    while (!(await app.next()).done);
    collectGarbage();
    // The C library keeps what the collection gave back, up to a tenth of the whole and never the same share of it.
    device.trim();
    rssMb.push(process.memoryUsage().rss / 2 ** 20);
  }
  const growth = rssMb[runs - 1] / rssMb[4] - 1;
  const left = device.memory().liveTensors - baseline;
  console.log(
    `resident memory: ${rssMb[4].toFixed(1)} MiB after 5 edits, ${rssMb[runs - 1].toFixed(1)} MiB after ${runs} (${(100 * growth).toFixed(1)} %)`,
  );
  console.log(`tensors left: ${left}`);
  if (growth > 0.05 || left !== 0) process.exitCode = 1;
} finally {
  device.dispose();
  rmSync(root, { recursive: true, force: true });
}
