/** What a run will hold in device memory, before anything is loaded: so that a long run does not end in its first backward. */
import type { TrainSettings } from '../../config/train';
import { downscale } from '../../models/vae/config';
import type { Device } from '../../tensor/device';
import { loadEditor } from '../model';
import { createLora } from '../../models/lora';

export interface MemoryItem {
  what: string;
  bytes: number;
}

export interface MemoryPlan {
  items: MemoryItem[];
  /** Everything that is resident together in the update. */
  totalBytes: number;
  /** Tokens of a sequence: text, targets, references and contexts. */
  tokens: number;
  adapterParameters: number;
}

/** Text tokens of FLUX's T5 input. */
const textTokens = 512;
/** f32 arrays kept per stored step: start, end and mean. */
const storedPerStep = 3;
/** f32 copies of the adapter: itself, gradient, two moments, average. */
const adapterCopies = 5;
/**
 * Activations inside one block while it is recomputed in backward, in multiples of tokens × width: normed input, q, k, v, attention
 * output, MLP hidden (4) and its gradient (4), and their gradients.
 */
const insideBlock = 24;

/**
 * Builds all networks on a device that stores nothing, and adds up their parameters, the adapter with its optimiser, the stored steps
 * and the activations of one forward and backward pass with recomputed blocks. An estimate: the allocator rounds up, and libraries
 * keep work spaces of their own.
 * @param device a `null` device
 */
export async function planMemory(settings: TrainSettings, device: Device): Promise<MemoryPlan> {
  const { model, views, group, window, anchorGuided, groupsPerUpdate } = settings;
  const width = settings.dtype === 'f32' ? 4 : 2;
  const editor = await loadEditor(model, device, { dtype: settings.dtype ?? 'bf16', verifier: settings.verifier, seed: settings.seed });
  try {
    const { config } = editor;
    const transformer = await editor.transformer();
    const bytesOf = (parameters: Iterable<{ size: number; dtype: string }>): number =>
      [...parameters].reduce((sum, { size, dtype }) => sum + size * (dtype === 'f32' ? 4 : 2), 0);
    const modules = transformer.weights.registered();
    const transformerBytes = bytesOf(transformer.weights.parameters.values());
    const lora = createLora(device, modules, { ...settings.adapter, seed: 0 });
    const adapterParameters = [...lora.parameters().values()].reduce((sum, { size }) => sum + size, 0);
    lora.dispose();
    const vae = bytesOf(editor.vae().weights.parameters.values());
    const before = device.memory();
    await editor.verifier();
    const verifier = device.memory().usedBytes - before.usedBytes;

    const side = settings.resolution ?? editor.settings.view_size ?? 176;
    const perView = (side / (2 * downscale(editor.vaeConfig))) ** 2;
    const targets = anchorGuided ? views - 1 : views;
    const tokens = textTokens + perView * (targets + views + (anchorGuided ? 1 : 0));
    const dim = config.num_attention_heads * config.attention_head_dim;
    const batch = Math.min(settings.batch ?? group, group);
    const blocks = config.num_layers + config.num_single_layers;
    const items: MemoryItem[] = [
      { what: 'transformer', bytes: transformerBytes },
      { what: 'adapter, its gradients, moments and average', bytes: adapterCopies * 4 * adapterParameters },
      { what: 'autoencoder', bytes: vae },
      { what: 'verifier', bytes: verifier },
      { what: 'stored steps', bytes: groupsPerUpdate * group * window.size * storedPerStep * 4 * perView * targets * config.in_channels },
      { what: `inputs of ${blocks} blocks, ${batch} rollouts`, bytes: blocks * batch * tokens * dim * width },
      { what: 'one block recomputed', bytes: insideBlock * batch * tokens * dim * width },
    ];
    return { items, totalBytes: items.reduce((sum, { bytes }) => sum + bytes, 0), tokens, adapterParameters };
  } finally {
    editor.dispose();
  }
}

/** Lines for people. */
export function planText({ items, totalBytes, tokens, adapterParameters }: MemoryPlan): string[] {
  const shown = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  return [
    `${tokens} tokens per sequence, ${(adapterParameters / 1e6).toFixed(1)} M adapter parameters`,
    ...items.map(({ what, bytes }) => `${what}: ${shown(bytes)}`),
    `together: ${shown(totalBytes)} (lower batch when it does not fit)`,
  ];
}
