import { ConfigError, WeightsError } from '../../src/binding/errors';
import { defaultDptLayers, inferVggtConfig, loadVggt, parseVggtConfig, vggtParameters, vggtPresets } from '../../src/models/vggt';
import type { ListedSource } from '../../src/models/vggt';
import { Device } from '../../src/tensor/device';
import type { Shape, Tensor } from '../../src/tensor/tensor';
import { smallVggt as small } from './vggt-fixtures';

const device = Device.open('cpu');

describe('checkpoints', () => {
  class Held implements ListedSource {
    constructor(readonly shapes: Map<string, Shape>) {}
    names(): string[] {
      return [...this.shapes.keys()];
    }
    has(name: string): boolean {
      return this.shapes.has(name);
    }
    shapeOf(name: string): Shape | undefined {
      return this.shapes.get(name);
    }
    get(_: string, shape: Shape): Tensor {
      return device.empty(shape);
    }
  }

  it('of the published network have 1,402 tensors that are used, and tell its dimensions', () => {
    const shapes = vggtParameters(vggtPresets['vggt-1b']);
    expect(shapes.size).toBe(1402);
    expect(shapes.get('camera_head.poseLN_modulation.1.weight')).toEqual([6144, 2048]);
    expect(shapes.get('depth_head.resize_layers.3.weight')).toEqual([1024, 1024, 3, 3]);
    const count = [...shapes.values()].reduce((total, shape) => total + shape.reduce((product, size) => product * size, 1), 0);
    // All of the file, without the tracker and the mask token.
    expect(count).toBe(1_256_537_516 - 65_941_396 - 1024);
    expect(inferVggtConfig(new Held(shapes))).toEqual(vggtPresets['vggt-1b']);
  });

  it('tell the dimensions of the shipped preset too', () => {
    const held = new Held(vggtParameters(vggtPresets.tinyVerifier));
    expect(inferVggtConfig(held)).toEqual(vggtPresets.tinyVerifier);
    expect(defaultDptLayers(6)).toEqual([1, 2, 4, 5]);
  });

  it('may hold a tracker and a mask token', () => {
    const shapes = vggtParameters(small);
    const held = new Held(new Map([...shapes, ['track_head.x', [1]], ['aggregator.patch_embed.mask_token', [1, 16]]]));
    expect(loadVggt(held, small).weights.parameters.size).toBe(shapes.size);
  });

  it('are refused with every tensor that is missing, misshaped or unexpected', () => {
    const shapes = new Map(vggtParameters(small));
    shapes.delete('camera_head.trunk_norm.bias');
    shapes.delete('aggregator.register_token');
    shapes.set('depth_head.norm.weight', [31]);
    shapes.set('aggregator.frame_blocks.0.attn.rope', [1]);
    const attempt = (): unknown => loadVggt(new Held(shapes), small);
    expect(attempt).toThrow(WeightsError);
    expect(attempt).toThrow(/4 tensors/);
    expect(attempt).toThrow(/missing 'camera_head.trunk_norm.bias' \[32\]/);
    expect(attempt).toThrow(/missing 'aggregator.register_token'/);
    expect(attempt).toThrow(/'depth_head.norm.weight' is \[31\], expected \[32\]/);
    expect(attempt).toThrow(/unexpected 'aggregator.frame_blocks.0.attn.rope'/);
    expect(() => loadVggt(new Held(new Map([['x', [1]]])))).toThrow(/no VGGT checkpoint/);
  });

  it('configs are checked', () => {
    expect(() => parseVggtConfig({ ...small, num_heads: 3 })).toThrow(ConfigError);
    expect(() => parseVggtConfig({ ...small, dpt: { ...small.dpt, intermediate_layer_idx: [0, 1, 2, 3] } })).toThrow(/below depth 2, got 2/);
  });
});
