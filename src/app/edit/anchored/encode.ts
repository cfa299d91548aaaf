/** Stage `encode` of an anchor-guided edit: every view alone, since finished and unfinished ones share no picture. */
import { gridPrompt } from '../../../scene';
import type { Image } from '../../../scene';
import { scope } from '../../../tensor/scope';
import type { AppEvent } from '../../events';
import { readHostTensors } from '../../parity/kinds';
import type { HostTensor } from '../../parity/kinds';
import { encodePicture, joined, takeHost } from '../encode';
import { encodeTensors } from '../host-tensors';
import { beforeOf, choiceOf, saveWork } from '../run';
import type { Condition, EditRun, EditStage } from '../run';
import { gridSide } from './groups';
import { givenAnchor } from './views';

export const anchoredEncodeStage: EditStage = { name: 'encode', run: encode };

const conditionFile = 'condition.safetensors';

async function* encode(run: EditRun): AsyncGenerator<AppEvent, void> {
  const { editor, prompt } = run;
  const { anchored } = await choiceOf(run);
  const pictures: Image[] = [...(await beforeOf(run))];
  const views = pictures.length;
  if (anchored?.picture !== undefined) pictures.push(await givenAnchor(run));
  const steps = 1 + pictures.length;
  yield { type: 'step', stage: 'encode', step: 0, steps };

  // The text encoders come first and are freed: they are the largest networks but one.
  const instruction = async (sentence: string): Promise<HostTensor[]> => {
    const { hiddenStates, pooled } = editor.encodePrompt(sentence);
    return takeHost(hiddenStates, pooled);
  };
  const single = await instruction(prompt);
  const grid =
    editor.settings.prompt_template === 'grid' ? await instruction(gridPrompt(prompt, gridSide, gridSide)) : single;
  yield { type: 'step', stage: 'encode', step: 1, steps };

  const vae = editor.vae();
  const parts: HostTensor[] = [];
  for (const picture of pictures) {
    const [tokens] = await takeHost(scope(() => encodePicture(run, vae, picture)));
    parts.push(tokens);
    yield { type: 'step', stage: 'encode', step: 1 + parts.length, steps };
  }
  const reference = joined(parts.slice(0, views));
  const anchor: HostTensor | undefined = parts[views];
  run.condition = {
    reference,
    text: grid[0],
    pooled: grid[1],
    anchored: { text: single[0], pooled: single[1], ...(anchor && { anchor }) },
  };
  await saveWork(
    run,
    conditionFile,
    encodeTensors({
      reference,
      text: grid[0],
      pooled: grid[1],
      singleText: single[0],
      singlePooled: single[1],
      ...(anchor && { anchor }),
    }),
  );
}

export async function anchoredConditionOf(run: EditRun): Promise<Required<Condition>> {
  if (!run.condition) {
    const tensors = await readHostTensors((await run.folder()).workPath(conditionFile));
    run.condition = {
      reference: tensors.get('reference'),
      text: tensors.get('text'),
      pooled: tensors.get('pooled'),
      anchored: {
        text: tensors.get('singleText'),
        pooled: tensors.get('singlePooled'),
        ...(tensors.has('anchor') && { anchor: tensors.get('anchor') }),
      },
    };
  }
  return run.condition as Required<Condition>;
}
