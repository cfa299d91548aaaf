/** What the FLUX kinds share: building the network of a case and its inputs. */
import { loadFluxTransformer, parseFluxConfig, positionIds } from '../../models/flux';
import type { FluxInputs, FluxTransformer } from '../../models/flux';
import { SafetensorsWeights } from '../../tensor/safetensors';
import type { Tensor } from '../../tensor/tensor';
import { cast } from '../../tensor/ops';
import type { ParityCase, ParityContext } from './kinds';

export const fluxInputNames = ['hidden_states', 'encoder_hidden_states', 'pooled_projections'] as const;
export type FluxInputName = (typeof fluxInputNames)[number];

export interface FluxCase {
  model: FluxTransformer;
  inputs: FluxInputs;
  /** The inputs a gradient may be asked for. */
  tensors: Record<FluxInputName, Tensor>;
  dispose(): void;
}

/** Opens the case's weights, whichever layout they have, and uploads its inputs. @throws RlError */
export function openFluxCase(files: ParityCase, { device, dtype }: ParityContext): FluxCase {
  using source = new SafetensorsWeights(device, files.weights, { dtype });
  const model = loadFluxTransformer(source, parseFluxConfig(files.config, `${files.dir}/case.json: config`));
  const upload = (name: FluxInputName): Tensor => {
    const raw = files.inputs.upload(name, device);
    const tensor = cast(raw, dtype);
    if (tensor !== raw) raw.dispose();
    return tensor;
  };
  const tensors = {
    hidden_states: upload('hidden_states'),
    encoder_hidden_states: upload('encoder_hidden_states'),
    pooled_projections: upload('pooled_projections'),
  };
  const inputs: FluxInputs = {
    hiddenStates: tensors.hidden_states,
    encoderHiddenStates: tensors.encoder_hidden_states,
    pooledProjections: tensors.pooled_projections,
    timestep: [...files.inputs.floats('timestep')],
    guidance: files.inputs.has('guidance') ? [...files.inputs.floats('guidance')] : undefined,
    imageIds: positionIds(files.inputs.get('img_ids').data),
    textIds: files.inputs.has('txt_ids') ? positionIds(files.inputs.get('txt_ids').data) : undefined,
  };
  return {
    model,
    inputs,
    tensors,
    dispose(): void {
      for (const tensor of Object.values(tensors)) tensor.dispose();
      model.dispose();
    },
  };
}
