/** Stage `views`: which views are edited, loaded at the size of a grid cell. */
import { loadView, planGrid, selectViews, encodePng } from '../../scene';
import type { GridPlan, Image } from '../../scene';
import type { AppEvent } from '../events';
import { quantized, saveWork, viewFile } from './run';
import type { ChosenView, EditRun, EditStage } from './run';

export const viewsStage: EditStage = { name: 'views', run: chooseViews };

async function* chooseViews(run: EditRun): AsyncGenerator<AppEvent, void> {
  const { scene, settings, signal } = run;
  const selection = selectViews(scene, settings.viewNames ? { choose: settings.viewNames } : { views: settings.views });
  for (const message of selection.warnings) yield { type: 'warning', message };
  const distinct = selection.indices.filter((_, cell) => selection.duplicateOf[cell] === null);
  const cells = selection.indices.map((index) => distinct.indexOf(index));

  const first = scene.views[distinct[0]].camera;
  const plan = gridPlan(run, first.width / first.height);
  const views: ChosenView[] = [];
  const before: Image[] = [];
  for (const index of distinct) {
    yield { type: 'step', stage: 'views', step: views.length, steps: distinct.length };
    const { image, camera } = await loadView(scene.views[index], {
      width: plan.cellWidth,
      height: plan.cellHeight,
      signal,
    });
    before.push(quantized(image));
    views.push({
      name: scene.views[index].name,
      sceneIndex: index,
      camera: { ...camera, worldToCam: Array.from(camera.worldToCam) },
    });
  }
  yield { type: 'step', stage: 'views', step: views.length, steps: distinct.length };

  run.before = before;
  run.choice = { plan, views, cells, warnings: [...selection.warnings] };
  const folder = await run.folder();
  for (const [view, image] of before.entries()) await folder.write(viewFile('before', view), await encodePng(image));
  await saveWork(run, 'views.json', `${JSON.stringify(run.choice, null, 1)}\n`);
}

/** Cells of whole tokens: the size that was asked for, else the model's, else about a megapixel in all. */
function gridPlan({ settings, editor }: EditRun, sceneAspect: number): GridPlan {
  const { view_size: modelSize, view_aspect: modelAspect } = editor.settings;
  return planGrid({
    viewAspect: modelAspect ?? sceneAspect,
    tokenPx: editor.tokenPx,
    cellLongSide: settings.resolution ?? modelSize,
  });
}
