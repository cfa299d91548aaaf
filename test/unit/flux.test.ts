import { ConfigError, ShapeError, WeightsError } from '../../src/binding/errors';
import {
  fluxPresets, FluxTransformer, gridIds, inferFluxConfig, kontextIds, kontextVelocity, loadFluxTransformer, multiViewIds, openFluxCheckpoint,
  packLatents, parseFluxConfig, positionIds, prepareKontext, unpackLatents,
} from '../../src/models/flux';
import { ropeTables, scaledTimestep, textIds } from '../../src/models/flux/math';
import { Device } from '../../src/tensor/device';
import { concat, indexRows, reshape, rows } from '../../src/tensor/ops';
import { RandomWeights } from '../../src/tensor/random-weights';
import { scope } from '../../src/tensor/scope';
import { record } from '../../src/tensor/tape';
import type { Tensor } from '../../src/tensor/tensor';
import { Weights } from '../../src/tensor/weights';
import { collectLeftovers } from '../leftovers';
import { hostInputs, MemoryWeights, normals, referenceOutput, relative, smallConfig, smallModel, toBfl, upload } from './flux-fixtures';

const device = Device.open('cpu');

describe('forward', () => {
  test.each([1, 2, 3])('equals the float64 reference, batch %d', async (batch) => {
    const { model, parameters } = smallModel(device, 10 + batch);
    const host = hostInputs(batch, 20 + batch);
    const output = model.forward(upload(device, host));
    expect(output.shape).toEqual([batch, 18, 8]);
    // Worst seen 8.6e-7.
    expect(relative(await output.toFloat32(), referenceOutput(parameters, host))).toBeLessThan(9.1e-7);
  });

  test.each([
    ['published heads', { attention_head_dim: 128, num_attention_heads: 1, axes_dims_rope: [16, 56, 56] }],
    ['no guidance, other output width', { guidance_embeds: false, out_channels: 5, num_layers: 1, num_single_layers: 3 }],
    ['single blocks only', { num_layers: 0 }],
    ['double blocks only', { num_single_layers: 0 }],
  ])('equals the reference: %s', async (_, change) => {
    const config = parseFluxConfig({ ...smallConfig, ...change });
    const { model, parameters } = smallModel(device, 60, {}, config);
    const host = hostInputs(2, 61, config);
    const inputs = upload(device, host);
    const output = model.forward(config.guidance_embeds ? inputs : { ...inputs, guidance: undefined });
    // Worst seen 3.7e-7.
    expect(relative(await output.toFloat32(), referenceOutput(parameters, host))).toBeLessThan(3.9e-7);
  });

  test('outputTokens are the first of all', async () => {
    const { model } = smallModel(device, 1);
    for (const batch of [1, 2]) {
      const inputs = upload(device, hostInputs(batch, 2));
      const all = await model.forward(inputs).toFloat32();
      const some = await model.forward({ ...inputs, outputTokens: 7 }).toFloat32();
      const expected = Array.from({ length: batch }, (_, b) => [...all.slice(b * 144, b * 144 + 56)]).flat();
      expect(relative(some, expected)).toBeLessThan(1e-6);
    }
  });

  test('targets and references may come in any order, if their ids do', async () => {
    const { model } = smallModel(device, 3);
    const inputs = upload(device, hostInputs(1, 4));
    const order = [12, 13, 14, 15, 16, 17, 6, 7, 8, 9, 10, 11, 0, 5, 1, 4, 2, 3];
    const index = device.tensor(Int32Array.from(order));
    const permuted = (x: Tensor): Tensor => reshape(indexRows(reshape(x, [18, 8]), index), [1, 18, 8]);
    const ids = order.flatMap((i) => [...inputs.imageIds.ids.slice(3 * i, 3 * i + 3)]);
    const straight = await permuted(model.forward(inputs)).toFloat32();
    const crossed = await model.forward({ ...inputs, hiddenStates: permuted(inputs.hiddenStates), imageIds: positionIds(ids) }).toFloat32();
    expect(relative(crossed, straight)).toBeLessThan(5e-6);
    const same = await model.forward({ ...inputs, hiddenStates: permuted(inputs.hiddenStates) }).toFloat32();
    expect(relative(same, straight)).toBeGreaterThan(1e-3);
  });

  test('nine views by cell are one tiled image', async () => {
    const { model } = smallModel(device, 5);
    const mosaic = kontextIds({ rows: 3, columns: 6 }, { rows: 3, columns: 6 });
    const views = multiViewIds(9, { rows: 1, columns: 2 }, { kind: 'grid', columns: 3 });
    const order = Array.from({ length: views.length }, (_, i) => {
      const id = [...views.ids.slice(3 * i, 3 * i + 3)];
      return id[0] * 18 + id[1] * 6 + id[2];
    });
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 36 }, (_, i) => i));
    const host = hostInputs(1, 6);
    const rest = upload(device, host);
    const image = device.tensor(normals(36 * 8, 7), [36, 8]);
    const index = device.tensor(Int32Array.from(order));
    const tiled = model.forward({ ...rest, hiddenStates: reshape(image, [1, 36, 8]), imageIds: mosaic });
    const joint = model.forward({ ...rest, hiddenStates: reshape(indexRows(image, index), [1, 36, 8]), imageIds: views });
    expect(relative(await joint.toFloat32(), await indexRows(reshape(tiled, [36, 8]), index).toFloat32())).toBeLessThan(5e-6);
  });

  test('the published rounding of 1000 t and 1000 guidance', () => {
    expect([2.5, 3.5, 4, 1].map((g) => scaledTimestep(g, 'bfl'))).toEqual([2496, 3504, 4000, 1000]);
    const sigmas = [1, 0.98837, 0.97623, 0.96337, 0.94986, 0.93563, 0.92052, 0.90451, 0.88757, 0.86957, 0.85043];
    expect(sigmas.map((sigma) => scaledTimestep(sigma, 'diffusers'))).toEqual([1000, 988, 976, 964, 948, 936, 920, 904, 888, 868, 852]);
    expect(sigmas.map((sigma) => scaledTimestep(sigma, 'bfl'))).toEqual([1000, 988, 976, 964, 948, 936, 920, 908, 888, 872, 852]);
    expect(scaledTimestep(0.5, 'none')).toBe(500);
  });

  test('the rounding reaches the network', async () => {
    const { model } = smallModel(device, 8);
    const { model: rounded } = smallModel(device, 8, { timestepRounding: 'bfl' });
    const inputs = upload(device, { ...hostInputs(1, 9), timestep: [0.5], guidance: [2.496] });
    const [plain, same] = await Promise.all([model.forward(inputs).toFloat32(), rounded.forward({ ...inputs, guidance: [2.5] }).toFloat32()]);
    expect(relative(same, plain)).toBeLessThan(1e-5);
    expect(relative(await model.forward({ ...inputs, guidance: [2.5] }).toFloat32(), plain)).toBeGreaterThan(1e-3);
  });

  test('inference leaves nothing behind but its output', async () => {
    const { model } = smallModel(device, 11);
    const inputs = upload(device, hostInputs(2, 12));
    model.forward(inputs).dispose();
    await device.sync();
    await collectLeftovers();
    const { liveTensors, usedBytes } = device.memory();
    for (let i = 0; i < 3; i++) model.forward(inputs).dispose();
    await device.sync();
    expect(device.memory()).toMatchObject({ liveTensors, usedBytes });
  });

  test('a disposed model frees its parameters', async () => {
    const before = device.memory().liveTensors;
    scope(() => {
      const { model } = smallModel(device, 13);
      model.forward(upload(device, hostInputs(1, 14)));
      model.dispose();
    });
    expect(device.memory().liveTensors).toBe(before);
  });

  test('wrong inputs say what was expected', () => {
    const { model } = smallModel(device, 15);
    const inputs = upload(device, hostInputs(2, 16));
    expect(() => model.forward({ ...inputs, imageIds: gridIds([{ rows: 1, columns: 2 }]) })).toThrow(/expected ids of 18 image and 5 text tokens.*got 2/s);
    expect(() => model.forward({ ...inputs, timestep: [0.5] })).toThrow(/2 timestep values, one per batch item, got 1/);
    expect(() => model.forward({ ...inputs, guidance: undefined })).toThrow(ShapeError);
  });
});

