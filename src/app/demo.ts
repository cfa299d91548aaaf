/** Edits a procedural scene with the shipped tiny networks: the whole chain without any download or GPU. */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { AbortError } from '../binding/errors';
import { editSchema } from '../config/edit';
import type { DemoSettings } from '../config/demo';
import { sampleScene, seedOf, splits, writeScene } from '../scene/procedural';
import { nativeRenderer } from '../scene/procedural/native';
import { edit } from './edit';
import type { EditResult } from './edit';
import type { AppContext, AppEvent } from './events';

/** Side of the rendered photographs; the editor's views are smaller. */
const photographPx = 256;
const samplesPerPixel = 16;

/**
 * Renders a scene that no network was trained on (into `out`/scene), edits it (into `out`/edit) and says where the
 * pictures are. The same settings give the same pictures; an earlier demo in `out` is replaced.
 * @throws what `edit` throws
 */
export async function* demo(settings: DemoSettings, { signal }: AppContext): AsyncGenerator<AppEvent, EditResult> {
  const { out, seed, ...shared } = settings;
  const sceneFolder = path.join(out, 'scene');
  if (signal.aborted) throw new AbortError();
  const scene = sampleScene(seedOf('test', seed % splits.test.count));
  // Only a folder that holds a rendered scene is taken for an earlier demo's.
  const earlier = await fs.stat(path.join(sceneFolder, 'scene.json')).catch(() => undefined);
  if (earlier) await fs.rm(sceneFolder, { recursive: true, force: true });
  await writeScene(
    scene,
    sceneFolder,
    { width: photographPx, height: photographPx, spp: samplesPerPixel },
    nativeRenderer().raycast,
  );
  yield { type: 'note', message: `rendered a procedural scene: ${sceneFolder}` };
  if (signal.aborted) throw new AbortError();
  const editSettings = editSchema.parse({
    ...shared,
    seed,
    scene: sceneFolder,
    out: path.join(out, 'edit'),
    overwrite: true,
  });
  const result = yield* withoutDone(edit(editSettings, { signal }));
  const shown: EditResult = {
    ...result,
    out,
    summary: [`before: ${path.join(out, 'edit', 'views', 'before')}`, ...result.summary],
  };
  yield { type: 'done', result: shown };
  return shown;
}

/** The inner app's stream without its last event: the outer one has a result of its own. */
async function* withoutDone<T>(app: AsyncGenerator<AppEvent, T>): AsyncGenerator<AppEvent, T> {
  try {
    for (;;) {
      const next = await app.next();
      if (next.done) return next.value;
      if (next.value.type !== 'done') yield next.value;
    }
  } finally {
    await app.return(undefined as never);
  }
}
