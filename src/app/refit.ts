/** `rl3dedit refit`: goes on from edited views to an edited splat scene, also with views that somebody edited elsewhere. */
import { ConfigError, OutputError, SceneError } from '../binding/errors';
import type { RefitSettings } from '../config/refit';
import { composeGrid, encodePng, readImage } from '../scene';
import type { Image } from '../scene';
import { throwIfAborted } from '../scene/image';
import { camerasOf, writeRefit } from './edit/refit';
import { meanDifference, outputHash, readRecord, saveRecord, writeDataset, writeReport } from './edit/report';
import type { EditRecord } from './edit/report';
import { sceneOfEdit } from './edit/splat-scene';
import { verifyEdit } from './edit/verification';
import type { AppContext, AppEvent } from './events';
import { loadEditor } from './model';
import { onDevice } from './on-device';
import { OutputFolder, readState } from './output-folder';
import { refitScene } from './refit/refit-scene';
import type { RefitRecord } from './refit/refit-scene';

export interface RefitCommandResult {
  out: string;
  summary: string[];
  refit: RefitRecord;
  [key: string]: unknown;
}

/**
 * Refits the scene of a finished edit to the pictures in its views/after and writes the result beside them.
 * @throws OutputError for a folder that holds no finished edit, SceneError, ConfigError, AbortError
 */
export async function* refitEdit(settings: RefitSettings, { signal }: AppContext): AsyncGenerator<AppEvent, RefitCommandResult> {
  const { dir } = settings;
  const state = await readState(dir, 'edit');
  if (!state?.finished) throw new OutputError(`${dir}: holds no finished edit; make one with: rl3dedit edit --out ${dir} --approve`);
  const folder = await OutputFolder.open(dir, { command: 'edit', settings: JSON.parse(state.fingerprint) as Record<string, unknown>, resume: true });
  const record = await readRecord(folder);
  yield { type: 'stage', name: 'refit', index: 0, count: 1 };
  const { scene, splats } = await sceneOfEdit(record.settings.scene, dir);
  const before = await pictures(folder, record, 'before', signal);
  const after = await pictures(folder, record, 'after', signal);
  return yield* onDevice(settings.device, signal, async function* (device) {
    using editor = await loadEditor(settings.model ?? record.settings.model, device, { verifier: settings.verifier ?? record.settings.verifier, signal });
    const given = splats === undefined
      ? { splats: settings.splats ?? record.settings.splats, dataparser: settings.dataparser ?? record.settings.dataparser }
      : { splats, dataparser: null };
    const background = settings.background ?? record.settings.background;
    const verifier = await editor.verifier();
    const outcome = yield* refitScene({
      device, scene, signal, before, after, verifier,
      settings: { ...settings, ...given, background },
      cameras: camerasOf(record.views),
    });
    // The pictures may be other ones than those that the edit looked at.
    const seen = verifier ? yield* verifyEdit(device, verifier, record.views, { before, after, signal }) : undefined;
    throwIfAborted(signal);
    yield* writeRefit(folder, outcome);
    const changed: EditRecord = {
      ...record,
      views: record.views.map((view, i) => ({ ...view, meanChange: meanDifference(before[i], after[i]) })),
      ...(seen ? { verification: seen.verification } : {}),
      refit: outcome.record,
      outputHash: outputHash(after),
    };
    await folder.write('grid.png', await encodePng(composeGrid(record.cells.map((view) => after[view]), record.grid)));
    if (record.settings.dataset) await writeDataset(folder, changed, after, { points: scene.points, signal });
    await saveRecord(folder, changed);
    yield* writeReport(folder, changed, { maps: seen?.maps });
    const { gaussians, leaveOneOut } = outcome.record;
    const summary = [
      `${dir}/scene.ply: ${gaussians.edited} Gaussians` +
        (leaveOneOut ? `; views left out are met at ${leaveOneOut.psnr.toFixed(1)} dB (before fitting ${leaveOneOut.start.toFixed(1)})` : ''),
    ];
    const result = { out: dir, summary, refit: outcome.record };
    yield { type: 'done', result };
    return result;
  });
}

async function pictures(folder: OutputFolder, { views }: EditRecord, when: 'before' | 'after', signal: AbortSignal): Promise<Image[]> {
  if (views.length === 0) throw new ConfigError(`${folder.dir}: the edit has no views`);
  return Promise.all(
    views.map(async (view) => {
      const image = await readImage(folder.path(view[when]), { signal });
      const { width, height } = view.camera;
      if (image.width === width && image.height === height) return image;
      throw new SceneError(`${folder.path(view[when])}: is ${image.width}x${image.height}, expected ${width}x${height} as the edit left it`);
    }),
  );
}
