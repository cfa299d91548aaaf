/** Stage `views`: which views are edited, loaded at the size of a grid cell. */
import { ConfigError } from '../../binding/errors';
import { anchorProblem } from '../../config/edit';
import { loadView, planGrid, selectViews, encodePng } from '../../scene';
import type { GridPlan, Image } from '../../scene';
import type { AppEvent } from '../events';
import { quantized, saveWork, viewFile } from './run';
import type { ChosenView, EditRun, EditStage } from './run';

export const viewsStage: EditStage = { name: 'views', run: chooseViews };

async function* chooseViews(run: EditRun): AsyncGenerator<AppEvent, void> {
  const { scene, settings } = run;
  const problem = anchorProblem(settings);
  if (problem) throw new ConfigError(`${problem.setting}: ${problem.message}`);
  const selection = selectViews(scene, settings.viewNames ? { choose: settings.viewNames } : { views: settings.views });
  for (const message of selection.warnings) yield { type: 'warning', message };
  const distinct = selection.indices.filter((_, cell) => selection.duplicateOf[cell] === null);
  const cells = selection.indices.map((index) => distinct.indexOf(index));

  const plan = cellPlan(run, distinct[0]);
  const views = yield* loadViews(run, distinct, plan);
  run.choice = { plan, views, cells, warnings: [...selection.warnings] };
  await saveChoice(run);
}

/** Loads the views of those indices at cell size: their pictures become `run.before`. */
export async function* loadViews(
  run: EditRun,
  indices: readonly number[],
  { cellWidth: width, cellHeight: height }: GridPlan,
): AsyncGenerator<AppEvent, ChosenView[]> {
  const { scene, signal } = run;
  const views: ChosenView[] = [];
  const before: Image[] = [];
  for (const index of indices) {
    yield { type: 'step', stage: 'views', step: views.length, steps: indices.length };
    const { image, camera } = await loadView(scene.views[index], { width, height, signal });
    before.push(quantized(image));
    views.push({
      name: scene.views[index].name,
      sceneIndex: index,
      camera: { ...camera, worldToCam: Array.from(camera.worldToCam) },
    });
  }
  yield { type: 'step', stage: 'views', step: views.length, steps: indices.length };
  run.before = before;
  return views;
}

/** Writes the choice and the unedited views: the first thing that an edit leaves in its folder. */
export async function saveChoice(run: EditRun): Promise<void> {
  const folder = await run.folder();
  for (const [view, image] of run.before!.entries()) await folder.write(viewFile('before', view), await encodePng(image));
  await saveWork(run, 'views.json', `${JSON.stringify(run.choice, null, 1)}\n`);
}

/** Cells of whole tokens: the size that was asked for, else the model's, else about a megapixel in all nine. */
export function cellPlan({ scene, settings, editor }: EditRun, firstView: number): GridPlan {
  const { view_size: modelSize, view_aspect: modelAspect } = editor.settings;
  const { width, height } = scene.views[firstView].camera;
  return planGrid({
    viewAspect: modelAspect ?? width / height,
    tokenPx: editor.tokenPx,
    cellLongSide: settings.resolution ?? modelSize,
  });
}
