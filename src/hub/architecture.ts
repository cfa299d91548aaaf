import type { SafetensorsHeader, TensorInfo } from './safetensors-header';

/** What a weights file most likely holds, from its key names and shapes alone. */
export interface Architecture {
  name: string;
  layout?: string;
  details: Record<string, number | string>;
}

/** Returns undefined when the keys belong to no network this project knows. */
export function detectArchitecture(header: SafetensorsHeader): Architecture | undefined {
  const prefix = 'model.diffusion_model.';
  const stripped = (name: string): string => (name.startsWith(prefix) ? name.slice(prefix.length) : name);
  const tensors = new Map(header.tensors.map((tensor) => [stripped(tensor.name), tensor]));
  const names = [...tensors.keys()];
  const has = (part: string): boolean => names.some((name) => name.includes(part));
  const count = (pattern: RegExp): number =>
    new Set(names.map((name) => pattern.exec(name)?.[1]).filter((index) => index !== undefined)).size;
  const dimension = (name: string, axis: number): number => tensors.get(name)?.shape[axis] ?? 0;

  const lora = detectLora(names, tensors);
  if (lora) return lora;
  if (tensors.has('x_embedder.weight') && has('transformer_blocks.')) {
    return {
      name: 'FLUX transformer',
      layout: 'diffusers',
      details: {
        doubleBlocks: count(/^transformer_blocks\.(\d+)\./),
        singleBlocks: count(/^single_transformer_blocks\.(\d+)\./),
        width: dimension('x_embedder.weight', 0),
        inChannels: dimension('x_embedder.weight', 1),
        headDim:
          dimension('transformer_blocks.0.attn.norm_q.weight', 0) ||
          dimension('single_transformer_blocks.0.attn.norm_q.weight', 0),
        guidance: has('guidance_embedder') ? 'embedded' : 'none',
      },
    };
  }
  if (tensors.has('img_in.weight') && (has('double_blocks.') || has('single_blocks.'))) {
    return {
      name: 'FLUX transformer',
      layout: 'single file (BFL)',
      details: {
        doubleBlocks: count(/^double_blocks\.(\d+)\./),
        singleBlocks: count(/^single_blocks\.(\d+)\./),
        width: dimension('img_in.weight', 0),
        inChannels: dimension('img_in.weight', 1),
        headDim: dimension('double_blocks.0.img_attn.norm.query_norm.scale', 0),
        guidance: has('guidance_in.') ? 'embedded' : 'none',
      },
    };
  }
  if (has('aggregator.') || has('camera_head.')) {
    return {
      name: 'VGGT',
      details: {
        frameBlocks: count(/aggregator\.frame_blocks\.(\d+)\./),
        globalBlocks: count(/aggregator\.global_blocks\.(\d+)\./),
        width: dimension('aggregator.camera_token', 3),
        heads: ['camera_head', 'depth_head', 'point_head', 'track_head'].filter((head) => has(`${head}.`)).join(', '),
      },
    };
  }
  if (tensors.has('decoder.conv_in.weight') || tensors.has('encoder.conv_in.weight')) {
    return {
      name: 'FLUX autoencoder',
      layout: has('mid.attn_1') || has('mid.block_1') ? 'single file (BFL)' : 'diffusers',
      details: {
        latentChannels: dimension('decoder.conv_in.weight', 1),
        levels: count(/^decoder\.up(?:_blocks)?\.(\d+)\./),
      },
    };
  }
  const clip = names.find((name) => name.endsWith('embeddings.position_embedding.weight') && has('self_attn.q_proj'));
  if (clip !== undefined && !has('vision_model.')) {
    const shape = tensors.get(clip)?.shape ?? [];
    return {
      name: 'CLIP text encoder',
      details: { layers: count(/encoder\.layers\.(\d+)\./), positions: shape[0] ?? 0, width: shape[1] ?? 0 },
    };
  }
  if (has('SelfAttention.q.weight')) {
    const shared = names.find((name) => name === 'shared.weight' || name === 'encoder.embed_tokens.weight');
    const shape = shared === undefined ? [] : (tensors.get(shared)?.shape ?? []);
    return {
      name: has('decoder.block.') ? 'T5 encoder and decoder' : 'T5 encoder',
      details: { layers: count(/^encoder\.block\.(\d+)\./), vocabulary: shape[0] ?? 0, width: shape[1] ?? 0 },
    };
  }
  return undefined;
}

function detectLora(names: string[], tensors: Map<string, TensorInfo>): Architecture | undefined {
  const down = names.find((name) =>
    /\.lora_A\.(?:\w+\.)?weight$|\.lora_down\.weight$|_lora\d?\.down\.weight$/.test(name),
  );
  if (down === undefined) return undefined;
  let layout = 'diffusers';
  if (names.some((name) => name.startsWith('lora_unet_') || name.startsWith('lora_te'))) layout = 'kohya';
  else if (names.some((name) => name.startsWith('base_model.model.'))) layout = 'peft';
  else if (names.some((name) => name.includes('.processor.'))) layout = 'XLabs';
  else if (!names.some((name) => name.startsWith('transformer.')))
    layout =
      names.some((name) => /(double|single)_blocks\./.test(name)) &&
      !names.some((name) => name.includes('transformer_blocks.'))
        ? 'BFL'
        : 'diffusers without prefix';
  const modules = names.filter((name) => /\.lora_A\.(?:\w+\.)?weight$|\.lora_down\.weight$|\.down\.weight$/.test(name));
  return { name: 'LoRA', layout, details: { modules: modules.length, rank: tensors.get(down)?.shape[0] ?? 0 } };
}
