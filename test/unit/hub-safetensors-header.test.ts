import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { WeightsError } from '../../src/binding/errors';
import { detectArchitecture } from '../../src/hub/architecture';
import { maxHeaderBytes, readSafetensorsHeader } from '../../src/hub/safetensors-header';

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rl3dedit-header-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

let counter = 0;
function write(header: unknown, dataBytes: number, claimed?: bigint): string {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(claimed ?? BigInt(json.length));
  const file = path.join(folder, `${counter++}.safetensors`);
  fs.writeFileSync(file, Buffer.concat([prefix, json, Buffer.alloc(dataBytes)]));
  return file;
}

const tensor = (begin: number, end: number, shape: unknown = [(end - begin) / 4], dtype: unknown = 'F32'): object => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

it('reads names, types, shapes and places in the file', async () => {
  const file = write(
    {
      __metadata__: { format: 'pt' },
      b: tensor(8, 16, [2]),
      a: tensor(0, 8, [1, 4], 'BF16'),
      empty: tensor(16, 16, [0, 5]),
      scalar: tensor(16, 20, []),
    },
    20,
  );
  const header = await readSafetensorsHeader(file);
  const start = 8 + header.headerBytes;
  expect(header.metadata).toEqual({ format: 'pt' });
  expect(header.tensors.find(({ name }) => name === 'a')).toEqual({
    name: 'a',
    dtype: 'BF16',
    shape: [1, 4],
    begin: start,
    end: start + 8,
  });
  expect(header.tensors.length).toBe(4);
  expect(header.fileBytes).toBe(start + 20);
});

it.each<[string, () => string, RegExp]>([
  ['a header of 2^60 bytes', () => write({}, 0, 1n << 60n), /header claims 1152921504606846976 bytes/],
  ['a header over the limit', () => write({}, 0, BigInt(maxHeaderBytes) + 1n), /the format allows/],
  ['a header longer than the file', () => write({}, 0, 100n), /truncated/],
  ['truncated data', () => write({ a: tensor(0, 16) }, 15), /truncated/],
  ['no JSON', () => write('{"a":', 0), /not JSON/],
  [
    'bytes that are no UTF-8',
    () =>
      (fs.writeFileSync(
        path.join(folder, 'u.safetensors'),
        Buffer.from([2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe]),
      ) as unknown as string) || path.join(folder, 'u.safetensors'),
    /not JSON/,
  ],
  ['a list', () => write([], 0), /not a JSON object/],
  ['a tensor that is no object', () => write({ a: 1 }, 0), /tensor a/],
  ['an unknown type', () => write({ a: tensor(0, 4, [1], 'F31') }, 4), /unknown dtype "F31"/],
  ['a type from the prototype', () => write({ a: tensor(0, 4, [1], 'constructor') }, 4), /unknown dtype/],
  ['a negative size', () => write({ a: tensor(0, 4, [-1]) }, 4), /non-negative/],
  ['a fractional size', () => write({ a: tensor(0, 4, [1.5]) }, 4), /non-negative/],
  [
    'a size product that overflows 64 bits',
    () => write({ a: tensor(0, 4, [2 ** 52, 2 ** 52, 2 ** 52]) }, 4),
    /needs \d{40,} bytes/,
  ],
  ['reversed offsets', () => write({ a: tensor(4, 0, [1]) }, 4), /leave the file/],
  [
    'offsets of the wrong length',
    () => write({ a: { dtype: 'F32', shape: [1], data_offsets: [0] } }, 4),
    /two non-negative/,
  ],
  [
    'a shape that does not fit the offsets',
    () => write({ a: tensor(0, 8, [3]) }, 8),
    /needs 12 bytes, data_offsets give 8/,
  ],
  ['overlap', () => write({ a: tensor(0, 8), b: tensor(4, 12) }, 12), /overlap/],
  ['a gap', () => write({ a: tensor(0, 4), b: tensor(8, 12) }, 12), /leave a gap/],
  ['bytes after the end', () => write({ a: tensor(0, 4) }, 9), /5 bytes after/],
  ['metadata that is not text', () => write({ __metadata__: { a: 1 } }, 0), /__metadata__/],
  [
    'an empty file',
    () => (fs.writeFileSync(path.join(folder, 'e.safetensors'), ''), path.join(folder, 'e.safetensors')),
    /0 bytes are too few/,
  ],
  ['a missing file', () => path.join(folder, 'none.safetensors'), /ENOENT/],
  ['a folder', () => folder, /expected a file|EISDIR/],
])('refuses %s', async (_, make, message) => {
  const error = await readSafetensorsHeader(make()).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(WeightsError);
  expect((error as Error).message).toMatch(message);
});

