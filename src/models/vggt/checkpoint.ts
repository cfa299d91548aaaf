/** Reading VGGT checkpoints: dimensions from shapes, and every name accounted for. */
import { WeightsError } from '../../binding/errors';
import type { Shape, Tensor } from '../../tensor/tensor';
import { Weights } from '../../tensor/weights';
import type { WeightSource } from '../../tensor/weights';
import { defaultDptLayers, parseVggtConfig } from './config';
import type { VggtConfig } from './config';
import { Vggt } from './vggt';

/** A checkpoint that can list what it holds. */
export interface ListedSource extends WeightSource {
  names(): string[];
}

/** What the published file holds besides: the tracker, and the encoder's mask of its training. */
const unused = /^track_head\.|^aggregator\.patch_embed\.mask_token$/;
const listedAtMost = 12;

/**
 * Builds the network from a checkpoint. `config` comes from the shapes when absent.
 * @throws WeightsError listing every missing, misshaped and unexpected tensor
 */
export function loadVggt(source: ListedSource, config: VggtConfig = inferVggtConfig(source)): Vggt {
  checkNames(source, config);
  return new Vggt(new Weights(source), config);
}

/** Parameters of a network of these dimensions: shapes by name. */
export function vggtParameters(config: VggtConfig): Map<string, Shape> {
  const shapes = new Map<string, Shape>();
  // Layers only keep what they are handed until forward, so nothing has to be allocated to learn the names.
  const unread = {} as Tensor;
  const collector: WeightSource = {
    has: () => true,
    shapeOf: () => undefined,
    get: (name, shape) => {
      shapes.set(name, shape);
      return unread;
    },
  };
  new Vggt(new Weights(collector), config);
  return shapes;
}

function checkNames(source: ListedSource, config: VggtConfig): void {
  const expected = vggtParameters(config);
  const problems: string[] = [];
  for (const [name, shape] of expected) {
    const found = source.shapeOf(name);
    if (!found) problems.push(`missing '${name}' [${shape}]`);
    else if (found.join() !== shape.join()) problems.push(`'${name}' is [${found}], expected [${shape}]`);
  }
  for (const name of source.names()) if (!expected.has(name) && !unused.test(name)) problems.push(`unexpected '${name}'`);
  if (problems.length === 0) return;
  const shown = problems.slice(0, listedAtMost).join('; ');
  const rest = problems.length > listedAtMost ? `; and ${problems.length - listedAtMost} more` : '';
  throw new WeightsError(`this VGGT checkpoint does not fit the network, ${problems.length} tensors: ${shown}${rest}`);
}

/**
 * Dimensions of a checkpoint, from its shapes. Not in the shapes, hence by rule: the encoder's and camera head's number of heads
 * (the aggregator's), the rotation base, the rounds of the camera head and the pairs that the dense heads read.
 * @throws WeightsError when it is no VGGT checkpoint
 */
export function inferVggtConfig(source: WeightSource): VggtConfig {
  const shape = (name: string): Shape => {
    const found = source.shapeOf(name);
    if (!found) throw new WeightsError(`this is no VGGT checkpoint: it has no '${name}'`);
    return found;
  };
  const encoder = 'aggregator.patch_embed';
  const [dim, , patch] = shape(`${encoder}.patch_embed.proj.weight`);
  const grid = Math.sqrt(shape(`${encoder}.pos_embed`)[1] - 1);
  const heads = dim / shape('aggregator.frame_blocks.0.attn.q_norm.weight')[0];
  const depth = count(source, 'aggregator.frame_blocks');
  const registers = (name: string, at: number): number => source.shapeOf(name)?.[at] ?? 0;
  return parseVggtConfig(
    {
      img_size: grid * patch,
      patch_size: patch,
      embed_dim: dim,
      depth,
      num_heads: heads,
      num_register_tokens: registers('aggregator.register_token', 2),
      patch_embed: {
        depth: count(source, `${encoder}.blocks`),
        num_heads: heads,
        num_register_tokens: registers(`${encoder}.register_tokens`, 1),
      },
      camera_head: { trunk_depth: count(source, 'camera_head.trunk'), num_heads: heads },
      dpt: {
        features: shape('depth_head.scratch.layer1_rn.weight')[0],
        out_channels: [0, 1, 2, 3].map((i) => shape(`depth_head.projects.${i}.weight`)[0]),
        intermediate_layer_idx: defaultDptLayers(depth),
      },
    },
    'dimensions read from the VGGT checkpoint',
  );
}

function count(source: WeightSource, blocks: string): number {
  let i = 0;
  while (source.has(`${blocks}.${i}.norm1.weight`)) i++;
  return i;
}
