/** Stage `refit`: the edited views become an edited splat scene. */
import { encodePng } from '../../scene';
import { encodePly } from '../../scene/gaussians/formats';
import type { AppEvent } from '../events';
import type { OutputFolder } from '../output-folder';
import { refitScene } from '../refit/refit-scene';
import type { RefitInput, RefitOutcome, RefitRecord } from '../refit/refit-scene';
import { refittedFile } from './report-page';
import { afterOf, beforeOf, choiceOf, readWork, saveWork } from './run';
import type { ChosenView, EditRun, EditStage } from './run';

export const refitStage: EditStage = { name: 'refit', run: refitViews };

const workName = 'refit.json';

async function* refitViews(run: EditRun): AsyncGenerator<AppEvent, void> {
  const { settings, device, scene, signal, editor } = run;
  if (settings.refit === 'none' || settings.approve) {
    run.refit = null;
  } else {
    const { views } = await choiceOf(run);
    const outcome = yield* refitScene({
      device, scene, signal,
      cameras: camerasOf(views),
      before: await beforeOf(run),
      after: await afterOf(run),
      verifier: await editor.verifier(),
      settings: { ...settings, refit: settings.refit, ...(run.splats === undefined ? {} : { splats: run.splats, dataparser: null }) },
    });
    editor.release('verifier');
    yield* writeRefit(await run.folder(), outcome);
    run.refit = outcome.record;
  }
  await saveWork(run, workName, `${JSON.stringify(run.refit)}\n`);
}

/** The cameras at the size of the pictures. */
export function camerasOf(views: readonly ChosenView[]): RefitInput['cameras'] {
  return views.map(({ camera }) => ({ ...camera, worldToCam: Float64Array.from(camera.worldToCam) }));
}

/** Writes scene.ply, scene_before.ply and the renders of the edited scene. */
export async function* writeRefit(folder: OutputFolder, { source, edited, rendered }: RefitOutcome): AsyncGenerator<AppEvent, void> {
  if (source) await folder.write('scene_before.ply', encodePly(source));
  await folder.write('scene.ply', encodePly(edited));
  for (const [view, image] of rendered.entries()) {
    const path = await folder.write(refittedFile(view), await encodePng(image));
    yield { type: 'image', name: `refitted view ${view}`, path };
  }
}

/** The refit's record; null where there was none. */
export async function refitOf(run: EditRun): Promise<RefitRecord | null> {
  if (run.refit === undefined) run.refit = ((await readWork(await run.folder(), workName)) ?? null) as RefitRecord | null;
  return run.refit;
}
