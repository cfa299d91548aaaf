/** Stage `decode` of an anchor-guided edit: latents back to pictures; a picture that was given stays as it is. */
import { ConfigError } from '../../../binding/errors';
import { composeGrid, createImage, encodePng } from '../../../scene';
import type { Image } from '../../../scene';
import type { AppEvent } from '../../events';
import { decodePicture, split } from '../decode';
import { cellTokens } from '../denoise';
import { choiceOf, viewFile } from '../run';
import type { EditRun, EditStage } from '../run';
import { groupsProgressOf } from './denoise';
import { givenAnchor } from './views';

export const anchoredDecodeStage: EditStage = { name: 'decode', run: decode };

async function* decode(run: EditRun): AsyncGenerator<AppEvent, void> {
  const { editor } = run;
  const { plan, views, anchored } = await choiceOf(run);
  const progress = await groupsProgressOf(run);
  if (!progress) throw new ConfigError('decode: there are no latents to decode; the edit stage has not run');
  const { rows, columns } = cellTokens(plan, editor.tokenPx);
  const given = anchored?.picture === undefined ? undefined : await givenAnchor(run);
  const after: Image[] = [];
  for (const [view, part] of split(progress.latents, views.length).entries()) {
    yield { type: 'step', stage: 'decode', step: view, steps: views.length };
    const shown = view === anchored?.anchor ? given : undefined;
    after.push(shown ?? (await decodePicture(run, part, rows, columns)));
  }
  yield { type: 'step', stage: 'decode', step: views.length, steps: views.length };
  editor.release('autoencoder');

  run.after = after;
  const folder = await run.folder();
  for (const [view, image] of after.entries()) {
    const path = await folder.write(viewFile('after', view), await encodePng(image));
    yield { type: 'image', name: `after ${views[view].name}`, path };
  }
  const white = createImage(plan.cellWidth, plan.cellHeight);
  white.data.fill(1);
  const cells = Array.from({ length: plan.rows * plan.cols }, (_, cell) => after[cell] ?? white);
  yield { type: 'image', name: 'grid', path: await folder.write('grid.png', await encodePng(composeGrid(cells, plan))) };
}
