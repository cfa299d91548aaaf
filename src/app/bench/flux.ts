/** Benches of the FLUX transformer: the host's share of a full-size step, the tiny editor forward and backward, one denoising step. */
import { performance } from 'node:perf_hooks';
import { ConfigError } from '../../binding/errors';
import type { Binding, NativeOp } from '../../binding/types';
import { fluxPresets, FluxTransformer, hiddenSize, kontextVelocity, multiViewIds } from '../../models/flux';
import type { FluxConfig, FluxInputs, KontextCondition, TokenGrid } from '../../models/flux';
import type { BenchCase } from '../../report/bench-report';
import { mean, sdeStep, unary } from '../../tensor/ops';
import { Device } from '../../tensor/device';
import { RandomWeights } from '../../tensor/random-weights';
import { scope } from '../../tensor/scope';
import { record } from '../../tensor/tape';
import type { Tensor } from '../../tensor/tensor';
import { Weights } from '../../tensor/weights';
import { loadEditor } from '../model';
import { tinyEditor } from '../pretrain/editor';
import { TEXT_LENGTH } from '../pretrain/instructions';
import type { Bench, BenchContext } from './cases';
import { deviceTimes, quantiles, timesOf } from './measure';
import { normal } from './products';

const views = 9;
const guidance = 2.5;
/** Milliseconds of JavaScript that a full-size step may cost. */
const hostLimitMs = 10;
/** 384-pixel views: the full size that nine views are edited at. */
const fullCell: TokenGrid = { rows: 24, columns: 24 };
/** 96-pixel views of the tiny editor. */
const tinyCell: TokenGrid = { rows: 6, columns: 6 };
const fullTextTokens = 512;

/**
 * Floating-point operations of one forward of `batch` sequences of L tokens: per block 12 D² weights a token (24 D² flops; a
 * token of a double block passes one of its two streams) and attention 4 L² D; modulation and embedders once an item.
 */
export function fluxFlops(config: FluxConfig, imageTokens: number, textTokens: number, batch: number): number {
  const dim = hiddenSize(config);
  const length = imageTokens + textTokens;
  const blocks = config.num_layers + config.num_single_layers;
  const token = blocks * 24 * dim ** 2 * length + 2 * dim * (config.in_channels * imageTokens + config.joint_attention_dim * textTokens);
  const modulation = 2 * dim ** 2 * (12 * config.num_layers + 3 * config.num_single_layers + 2);
  return batch * (token + modulation + blocks * 4 * length ** 2 * dim);
}

/** How often `work` calls a native op. */
function countCalls(binding: Binding, work: () => void): number {
  const { ops } = binding;
  let calls = 0;
  const counted = (op: NativeOp): NativeOp => (...args) => {
    calls += 1;
    return op(...args);
  };
  binding.ops = Object.fromEntries(Object.entries(ops).map(([name, op]) => [name, counted(op)]));
  try {
    work();
  } finally {
    binding.ops = ops;
  }
  return calls;
}

interface Step {
  target: Tensor;
  condition: KontextCondition;
}

/** Random inputs of a joint edit of nine views. */
function stepInputs(device: Device, dtype: 'f32' | 'bf16', config: FluxConfig, cell: TokenGrid, textTokens: number): Step {
  const tokens = views * cell.rows * cell.columns;
  return {
    target: normal(device, [1, tokens, config.in_channels], 'f32', 1),
    condition: {
      reference: normal(device, [1, tokens, config.in_channels], dtype, 2),
      imageIds: multiViewIds(views, cell, { kind: 'grid', columns: 3 }),
      text: normal(device, [1, textTokens, config.joint_attention_dim], dtype, 3),
      pooled: normal(device, [1, config.pooled_projection_dim], dtype, 4),
      guidance,
    },
  };
}

function freeInputs({ target, condition }: Step): void {
  for (const tensor of [target, condition.reference, condition.text, condition.pooled]) tensor.dispose();
}

function takeStep(model: FluxTransformer, { target, condition }: Step): void {
  scope(() => {
    const velocity = kontextVelocity(model, target, 0.7, condition);
    sdeStep(target, velocity, null, { kind: 'ode', sigma: 0.7, sigmaNext: 0.65, sigmaMax: 0.95, noiseLevel: 0 });
  });
}

export const hostOverheadBench: Bench = {
  name: 'host-overhead',
  describe: 'JavaScript of one full-size denoising step, on a device that computes nothing',
  run: async ({ settings, signal }) => {
    const config = fluxPresets['flux-kontext-dev'];
    const device = Device.open('null');
    let model: FluxTransformer | undefined;
    let inputs: Step | undefined;
    try {
      model = new FluxTransformer(new Weights(new RandomWeights(device, { seed: settings.seed, dtype: 'bf16' })), config);
      const step = (inputs = stepInputs(device, 'bf16', config, fullCell, fullTextTokens));
      const transformer = model;
      const calls = countCalls(device.binding, () => takeStep(transformer, step));
      const cpuMs: number[] = [];
      const sample = async (): Promise<number> => {
        const cpu = process.cpuUsage();
        const begun = performance.now();
        takeStep(transformer, step);
        const ms = performance.now() - begun;
        const { user, system } = process.cpuUsage(cpu);
        cpuMs.push((user + system) / 1000);
        // Between samples the event loop turns, as between the steps of an edit.
        await device.sync();
        return ms;
      };
      const times = await timesOf(sample, settings.seconds, signal);
      const tokens = 2 * step.target.dim(1) + fullTextTokens;
      return [
        {
          name: 'host-overhead',
          dtype: 'bf16',
          shape: `${config.num_layers} + ${config.num_single_layers} blocks, ${tokens} tokens`,
          ms: quantiles(times),
          samples: times.length,
          // Processor time says what the step costs where other programs share the machine.
          figures: { 'op calls': calls, 'ms of processor time': quantiles(cpuMs.sort((a, b) => a - b)).p50 },
          limit: { ms: hostLimitMs, what: 'JavaScript of a step' },
        },
      ];
    } finally {
      if (inputs) freeInputs(inputs);
      model?.dispose();
      device.dispose();
    }
  },
};

