/** What a training run works with: the policy and its adapter, the optimiser, the judge, the rewards and the samples. */
import { join } from 'node:path';
import { ConfigError } from '../../binding/errors';
import type { TrainSettings } from '../../config/train';
import type { Lora } from '../../models/lora';
import { buildRewards, disposeRewards } from '../../rewards';
import type { Device } from '../../tensor/device';
import { AdamW, Ema } from '../../tensor/optim';
import type { Editor } from '../model';
import { openAdapter } from './adapter';
import type { Trained } from './checkpoint';
import { Judge } from './judge';
import { Policy } from './policy';
import type { Run } from './run';
import { openSource } from './source';
import { World } from './world';

/** A run, to be disposed of by who opened it. */
export interface Workshop {
  run: Run;
  /** The source of the samples, where it is the procedural world: held-out samples can be measured. */
  world?: World;
  /** Numbers in the adapter. */
  parameters: number;
  dispose(): Promise<void>;
}

/** @throws ConfigError, WeightsError for what the settings name */
export async function openWorkshop(settings: TrainSettings, device: Device, editor: Editor, signal: AbortSignal): Promise<Workshop> {
  const verifier = await editor.verifier();
  if (!verifier) throw new ConfigError(`model ${editor.name} has no verifier, and training needs one as its judge; give one with verifier:`);
  const cacheFolder = 'scenes' in settings.data ? join(settings.out, 'cache') : undefined;
  const policy = await Policy.open(editor, { guidance: settings.guidance, cacheFolder });
  const terms = await buildRewards(settings.rewards, signal);
  let lora: Lora | undefined;
  try {
    lora = await openAdapter(settings, device, policy);
    lora.train();
    const source = await openSource(settings, policy, lora, signal);
    const parameters = lora.parameters();
    const { beta1, beta2, weightDecay } = settings.optimizer;
    const trained: Trained = {
      device,
      lora,
      optimizer: new AdamW(parameters, { beta1, beta2, weightDecay }),
      ema: new Ema(parameters, settings.ema.decay),
    };
    const judge = new Judge(verifier, settings);
    return {
      run: { settings, policy, trained, judge, terms, source, signal },
      world: source instanceof World ? source : undefined,
      parameters: [...parameters.values()].reduce((sum, { size }) => sum + size, 0),
      dispose: async () => {
        trained.optimizer.dispose();
        trained.ema.dispose();
        trained.lora.dispose();
        await disposeRewards(terms);
      },
    };
  } catch (error) {
    lora?.dispose();
    await disposeRewards(terms);
    throw error;
  }
}