describe('gradients', () => {
  test('equal central differences of the float64 reference', async () => {
    const { model, parameters } = smallModel(device, 30);
    const host = hostInputs(2, 31);
    const inputs = upload(device, host);
    const cotangent = normals(2 * 18 * 8, 32);
    for (const parameter of model.weights.parameters.values()) parameter.requiresGrad = true;
    const { result, tape } = record(() => model.forward(inputs));
    const gradients = tape.gradients([result], [device.tensor(cotangent, [2, 18, 8])]);
    const loss = (): number => referenceOutput(parameters, host).reduce((sum, value, i) => sum + value * cotangent[i], 0);
    const names = [
      'x_embedder.weight', 'context_embedder.bias', 'time_text_embed.timestep_embedder.linear_2.weight', 'transformer_blocks.0.norm1.linear.weight',
      'transformer_blocks.0.attn.to_q.weight', 'transformer_blocks.1.attn.norm_added_k.weight', 'transformer_blocks.1.ff_context.net.0.proj.weight',
      'single_transformer_blocks.0.proj_mlp.weight', 'single_transformer_blocks.1.proj_out.weight', 'norm_out.linear.weight',
    ];
    for (const [i, name] of names.entries()) {
      const { data } = parameters.get(name)!;
      const gradient = await gradients.get(model.weights.parameters.get(name)!)!.toFloat32();
      const scale = Math.max(...gradient.map(Math.abs));
      const at = (i * 37) % data.length;
      const kept = data[at];
      const h = 2 ** -9;
      data[at] = kept + h;
      const up = { value: data[at], loss: loss() };
      data[at] = kept - h;
      const down = { value: data[at], loss: loss() };
      data[at] = kept;
      const difference = (up.loss - down.loss) / (up.value - down.value);
      // Worst seen 1.04e-6 of the largest gradient.
      expect(Math.abs(gradient[at] - difference) / scale).toBeLessThan(1.1e-6);
    }
  });

  test('checkpointed blocks give the same gradients', async () => {
    const { model } = smallModel(device, 33);
    const inputs = upload(device, hostInputs(2, 34));
    const cotangent = device.tensor(normals(2 * 18 * 8, 35), [2, 18, 8]);
    const leaves = new Map([...model.weights.parameters, ['hidden', inputs.hiddenStates] as const]);
    for (const leaf of leaves.values()) leaf.requiresGrad = true;
    const run = async (checkpointBlocks: boolean): Promise<Map<string, Float32Array>> => {
      const { result, tape } = record(() => model.forward(inputs, { checkpointBlocks }));
      const gradients = tape.gradients([result], [cotangent]);
      const read = new Map<string, Float32Array>();
      for (const [name, leaf] of leaves) read.set(name, await gradients.get(leaf)!.toFloat32());
      for (const gradient of gradients.values()) gradient.dispose();
      return read;
    };
    const [plain, checkpointed] = [await run(false), await run(true)];
    // Not to the bit where gradients are summed in another order. Worst seen 1.7e-7.
    const worst = Math.max(...[...plain].map(([name, gradient]) => relative(checkpointed.get(name)!, gradient)));
    expect(worst).toBeLessThan(1.8e-7);
  });
});

