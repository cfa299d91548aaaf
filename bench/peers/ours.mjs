// The project's side of the comparison with PyTorch (compare.py starts it): reads commands on stdin, one a line, answers each
// with one JSON line.
//   data CASE FILE    writes the network's parameters, inputs and results as safetensors, for the check of equal outputs
//   time CASE SEC     runs the case for that long after a warm-up -> {"ms": [...], "cpu": [...]}: time passed, processor
//                     time; of an update also "parts": [{...}, ...]
//   ops CASE          the ten most costly ops of one run -> {"ops": [...]}
import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { trainUpdate } from './ours-update.mjs';

const dist = process.env.RL3DEDIT_DIST ?? resolve(dirname(fileURLToPath(import.meta.url)), '../../dist');
const load = createRequire(`${dist}/`);
const { Device } = load('./tensor/device');
const ops = load('./tensor/ops');
const { scope } = load('./tensor/scope');
const { record } = load('./tensor/tape');
const { Weights } = load('./tensor/weights');
const { RandomWeights } = load('./tensor/random-weights');
const { writeSafetensors } = load('./tensor/safetensors');
const { FluxTransformer, multiViewIds } = load('./models/flux');
const { Vggt, parseVggtConfig, vggtPresets } = load('./models/vggt');
const { tinyEditor } = load('./app/pretrain/editor');
const { TEXT_LENGTH } = load('./app/pretrain/instructions');

const device = Device.open('cpu');
device.binding.setThreads(Number(process.env.PEER_THREADS ?? 2));

function normal(shape, dtype, stream) {
  const tensor = device.empty(shape, dtype);
  ops.randn(tensor, { seed: 5, stream });
  return tensor;
}

function gemm(size, dtype) {
  const [a, b] = [1, 2].map((stream) => normal([size, size], dtype, stream));
  return { run: () => ops.matmul(a, b, { transposeB: true }).dispose() };
}

function attention(dtype) {
  const [q, k, v] = [1, 2, 3].map((stream) => normal([1, 4096, 16, 64], dtype, stream));
  return { run: () => ops.attention(q, k, v).dispose() };
}

/** The tiny editor on nine views of 96 pixels: 324 target and 324 reference tokens, and the text. */
function flux(batch, backward) {
  const weights = new Weights(new RandomWeights(device, { seed: 3, dtype: 'f32' }));
  const model = new FluxTransformer(weights, tinyEditor);
  const imageIds = multiViewIds(9, { rows: 6, columns: 6 }, { kind: 'grid', columns: 3 });
  const timestep = Array.from({ length: batch }, (_, i) => 0.7 - 0.1 * i);
  const inputs = {
    hiddenStates: normal([batch, imageIds.length, tinyEditor.in_channels], 'f32', 1),
    encoderHiddenStates: normal([batch, TEXT_LENGTH, tinyEditor.joint_attention_dim], 'f32', 2),
    pooledProjections: normal([batch, tinyEditor.pooled_projection_dim], 'f32', 3),
    timestep,
    guidance: timestep.map(() => 2.5),
    imageIds,
    outputTokens: imageIds.length / 2,
  };
  const parameters = [...weights.parameters];
  for (const [, parameter] of parameters) parameter.requiresGrad = backward;
  const gradients = () => {
    const { result, tape } = record(() => ops.mean(ops.unary(model.forward(inputs), 'square')));
    return { loss: result, all: tape.gradients([result]) };
  };
  return {
    config: { ...tinyEditor, outputTokens: inputs.outputTokens },
    run: backward ? () => void scope(() => void gradients()) : () => model.forward(inputs).dispose(),
    data: () => {
      const ids = new Float32Array(3 * (TEXT_LENGTH + imageIds.length));
      ids.set(imageIds.ids, 3 * TEXT_LENGTH);
      const tensors = new Map([
        ['input.image', inputs.hiddenStates],
        ['input.text', inputs.encoderHiddenStates],
        ['input.pooled', inputs.pooledProjections],
        ['input.timestep', device.tensor(timestep)],
        ['input.guidance', device.tensor(inputs.guidance)],
        ['input.ids', device.tensor(ids, [ids.length / 3, 3])],
        ['output.velocity', model.forward(inputs)],
      ]);
      for (const [name, parameter] of parameters) tensors.set(`weight.${name}`, parameter);
      if (backward) {
        const { all } = gradients();
        for (const [name, parameter] of parameters) tensors.set(`grad.${name}`, all.get(parameter));
      }
      return tensors;
    },
  };
}