/** The tiny editor on random inputs: [batch, tokens of nine views and as many references, text]. */
function tinyInputs(device: Device, dtype: 'f32' | 'bf16', batch: number): FluxInputs {
  const imageIds = multiViewIds(views, tinyCell, { kind: 'grid', columns: 3 });
  return {
    hiddenStates: normal(device, [batch, imageIds.length, tinyEditor.in_channels], dtype, 1),
    encoderHiddenStates: normal(device, [batch, TEXT_LENGTH, tinyEditor.joint_attention_dim], dtype, 2),
    pooledProjections: normal(device, [batch, tinyEditor.pooled_projection_dim], dtype, 3),
    timestep: new Array<number>(batch).fill(0.7),
    guidance: new Array<number>(batch).fill(guidance),
    imageIds,
    outputTokens: imageIds.length / 2,
  };
}

/** Runs the tiny editor at batch 1 and 4; `step` is one pass, `passes` its cost in forwards. */
async function tinyCases(
  { device, dtype, settings, signal }: BenchContext,
  name: string,
  passes: number,
  prepare: (model: FluxTransformer, inputs: FluxInputs) => () => void,
): Promise<BenchCase[]> {
  const weights = new Weights(new RandomWeights(device, { seed: settings.seed, dtype }));
  const model = new FluxTransformer(weights, tinyEditor);
  const cases: BenchCase[] = [];
  try {
    for (const batch of [1, 4]) {
      const inputs = tinyInputs(device, dtype, batch);
      try {
        const times = await deviceTimes(device, prepare(model, inputs), settings.seconds, signal);
        const tokens = inputs.imageIds.length + TEXT_LENGTH;
        cases.push({
          name: `${name}, batch ${batch}`,
          dtype,
          shape: `${batch} × ${tokens} tokens`,
          ms: quantiles(times),
          samples: times.length,
          flops: passes * fluxFlops(tinyEditor, inputs.imageIds.length, TEXT_LENGTH, batch),
        });
      } finally {
        for (const tensor of [inputs.hiddenStates, inputs.encoderHiddenStates, inputs.pooledProjections]) tensor.dispose();
      }
    }
  } finally {
    model.dispose();
  }
  return cases;
}

export const fluxForwardBench: Bench = {
  name: 'flux-tiny-forward',
  describe: 'the tiny editor on nine views',
  run: (context) => tinyCases(context, 'flux-tiny-forward', 1, (model, inputs) => () => model.forward(inputs).dispose()),
};

export const fluxBackwardBench: Bench = {
  name: 'flux-tiny-backward',
  describe: 'the tiny editor forward and backward, gradients of all parameters',
  run: (context) =>
    tinyCases(context, 'flux-tiny-backward', 3, (model, inputs) => {
      const parameters = [...model.weights.parameters.values()];
      return () => {
        for (const parameter of parameters) parameter.requiresGrad = true;
        scope(() => {
          const { result: loss, tape } = record(() => mean(unary(model.forward(inputs), 'square')));
          tape.gradients([loss]);
        });
        for (const parameter of parameters) parameter.requiresGrad = false;
      };
    }),
};

export const denoiseStepBench: Bench = {
  name: 'denoise-step',
  describe: 'one denoising step of nine views with --model',
  run: async ({ device, dtype, settings, signal }) => {
    using editor = await loadEditor(settings.model, device, { dtype, seed: settings.seed, signal });
    const { config, tokenPx } = editor;
    const side = editor.settings.view_size === undefined ? fullCell.rows : editor.settings.view_size / tokenPx;
    if (!Number.isInteger(side)) throw new ConfigError(`${settings.model}: view_size must be a multiple of ${tokenPx}`);
    const model = await editor.transformer();
    const textTokens = config.joint_attention_dim === tinyEditor.joint_attention_dim ? TEXT_LENGTH : fullTextTokens;
    const step = stepInputs(device, dtype, config, { rows: side, columns: side }, textTokens);
    try {
      const times = await deviceTimes(device, () => takeStep(model, step), settings.seconds, signal);
      const tokens = 2 * step.target.dim(1);
      return [
        {
          name: `denoise-step ${editor.name}`,
          dtype,
          shape: `${tokens + textTokens} tokens`,
          ms: quantiles(times),
          samples: times.length,
          flops: fluxFlops(config, tokens, textTokens, 1),
        },
      ];
    } finally {
      freeInputs(step);
    }
  },
};
