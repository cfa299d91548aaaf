/** Stage `views` of an anchor-guided edit: any number of views in arc order, the one that all follow, and the groups. */
import { ConfigError, SceneError } from '../../../binding/errors';
import { cameraArc } from '../../../scene/arc';
import { anchorProblem } from '../../../config/edit';
import { centreCrop, cropImage, encodePng, readImage, resizeImage, selectViews } from '../../../scene';
import type { Image, Scene } from '../../../scene';
import type { AppEvent } from '../../events';
import { quantized, saveWork } from '../run';
import type { EditRun, EditStage } from '../run';
import { cellPlan, loadViews, saveChoice } from '../views';
import { gridSide, mosaicSize, planGroups } from './groups';

export const anchoredViewsStage: EditStage = { name: 'views', run: chooseViews };

/** Work file of the user's picture at cell size. */
const anchorFile = 'anchor.png';

async function* chooseViews(run: EditRun): AsyncGenerator<AppEvent, void> {
  const { scene, settings, editor, signal } = run;
  const problem = anchorProblem(settings);
  if (problem) throw new ConfigError(`${problem.setting}: ${problem.message}`);
  if (editor.settings.view_layout === 'index') {
    throw new ConfigError(
      `model ${editor.name}: places views by index, and an anchor-guided edit places them by cell; edit without --anchor-guided`,
    );
  }
  const { indices, warnings } = chooseIndices(scene, settings);
  for (const message of warnings) yield { type: 'warning', message };
  const wanted = anchorIndex(scene, settings.anchor);
  const anchor = wanted === undefined ? Math.floor((indices.length - 1) / 2) : indices.indexOf(wanted);

  const plan = cellPlan(run, indices[0]);
  const { anchorPicture } = settings;
  // Read before the views: what is wrong with it is found before anything slow.
  const picture = anchorPicture === undefined ? undefined : await readAnchor(anchorPicture, plan, signal);
  const views = yield* loadViews(run, indices, plan);
  const groups = planGroups({
    views: views.length,
    anchor,
    groupViews: settings.groupViews ?? editor.settings.group_views ?? gridSide * gridSide,
    anchorGiven: picture !== undefined,
  });
  const { rows, cols } = mosaicSize(views.length);
  run.choice = {
    plan: { ...plan, rows, cols, width: cols * plan.cellWidth, height: rows * plan.cellHeight },
    views,
    cells: views.map((_, view) => view),
    warnings,
    anchored: { anchor, ...(picture && { picture: anchorPicture }), groups },
  };
  await saveChoice(run);
  if (picture) await saveWork(run, anchorFile, await encodePng(picture));
}

/**
 * Views in arc order (a list by name: in its own). Where the even choice leaves out the view that was named as anchor, it
 * takes the place of its nearest neighbour.
 */
function chooseIndices(
  scene: Scene,
  { views, viewNames, anchor }: EditRun['settings'],
): { indices: number[]; warnings: string[] } {
  const warnings: string[] = [];
  const count = Math.min(viewNames?.length ?? views, scene.views.length);
  if (count < views && !viewNames && count > 0) {
    warnings.push(`the scene has ${count} views, fewer than the ${views} wanted; each is edited once`);
  }
  if (scene.views.length === 1) throw new SceneError(`scene ${scene.name}: it has one view, and no other that could follow it`);
  const selection = selectViews(scene, viewNames ? { choose: viewNames, cells: viewNames.length } : { views: count, cells: Math.max(1, count) });
  const indices = [...selection.indices];
  warnings.push(...selection.warnings);
  const wanted = anchorIndex(scene, anchor);
  if (wanted === undefined || indices.includes(wanted)) return { indices, warnings };
  if (viewNames) throw new ConfigError(`anchor: ${scene.views[wanted].name} is not among the listed views`);
  const { order } = cameraArc(scene.views.map(({ camera }) => camera), scene.points);
  const place = (index: number): number => order.indexOf(index);
  const distances = indices.map((index) => Math.abs(place(index) - place(wanted)));
  indices[distances.indexOf(Math.min(...distances))] = wanted;
  return { indices: indices.sort((a, b) => place(a) - place(b)), warnings };
}

/** Index in the scene of the view that was named. @throws ConfigError */
function anchorIndex({ views }: Scene, anchor: string | number | undefined): number | undefined {
  if (anchor === undefined) return undefined;
  const named = views.findIndex(({ name }) => name === anchor);
  if (named >= 0) return named;
  const index = typeof anchor === 'number' || /^\d+$/.test(anchor) ? Number(anchor) : -1;
  if (index >= 0 && index < views.length) return index;
  const some = views.slice(0, 3).map(({ name }) => name).join(', ');
  throw new ConfigError(
    `anchor: the scene has no view ${JSON.stringify(anchor)}; it has ${views.length}, index 0 to ${views.length - 1}, named ${some} …`,
  );
}

/** The centre of a picture at cell size, in 8-bit steps; a picture of that size stays as it is. */
async function readAnchor(
  file: string,
  { cellWidth: width, cellHeight: height }: { cellWidth: number; cellHeight: number },
  signal: AbortSignal,
): Promise<Image> {
  const image = await readImage(file, { signal });
  const cropped = cropImage(image, centreCrop(image.width, image.height, width, height));
  return quantized(resizeImage(cropped, width, height, 'lanczos'));
}

/** The user's edit of the anchor as the views stage left it. */
export async function givenAnchor(run: EditRun): Promise<Image> {
  return readImage((await run.folder()).workPath(anchorFile), { signal: run.signal });
}