describe('checkpoints', () => {
  test.each(['', 'model.diffusion_model.'])('the single-file layout is the same network (prefix "%s")', async (prefix) => {
    const { model, parameters } = smallModel(device, 40);
    const inputs = upload(device, hostInputs(2, 41));
    const source = new MemoryWeights(device, toBfl(parameters, prefix));
    const checkpoint = openFluxCheckpoint(source);
    expect(checkpoint.layout).toBe('bfl');
    const bfl = loadFluxTransformer(source, smallConfig);
    expect([...bfl.weights.parameters.keys()].sort()).toEqual([...model.weights.parameters.keys()].sort());
    expect(await bfl.forward(inputs).toFloat32()).toEqual(await model.forward(inputs).toFloat32());
  });

  test('dimensions are read from the shapes where there is no config', () => {
    const config = { ...smallConfig, attention_head_dim: 128, num_attention_heads: 1, num_layers: 1, num_single_layers: 1, axes_dims_rope: [16, 56, 56] };
    const source = new MemoryWeights(device, new Map(), 42);
    new FluxTransformer(new Weights(source), parseFluxConfig(config));
    const expected = { ...config, out_channels: 8 };
    expect(inferFluxConfig(openFluxCheckpoint(source))).toEqual(expected);
    expect(inferFluxConfig(openFluxCheckpoint(new MemoryWeights(device, toBfl(source.parameters))))).toEqual(expected);
    const { parameters } = smallModel(device, 43);
    expect(() => inferFluxConfig(openFluxCheckpoint(new MemoryWeights(device, parameters)))).toThrow(ConfigError);
  });

  test('a fused parameter of the wrong size is named', () => {
    const bfl = toBfl(smallModel(device, 44).parameters);
    bfl.set('double_blocks.0.img_attn.qkv.weight', { shape: [95, 32], data: new Float32Array(95 * 32) });
    expect(() => loadFluxTransformer(new MemoryWeights(device, bfl), smallConfig)).toThrow(/double_blocks\.0\.img_attn\.qkv\.weight' is \[95,32\].*\[96,32\]/);
  });

  test('other networks are refused', () => {
    const other = new MemoryWeights(device, new Map([['shared.weight', { shape: [1], data: new Float32Array(1) }]]));
    expect(() => openFluxCheckpoint(other)).toThrow(WeightsError);
  });

  test('a wrong config names its field', () => {
    expect(() => parseFluxConfig({ ...smallConfig, axes_dims_rope: [4, 6, 8] })).toThrow(/axes_dims_rope.*attention_head_dim 16/);
    expect(() => parseFluxConfig({ ...smallConfig, num_layers: undefined })).toThrow(/num_layers/);
  });
});

describe('full size', () => {
  test('has the published number of parameters, a cheap graph and small activations', () => {
    const nowhere = Device.open('null');
    const source = new RandomWeights(nowhere, { seed: 1, dtype: 'bf16' });
    const model = new FluxTransformer(new Weights(source), parseFluxConfig(fluxPresets['flux-kontext-dev']));
    const count = [...model.weights.parameters.values()].reduce((sum, parameter) => sum + parameter.size, 0);
    expect(count).toBe(11_901_408_320);
    expect(model.weights.parameters.size).toBe(1160);

    const tokens = 64 * 64;
    const inputs = {
      hiddenStates: nowhere.empty([1, 2 * tokens, 64], 'bf16'),
      encoderHiddenStates: nowhere.empty([1, 512, 4096], 'bf16'),
      pooledProjections: nowhere.empty([1, 768], 'bf16'),
      timestep: [0.5],
      guidance: [2.5],
      imageIds: kontextIds({ rows: 64, columns: 64 }, { rows: 64, columns: 64 }),
      outputTokens: tokens,
    };
    const milliseconds = Array.from({ length: 40 }, () => {
      const start = process.cpuUsage();
      model.forward(inputs).dispose();
      const { user, system } = process.cpuUsage(start);
      return (user + system) / 1000;
    });
    // CPU time, which other processes do not change much: 2.4 ms on a free core. The bound is the project's.
    expect(Math.min(...milliseconds)).toBeLessThan(10);
    // Activations of one block at a time: 57 blocks would need 60 GB.
    expect(nowhere.memory().peakBytes - 2 * count).toBeLessThan(2e9);
    model.dispose();
  });
});

describe('tokens', () => {
  test('packing orders channel, row, column and is undone by unpacking', async () => {
    const latents = device.tensor(Float32Array.from({ length: 2 * 3 * 4 * 6 }, (_, i) => i), [2, 3, 4, 6]);
    const packed = packLatents(latents);
    expect(packed.shape).toEqual([2, 6, 12]);
    const data = await packed.toFloat32();
    // Item 1, token (row 1, column 2), channel 2, patch row 1, patch column 0: latent [1, 2, 3, 4].
    expect(data[(1 * 6 + 5) * 12 + 2 * 4 + 2]).toBe(1 * 72 + 2 * 24 + 3 * 6 + 4);
    expect(await unpackLatents(packed, 2, 3).toFloat32()).toEqual(await latents.toFloat32());
    expect(() => packLatents(device.empty([1, 1, 3, 4]))).toThrow(ShapeError);
    expect(() => unpackLatents(packed, 2, 2)).toThrow(ShapeError);
  });

  test('ids of Kontext and of several views', () => {
    const triples = ({ ids }: { ids: Float32Array }): number[][] => Array.from({ length: ids.length / 3 }, (_, i) => [...ids.slice(3 * i, 3 * i + 3)]);
    expect(triples(kontextIds({ rows: 1, columns: 2 }, { rows: 2, columns: 1 }))).toEqual([[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 1, 0]]);
    expect(triples(multiViewIds(2, { rows: 1, columns: 2 }, { kind: 'index' }))).toEqual([
      [0, 0, 0], [0, 0, 1], [2, 0, 0], [2, 0, 1], [1, 0, 0], [1, 0, 1], [3, 0, 0], [3, 0, 1],
    ]);
  });

  test('rotary angles', async () => {
    const { cos, sin } = ropeTables(device, [textIds(1), positionIds([1, 7, 300])], [4, 6, 6]);
    expect([cos.shape, sin.shape]).toEqual([[2, 8], [2, 8]]);
    const angles = [1, 1e-2, 7, 7 * 10000 ** (-1 / 3), 7 * 10000 ** (-2 / 3), 300, 300 * 10000 ** (-1 / 3), 300 * 10000 ** (-2 / 3)];
    const [c, s] = [await cos.toFloat32(), await sin.toFloat32()];
    expect([...c.slice(0, 8), ...s.slice(0, 8)]).toEqual([1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    expect([...c.slice(8)]).toEqual(angles.map((angle) => Math.fround(Math.cos(angle))));
    expect([...s.slice(8)]).toEqual(angles.map((angle) => Math.fround(Math.sin(angle))));
  });

  test('rotary angles of positions that return, also in a later part and on another axis', async () => {
    const ids = [0, 2, 5, 1, 5, 2, 0, 2, 2, 1, 0, 5, 0.5, -2, 5];
    const dims = [4, 6, 2];
    const { cos, sin } = ropeTables(device, [positionIds(ids.slice(0, 6)), textIds(2), positionIds(ids.slice(6))], dims);
    const rows = [...ids.slice(0, 6), 0, 0, 0, 0, 0, 0, ...ids.slice(6)];
    const angles = rows.flatMap((position, i) =>
      Array.from({ length: dims[i % 3] / 2 }, (_, j) => position * 10000 ** ((-2 * j) / dims[i % 3])),
    );
    expect([...(await cos.toFloat32())]).toEqual(angles.map((angle) => Math.fround(Math.cos(angle))));
    expect([...(await sin.toFloat32())]).toEqual(angles.map((angle) => Math.fround(Math.sin(angle))));
  });
});

describe('kontext', () => {
  test('tokens and ids of an edit', () => {
    const latents = device.empty([2, 16, 6, 8]);
    const same = prepareKontext(latents);
    expect([same.reference.shape, same.targetShape, same.imageIds]).toEqual([[2, 12, 64], [2, 12, 64], kontextIds({ rows: 3, columns: 4 }, { rows: 3, columns: 4 })]);
    const other = prepareKontext(latents, { rows: 2, columns: 5 });
    expect([other.targetShape, other.imageIds.length, other.target]).toEqual([[2, 10, 64], 22, { rows: 2, columns: 5 }]);
  });

  test('velocities of the targets alone, in f32', async () => {
    const { model } = smallModel(device, 50);
    const inputs = upload(device, { ...hostInputs(1, 51), timestep: [0.6] });
    const all = reshape(inputs.hiddenStates, [18, 8]);
    const [target, reference] = [reshape(rows(all, 0, 12), [1, 12, 8]), reshape(rows(all, 12, 6), [1, 6, 8])];
    const condition = { reference, imageIds: inputs.imageIds, text: inputs.encoderHiddenStates, pooled: inputs.pooledProjections, guidance: 2.5 };
    const velocity = kontextVelocity(model, target, 0.6, condition);
    expect([velocity.shape, velocity.dtype]).toEqual([[1, 12, 8], 'f32']);
    const full = await model.forward({ ...inputs, hiddenStates: concat([target, reference], 1) }).toFloat32();
    expect(relative(await velocity.toFloat32(), full.slice(0, 96))).toBeLessThan(1e-6);
    expect(() => kontextVelocity(model, target, 0.6, { ...condition, imageIds: gridIds([{ rows: 3, columns: 4 }]) })).toThrow(/12 \+ 6 image ids/);
  });
});
