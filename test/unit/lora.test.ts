import * as fs from 'node:fs/promises';
import * as os from 'node:os';
import * as path from 'node:path';
import { WeightsError } from '../../src/binding/errors';
import { bflModule } from '../../src/models/flux/checkpoint';
import { attachLora, createLora, linears } from '../../src/models/lora';
import { loadLora } from '../../src/models/lora-file';
import { Device } from '../../src/tensor/device';
import { SafetensorsWeights, writeSafetensors } from '../../src/tensor/safetensors';
import { record } from '../../src/tensor/tape';
import { collectLeftovers } from '../leftovers';
import { hostInputs, MemoryWeights, normals, relative, smallModel, upload } from './flux-fixtures';
import type { HostParameter } from './flux-fixtures';

const device = Device.open('cpu');
const { model } = smallModel(device, 1);
const modules = model.weights.registered();
const inputs = upload(device, hostInputs(2, 2));

async function output(): Promise<Float32Array> {
  using velocities = model.forward(inputs);
  return await velocities.toFloat32();
}

const double = 'transformer_blocks.1.attn.';
const single = 'single_transformer_blocks.0.';

/** A LoRA of rank 2 on one fused projection of each block kind, under single-file names: A and B by module. */
function fusedUpdates(): Map<string, { a: HostParameter; b: HostParameter }> {
  const update = (outs: number, seed: number): { a: HostParameter; b: HostParameter } => ({
    a: { shape: [2, 32], data: normals(2 * 32, seed, 0.2) },
    b: { shape: [outs, 2], data: normals(outs * 2, seed + 1, 0.5) },
  });
  return new Map([
    ['double_blocks.1.img_attn.qkv', update(96, 70)],
    ['single_blocks.0.linear1', update(224, 72)],
    ['final_layer.adaLN_modulation.1', update(64, 74)],
  ]);
}

/** The same update with every projection on its own, under diffusers names. */
function splitUpdates(): Map<string, HostParameter> {
  const out = new Map<string, HostParameter>();
  const parts: [string, string, number, number][] = [
    [`${double}to_q`, 'double_blocks.1.img_attn.qkv', 0, 32],
    [`${double}to_k`, 'double_blocks.1.img_attn.qkv', 32, 64],
    [`${double}to_v`, 'double_blocks.1.img_attn.qkv', 64, 96],
    [`${single}attn.to_q`, 'single_blocks.0.linear1', 0, 32],
    [`${single}attn.to_k`, 'single_blocks.0.linear1', 32, 64],
    [`${single}attn.to_v`, 'single_blocks.0.linear1', 64, 96],
    [`${single}proj_mlp`, 'single_blocks.0.linear1', 96, 224],
  ];
  const fused = fusedUpdates();
  const set = (module: string, a: HostParameter, rows: Float32Array): void => {
    out.set(`transformer.${module}.lora_A.weight`, a);
    out.set(`transformer.${module}.lora_B.weight`, { shape: [rows.length / 2, 2], data: rows });
  };
  for (const [module, name, from, to] of parts) {
    const { a, b } = fused.get(name)!;
    set(module, a, b.data.slice(from * 2, to * 2));
  }
  const last = fused.get('final_layer.adaLN_modulation.1')!;
  set('norm_out.linear', last.a, Float32Array.from([...last.b.data.slice(64), ...last.b.data.slice(0, 64)]));
  return out;
}

test('fresh adapters change no bit, and neither do switched-off ones', async () => {
  const base = await output();
  using lora = createLora(device, modules, { rank: 4, alpha: 8, seed: 3 });
  expect(lora.paths).toHaveLength(2 * 12 + 2 * 4);
  expect(await output()).toEqual(base);
  for (const [name, parameter] of lora.parameters()) {
    if (name.includes('lora_B')) parameter.write(normals(parameter.size, 4, 0.1));
  }
  const adapted = await output();
  expect(relative(adapted, base)).toBeGreaterThan(1e-2);
  lora.enabled = false;
  expect(await output()).toEqual(base);
  lora.enabled = true;
  expect(await output()).toEqual(adapted);
  lora.dispose();
  expect(await output()).toEqual(base);
});

test('the first matrix is drawn with standard deviation 1/r', async () => {
  using lora = createLora(device, modules, { rank: 8, seed: 5 });
  const values = (await Promise.all([...lora.parameters()].filter(([name]) => name.includes('lora_A')).map(([, a]) => a.toFloat32()))).flatMap((a) => [...a]);
  const std = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
  // 13,000 draws: 3 standard errors are 2 %.
  expect(Math.abs(std * 8 - 1)).toBeLessThan(0.02);
});

test('only A and B get gradients', () => {
  using lora = createLora(device, modules, { rank: 2, seed: 6 });
  lora.train();
  const { result, tape } = record(() => model.forward(inputs, { checkpointBlocks: true }));
  const gradients = tape.gradients([result]);
  expect(new Set(gradients.keys())).toEqual(new Set(lora.parameters().values()));
});