function vggt() {
  const config = parseVggtConfig(vggtPresets.tinyVerifier);
  const weights = new Weights(new RandomWeights(device, { seed: 4, dtype: 'f32' }));
  const model = new Vggt(weights, config);
  const images = device.empty([9, 3, config.img_size, config.img_size], 'f32');
  ops.randu(images, { seed: 5, stream: 1 });
  return {
    config,
    run: () => void scope(() => void model.forward(images)),
    data: () => {
      const { poseEnc, depth, depthConf, worldPoints, worldPointsConf } = model.forward(images);
      const outputs = { pose: poseEnc, depth, depth_conf: depthConf, points: worldPoints, points_conf: worldPointsConf };
      const tensors = new Map([['input.images', images]]);
      for (const [name, tensor] of Object.entries(outputs)) tensors.set(`output.${name}`, tensor);
      for (const [name, parameter] of weights.parameters) tensors.set(`weight.${name}`, parameter);
      return tensors;
    },
  };
}

const makers = {
  'flux-forward-1': () => flux(1, false),
  'flux-forward-4': () => flux(4, false),
  'flux-train-1': () => flux(1, true),
  'flux-train-4': () => flux(4, true),
  'vggt-forward': vggt,
  'train-update': () => trainUpdate(load, device),
};
for (const dtype of ['f32', 'bf16']) {
  makers[`attention-${dtype}`] = () => attention(dtype);
  for (const size of [1024, 2048, 4096]) makers[`gemm-${size}-${dtype}`] = () => gemm(size, dtype);
}

let current = { name: '' };
/** Keeps one case at a time: the last one's tensors are freed when it is dropped. */
async function caseOf(full) {
  // "-mixed": f32 networks with products of operands rounded to bf16, as torch's matmul precision "medium". "-autocast": the
  // same here, beside torch's autocast to bf16.
  const name = full.replace(/-(mixed|autocast)$/, '');
  device.matmulPrecision = name === full ? 'f32' : 'bf16';
  if (current.name !== name) current = { name, ...(await makers[name]()) };
  return current;
}

async function timed(run) {
  const cpu = process.cpuUsage();
  const begun = performance.now();
  const parts = await run();
  await device.sync();
  const ms = performance.now() - begun;
  const { user, system } = process.cpuUsage(cpu);
  return { ms, cpu: (user + system) / 1000, parts };
}

async function answer([command, name, argument]) {
  const { config, run, data } = await caseOf(name);
  if (command === 'data') {
    await writeSafetensors(argument, await data(), {});
    return { config };
  }
  await timed(run);
  if (command === 'ops') {
    device.opTimes();
    await timed(run);
    return { ops: device.opTimes().slice(0, 10) };
  }
  const taken = [];
  const stop = performance.now() + 1000 * Number(argument);
  while (taken.length < 2 || performance.now() < stop) taken.push(await timed(run));
  const parts = taken.map((one) => one.parts).filter(Boolean);
  return { ms: taken.map(({ ms }) => ms), cpu: taken.map(({ cpu }) => cpu), parts };
}

for await (const line of createInterface({ input: process.stdin })) {
  let reply;
  try {
    reply = await answer(line.trim().split(' '));
  } catch (error) {
    reply = { error: error.stack };
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
