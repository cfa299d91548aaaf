/** Stage `edit` of an anchor-guided edit: the anchor, unless it is given, then the other views in groups. */
import { performance } from 'node:perf_hooks';
import { cast } from '../../../tensor/ops';
import { scope } from '../../../tensor/scope';
import type { Tensor } from '../../../tensor/tensor';
import { withEvents } from '../../event-queue';
import type { AppEvent } from '../../events';
import { readHostTensors } from '../../parity/kinds';
import type { HostTensor } from '../../parity/kinds';
import { cellTokens, noiseStream, saveEverySec } from '../denoise';
import { encodeTensors } from '../host-tensors';
import { choiceOf, saveWork } from '../run';
import type { EditRun, EditStage } from '../run';
import { anchoredConditionOf } from './encode';
import { denoiseGroups } from './sequence';
import type { GroupsProgress } from './sequence';

export const anchoredDenoiseStage: EditStage = { name: 'edit', run: denoise };

const progressFile = 'groups.safetensors';

async function* denoise(run: EditRun): AsyncGenerator<AppEvent, void> {
  const { editor, settings, device } = run;
  const { plan, anchored } = await choiceOf(run);
  const condition = await anchoredConditionOf(run);
  const { groups } = anchored!;
  const cell = cellTokens(plan, editor.tokenPx);
  const stepsOfGroup = settings.steps ?? editor.settings.default_steps;
  const steps = groups.length * stepsOfGroup;
  const begin = (await groupsProgressOf(run)) ?? (await atBegin(run));
  yield { type: 'step', stage: 'edit', step: begin.step, steps };
  const model = await editor.transformer();
  const owned: Tensor[] = [];
  const upload = ({ data, shape }: HostTensor): Tensor => {
    const tensor = scope(() => cast(device.tensor(data, shape), editor.dtype));
    owned.push(tensor);
    return tensor;
  };
  // Views in a sequence, targets twice: what a step of the group costs, to first order.
  const costs = groups.flatMap(({ targets, contexts }) =>
    new Array<number>(stepsOfGroup).fill(2 * targets.length + 2 * contexts.length),
  );
  const costAfter = (step: number): number => costs.slice(step).reduce((sum, cost) => sum + cost, 0);
  try {
    const inGroups = { text: upload(condition.text), pooled: upload(condition.pooled) };
    const alone = { text: upload(condition.anchored.text), pooled: upload(condition.anchored.pooled) };
    yield* withEvents(run.signal, async (emit, signal) => {
      const begun = performance.now();
      let lastSave = begun;
      const onProgress = async (progress: GroupsProgress): Promise<void> => {
        run.groupsProgress = progress;
        const { step, current } = progress;
        const perCost = (performance.now() - begun) / (costAfter(begin.step) - costAfter(step));
        emit({ type: 'step', stage: 'edit', step, steps, etaSec: (costAfter(step) * perCost) / 1000 });
        // A finished group is kept at once.
        if (current && performance.now() - lastSave < 1000 * saveEverySec) return;
        lastSave = performance.now();
        await saveProgress(run);
      };
      const latents = await denoiseGroups(
        {
          device,
          dtype: editor.dtype,
          model,
          groups,
          cell,
          reference: condition.reference,
          instruction: ({ contexts }) => (contexts.length > 0 ? inGroups : alone),
          guidance: settings.guidance ?? editor.settings.default_guidance,
          sigmas: (targetTokens) => editor.sigmas(stepsOfGroup, targetTokens),
          seed: settings.seed,
          stream: noiseStream,
          noise: settings.noise,
        },
        begin,
        { signal, onProgress },
      );
      run.groupsProgress = { step: steps, latents };
    });
  } finally {
    for (const tensor of owned) tensor.dispose();
    editor.release('transformer');
    await saveProgress(run);
  }
}

/** No view is finished, but for an anchor that was given. */
async function atBegin(run: EditRun): Promise<GroupsProgress> {
  const { reference, anchored } = await anchoredConditionOf(run);
  const { anchor } = (await choiceOf(run)).anchored!;
  const data = new Float32Array(reference.data.length);
  if (anchored.anchor) data.set(anchored.anchor.data, anchor * anchored.anchor.data.length);
  return { step: 0, latents: { shape: reference.shape, data } };
}

async function saveProgress(run: EditRun): Promise<void> {
  if (!run.groupsProgress) return;
  const { step, latents, current } = run.groupsProgress;
  const steps: HostTensor = { shape: [1], data: Float32Array.of(step) };
  await saveWork(run, progressFile, encodeTensors({ latents, step: steps, ...(current && { current }) }));
}

/** Where the groups stand; undefined before their first saved step. */
export async function groupsProgressOf(run: EditRun): Promise<GroupsProgress | undefined> {
  if (!run.groupsProgress) {
    const tensors = await readHostTensors((await run.folder()).workPath(progressFile), true);
    if (tensors.has('latents')) {
      run.groupsProgress = {
        step: tensors.floats('step')[0],
        latents: tensors.get('latents'),
        ...(tensors.has('current') && { current: tensors.get('current') }),
      };
    }
  }
  return run.groupsProgress;
}
