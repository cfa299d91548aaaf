/** Stage `verify`: what the 3D verifier says about the views before and after the edit. */
import type { AppEvent } from '../events';
import { readHostTensors } from '../parity/kinds';
import type { HostTensor } from '../parity/kinds';
import { afterOf, beforeOf, choiceOf, readWork, saveWork } from './run';
import type { EditRun, EditStage } from './run';
import { encodeTensors } from './host-tensors';
import { verifyEdit } from './verification';
import type { Verification, EditMaps } from './verification';

export const verifyStage: EditStage = { name: 'verify', run: verify };

const workName = 'verification.json';
const mapsName = 'maps.safetensors';
const sides = ['before', 'after'] as const;

async function* verify(run: EditRun): AsyncGenerator<AppEvent, void> {
  const { editor, device, signal } = run;
  const verifier = await editor.verifier();
  if (!verifier) {
    yield {
      type: 'note',
      message: `model ${editor.name} has no verifier, so there is no report on consistency; give one with --verifier`,
    };
    run.verification = null;
  } else {
    const { views } = await choiceOf(run);
    const { verification, maps } = yield* verifyEdit(device, verifier, views, { before: await beforeOf(run), after: await afterOf(run), signal });
    run.verification = verification;
    run.maps = maps;
    if (maps) await saveWork(run, mapsName, encodeTensors(mapTensors(maps)));
    for (const [view, report] of verification.after.views.entries()) {
      for (const name of ['depthConfidence', 'pointConfidence', 'rotationDeg', 'translationDeg'] as const) {
        const value = report[name];
        if (value !== undefined) yield { type: 'metric', name, value, view };
      }
    }
    editor.release('verifier');
  }
  await saveWork(run, workName, `${JSON.stringify(run.verification)}\n`);
}

/** The verifier's report; null where the model has no verifier. */
export async function verificationOf(run: EditRun): Promise<Verification | null> {
  if (run.verification === undefined)
    run.verification = ((await readWork(await run.folder(), workName)) ?? null) as Verification | null;
  return run.verification;
}

/** What the verifier saw; undefined where there is nothing to be shown. */
export async function mapsOf(run: EditRun): Promise<EditMaps | undefined> {
  if (!run.maps) {
    const tensors = await readHostTensors((await run.folder()).workPath(mapsName), true);
    const [before, after] = sides.map((side) => {
      if (!tensors.has(`${side}.confidence`)) return undefined;
      const [, height, width] = tensors.get(`${side}.confidence`).shape;
      const depth = tensors.has(`${side}.depth`) ? tensors.floats(`${side}.depth`) : undefined;
      return { width, height, confidence: tensors.floats(`${side}.confidence`), depth };
    });
    if (before && after) run.maps = { before, after };
  }
  return run.maps;
}

function mapTensors(maps: EditMaps): Record<string, HostTensor> {
  const tensors: Record<string, HostTensor> = {};
  for (const side of sides) {
    const { width, height, confidence, depth } = maps[side];
    const shape = [confidence.length / (width * height), height, width];
    tensors[`${side}.confidence`] = { shape, data: confidence };
    if (depth) tensors[`${side}.depth`] = { shape, data: depth };
  }
  return tensors;
}
