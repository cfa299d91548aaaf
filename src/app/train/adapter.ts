/** The adapter a run trains: a fresh one, or the one its run file starts from. */
import type { TrainSettings } from '../../config/train';
import { createLora } from '../../models/lora';
import type { Lora } from '../../models/lora';
import { loadLora } from '../../models/lora-file';
import type { Device } from '../../tensor/device';
import { copy } from '../../tensor/ops';
import { SafetensorsWeights } from '../../tensor/safetensors';
import { unscoped } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import type { Policy } from './policy';

/** @throws WeightsError for a file that is not there or of another network, or targets the network lacks */
export async function openAdapter({ lora: file, adapter: shape, seed }: TrainSettings, device: Device, { model }: Policy): Promise<Lora> {
  const modules = model.weights.registered();
  if (file === undefined) return createLora(device, modules, { ...shape, seed });
  using source = new SafetensorsWeights(device, file, { dtype: 'f32' });
  const { lora } = await loadLora(
    {
      names: () => source.names(),
      shapeOf: (name) => source.shapeOf(name),
      metadata: () => source.metadata(),
      load: (name) => writable(source.load(name)),
    },
    modules,
  );
  return lora;
}

/** What is loaded may lie in the mapped file, which nobody may write to; a parameter is written to by every step. */
function writable(loaded: Tensor): Tensor {
  try {
    return unscoped(() => copy(loaded));
  } finally {
    loaded.dispose();
  }
}
