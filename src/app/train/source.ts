/** Opens what a run file's `data` names. */
import { randn } from '../../tensor/ops';
import type { TrainSettings } from '../../config/train';
import { ConfigError } from '../../binding/errors';
import { sample } from '../../flow';
import type { Lora } from '../../models/lora';
import type { Tensor } from '../../tensor/tensor';
import { disposeCondition } from './policy';
import type { Policy } from './policy';
import type { SampleSource } from './samples';
import { SceneSamples } from './scenes';
import { World } from './world';
import type { EditAlone } from './world';

const singleStream = 95;
/** Side of a view where neither run file nor model says one: a grid of 528², as RL3DEdit was probably trained. */
const trainingPx = 176;

/** @throws ConfigError, SceneError for data that is not there or does not fit the run */
export async function openSource(settings: TrainSettings, policy: Policy, lora: Lora, signal: AbortSignal): Promise<SampleSource> {
  const { data, views, seed, fixedAnchor } = settings;
  const size = settings.resolution ?? policy.editor.settings.view_size;
  if ('world' in data) {
    if (size === undefined) throw new ConfigError(`resolution: model ${policy.editor.name} has no view size of its own; give one for procedural scenes`);
    if (size % policy.editor.tokenPx !== 0) throw new ConfigError(`resolution ${size}: views need a multiple of ${policy.editor.tokenPx}`);
    return new World(data.world, views, size, seed, fixedAnchor, alone(policy, lora, settings, signal));
  }
  const { tokenPx, settings: model } = policy.editor;
  const long = size ?? trainingPx;
  const whole = (side: number): number => Math.max(1, Math.round(side / tokenPx)) * tokenPx;
  const aspect = model.view_aspect ?? 1;
  const sides = aspect >= 1 ? { width: whole(long), height: whole(long / aspect) } : { width: whole(long * aspect), height: whole(long) };
  return SceneSamples.open(data.scenes, { views, size: sides, seed, fixedAnchor, signal });
}

/** The base editor on one view: the adapter has no part in the anchors it learns from. */
function alone(policy: Policy, lora: Lora, { steps }: TrainSettings, signal: AbortSignal): EditAlone {
  return async (view, instruction, cell, seed) => {
    const condition = await policy.condition({ instruction, before: [view], cells: [cell], roles: { targets: [0], contexts: [] }, contexts: [] });
    const start = policy.device.empty([1, condition.targetTokens, policy.channels]);
    const was = lora.enabled;
    lora.enabled = false;
    try {
      randn(start, { seed, stream: singleStream });
      const velocity = (x: Tensor, sigma: number): Tensor => policy.velocity(x, sigma, condition);
      const final = await sample(start, velocity, { sigmas: policy.sigmas(steps, condition), signal });
      try {
        const [[picture]] = await policy.decode(final, condition);
        return picture;
      } finally {
        final.dispose();
      }
    } finally {
      lora.enabled = was;
      start.dispose();
      disposeCondition(condition);
    }
  };
}