describe('detectArchitecture', () => {
  const detect = (shapes: Record<string, number[]>): unknown =>
    detectArchitecture({
      tensors: Object.entries(shapes).map(([name, shape]) => ({ name, dtype: 'F32', shape, begin: 0, end: 0 })),
      metadata: {},
      headerBytes: 0,
      fileBytes: 0,
    });

  it.each<[string, string | undefined, Record<string, number[]>]>([
    [
      'FLUX transformer',
      'diffusers',
      { 'x_embedder.weight': [64, 16], 'transformer_blocks.0.attn.norm_q.weight': [16] },
    ],
    [
      'FLUX transformer',
      'single file (BFL)',
      {
        'model.diffusion_model.img_in.weight': [64, 16],
        'model.diffusion_model.double_blocks.0.img_mod.lin.weight': [1, 1],
      },
    ],
    [
      'FLUX autoencoder',
      'single file (BFL)',
      { 'decoder.conv_in.weight': [8, 16, 3, 3], 'decoder.mid.block_1.conv1.weight': [8, 8, 3, 3] },
    ],
    [
      'CLIP text encoder',
      undefined,
      {
        'text_model.embeddings.position_embedding.weight': [77, 768],
        'text_model.encoder.layers.0.self_attn.q_proj.weight': [768, 768],
      },
    ],
    [
      'T5 encoder',
      undefined,
      { 'shared.weight': [32128, 64], 'encoder.block.0.layer.0.SelfAttention.q.weight': [64, 64] },
    ],
    ['VGGT', undefined, { 'aggregator.camera_token': [1, 2, 1, 48], 'aggregator.frame_blocks.0.norm1.weight': [48] }],
    [
      'LoRA',
      'diffusers',
      {
        'transformer.transformer_blocks.0.attn.to_q.lora_A.weight': [4, 64],
        'transformer.transformer_blocks.0.attn.to_q.lora_B.weight': [64, 4],
      },
    ],
    ['LoRA', 'peft', { 'base_model.model.transformer_blocks.0.attn.to_q.lora_A.weight': [4, 64] }],
    ['LoRA', 'kohya', { 'lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight': [4, 64] }],
    ['LoRA', 'BFL', { 'double_blocks.0.img_attn.qkv.lora_A.weight': [4, 64] }],
    ['LoRA', 'XLabs', { 'double_blocks.0.processor.qkv_lora1.down.weight': [4, 64] }],
  ])('knows %s (%s)', (name, layout, shapes) => {
    expect(detect(shapes)).toMatchObject(layout === undefined ? { name } : { name, layout });
  });

  it('counts blocks and widths', () => {
    expect(
      detect({
        'img_in.weight': [3072, 64],
        'double_blocks.0.a': [1],
        'double_blocks.1.a': [1],
        'single_blocks.0.a': [1],
        'guidance_in.in_layer.weight': [1],
      }),
    ).toMatchObject({
      details: { doubleBlocks: 2, singleBlocks: 1, width: 3072, inChannels: 64, guidance: 'embedded' },
    });
    expect(detect({ 'my.weight': [1] })).toBeUndefined();
  });
});