test('a merged weight gives what the adapter gives', async () => {
  const source = new MemoryWeights(device, splitUpdates());
  const { lora } = await loadLora(source, modules, { alpha: 6 });
  const adapted = await output();
  const merged = lora.merged();
  lora.dispose();
  const kept = new Map<string, Float32Array>();
  for (const [name, weight] of merged) {
    const parameter = model.weights.parameters.get(name)!;
    kept.set(name, await parameter.toFloat32());
    parameter.write(await weight.toFloat32());
  }
  const through = await output();
  for (const [name, weight] of kept) model.weights.parameters.get(name)!.write(weight);
  expect(merged.size).toBe(8);
  expect(relative(through, adapted)).toBeLessThan(5e-6);
});

describe('files', () => {
  test('fused and split, kohya, BFL and PEFT names are the same adapter', async () => {
    const reference = await loadLora(new MemoryWeights(device, splitUpdates()), modules, { alpha: 4 });
    expect(reference.unmatched).toEqual([]);
    const expected = await output();
    reference.lora.dispose();
    expect(relative(await output(), expected)).toBeGreaterThan(1e-2);

    const peft = new Map([...splitUpdates()].map(([name, value]) => [name.replace('transformer.', 'base_model.model.').replace('.weight', '.default.weight'), value]));
    const bfl = new Map<string, HostParameter>();
    const kohya = new Map<string, HostParameter>();
    for (const [name, { a, b }] of fusedUpdates()) {
      bfl.set(`${name}.lora_A.weight`, a).set(`${name}.lora_B.weight`, b);
      const flat = `lora_unet_${name.replaceAll('.', '_')}`;
      kohya.set(`${flat}.lora_down.weight`, a).set(`${flat}.lora_up.weight`, b).set(`${flat}.alpha`, { shape: [1], data: Float32Array.of(4) });
    }
    kohya.set('lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight', { shape: [1], data: new Float32Array(1) });
    for (const file of [peft, bfl, kohya]) {
      const { lora, unmatched } = await loadLora(new MemoryWeights(device, file), modules, { alpha: 4 });
      expect(unmatched).toEqual(file === kohya ? ['lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight'] : []);
      expect(await output()).toEqual(expected);
      lora.dispose();
    }
    expect(await output()).not.toEqual(expected);
  });

  test('what is saved loads as it was, scale included', async () => {
    const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'lora-'));
    try {
      for (const scales of [[2, 2], [2, 0.5]]) {
        const updates = new Map(
          [`${double}to_out.0`, `${single}attn.to_k`].map((name, i) => [
            name,
            { a: device.tensor(normals(64, 80 + i), [2, 32]), b: device.tensor(normals(64, 82 + i), [32, 2]), scale: scales[i] },
          ]),
        );
        const lora = attachLora(modules, updates);
        const expected = await output();
        const { tensors, metadata, owned } = lora.state();
        const file = path.join(folder, 'pytorch_lora_weights.safetensors');
        await writeSafetensors(file, tensors, { metadata });
        for (const tensor of owned) tensor.dispose();
        lora.dispose();
        using source = new SafetensorsWeights(device, folder, { dtype: 'f32' });
        expect(source.names()).toContain('transformer.transformer_blocks.1.attn.to_out.0.lora_A.weight');
        const loaded = await loadLora(source, modules);
        expect(relative(await output(), expected)).toBeLessThan(scales[0] === scales[1] ? 1e-12 : 2e-6);
        loaded.lora.dispose();
      }
    } finally {
      await fs.rm(folder, { recursive: true });
    }
  });

  test('a LoRA of another network is refused with names of both', async () => {
    const other = new MemoryWeights(device, new Map([['unet.down_blocks.0.to_q.lora_A.weight', { shape: [1], data: new Float32Array(1) }]]));
    await expect(loadLora(other, modules)).rejects.toThrow(/none of its 1 keys.*unet\.down_blocks\.0.*x_embedder/);
    expect(() => createLora(device, modules, { rank: 2, seed: 1, targets: ['nothing'] })).toThrow(WeightsError);
  });

  test('wrong shapes and half pairs are named, and nothing stays attached', async () => {
    await collectLeftovers();
    const before = { output: await output(), live: device.memory().liveTensors };
    const half = new Map([...splitUpdates()].filter(([name]) => !name.includes('to_k.lora_B')));
    await expect(loadLora(new MemoryWeights(device, half), modules)).rejects.toThrow(/to_k' has no B/);
    const wide = splitUpdates().set(`transformer.${double}to_v.lora_B.weight`, { shape: [33, 2], data: new Float32Array(66) });
    await expect(loadLora(new MemoryWeights(device, wide), modules)).rejects.toThrow(/to_v' needs A \[r, 32\] and B \[32, r\].*\[33,2\]/);
    expect(await output()).toEqual(before.output);
    expect(device.memory().liveTensors).toBe(before.live);
  });
});

test('every Linear of the network has a counterpart in the single-file layout', () => {
  for (const path of linears(modules).keys()) expect([path, bflModule(path)]).toEqual([path, expect.anything()]);
});
