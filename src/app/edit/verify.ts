/** Stage `verify`: what the 3D verifier says about the views before and after the edit. */
import type { AppEvent } from '../events';
import { afterOf, beforeOf, choiceOf, readWork, saveWork } from './run';
import type { EditRun, EditStage } from './run';
import { verifySet } from './verification';
import type { Verification } from './verification';

export const verifyStage: EditStage = { name: 'verify', run: verify };

const workName = 'verification.json';

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
    yield { type: 'step', stage: 'verify', step: 0, steps: 2 };
    const before = await verifySet(device, verifier, views, await beforeOf(run), signal);
    yield { type: 'step', stage: 'verify', step: 1, steps: 2 };
    const after = await verifySet(device, verifier, views, await afterOf(run), signal);
    yield { type: 'step', stage: 'verify', step: 2, steps: 2 };
    run.verification = { before, after };
    for (const [view, report] of after.views.entries()) {
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
