/** Bench `edit`: a whole edit of a procedural scene, from photographs to edited views, against the time of the paper. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { editSchema } from '../../config/edit';
import { sampleScene, seedOf, writeScene } from '../../scene/procedural';
import { nativeRenderer } from '../../scene/procedural/native';
import { edit } from '../edit';
import { runApp } from '../events';
import type { Bench } from './cases';

/** Seconds of an edit in RL3DEdit (arXiv 2603.03143), of which some 40 are the refit of the splats. */
export const paperSeconds = 90;
const photographPx = 256;

export const editBench: Bench = {
  name: 'edit',
  describe: 'a whole edit of nine views with --model',
  run: async ({ dtype, settings, signal }) => {
    const folder = await mkdtemp(join(tmpdir(), 'rl3dedit-bench-'));
    try {
      const scene = join(folder, 'scene');
      await writeScene(sampleScene(seedOf('test', 0)), scene, { width: photographPx, height: photographPx, spp: 4 }, nativeRenderer().raycast);
      const { device, threads, seed, model } = settings;
      const editSettings = editSchema.parse({
        scene,
        out: join(folder, 'edit'),
        prompt: 'turn the photo into sepia',
        ...{ device, threads, seed, model, dtype },
      });
      const { seconds = {}, views = [] } = await runApp(edit(editSettings, { signal }), { event: () => undefined, close: () => undefined });
      const parts = Object.fromEntries(Object.entries(seconds).map(([stage, value]) => [stage, 1000 * value]));
      const total = Object.values(parts).reduce((sum, ms) => sum + ms, 0);
      return [
        {
          name: `edit ${model}`,
          dtype,
          shape: `${views.length} views`,
          ms: { p10: total, p50: total, p90: total },
          samples: 1,
          parts,
          limit: { ms: 1000 * paperSeconds, what: 'the paper, refit included' },
        },
      ];
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};
