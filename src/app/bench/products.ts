/** Benches `gemm` and `attention`: the two ops that networks spend their time in, as they are called from TypeScript. */
import type { BenchCase } from '../../report/bench-report';
import { attention, matmul, randn } from '../../tensor/ops';
import type { Device } from '../../tensor/device';
import type { DType, Shape, Tensor } from '../../tensor/tensor';
import type { Bench, BenchContext } from './cases';
import { deviceTimes, quantiles } from './measure';

export function normal(device: Device, shape: Shape, dtype: DType, stream: number): Tensor {
  const tensor = device.empty(shape, dtype);
  randn(tensor, { seed: 1, stream });
  return tensor;
}

const bytesOf = { f32: 4, bf16: 2 } as const;

async function timed(context: BenchContext, inputs: Tensor[], call: () => Tensor): Promise<Pick<BenchCase, 'ms' | 'samples'>> {
  try {
    const times = await deviceTimes(context.device, () => call().dispose(), context.settings.seconds, context.signal);
    return { ms: quantiles(times), samples: times.length };
  } finally {
    for (const tensor of inputs) tensor.dispose();
  }
}

/** Both types unless one was asked for. */
function dtypesOf({ settings }: BenchContext): ('f32' | 'bf16')[] {
  return settings.dtype ? [settings.dtype] : ['f32', 'bf16'];
}

export const gemmBench: Bench = {
  name: 'gemm',
  describe: 'square products a bᵀ',
  run: async (context) => {
    const cases: BenchCase[] = [];
    for (const dtype of dtypesOf(context)) {
      for (const size of [1024, 2048, 4096]) {
        const a = normal(context.device, [size, size], dtype, 1);
        const b = normal(context.device, [size, size], dtype, 2);
        const times = await timed(context, [a, b], () => matmul(a, b, { transposeB: true }));
        cases.push({ name: `gemm ${size}`, dtype, shape: `${size}×${size}×${size}`, ...times, flops: 2 * size ** 3, bytes: 3 * size ** 2 * bytesOf[dtype] });
      }
    }
    return cases;
  },
};

export const attentionBench: Bench = {
  name: 'attention',
  describe: '4096 tokens, 16 heads of 64',
  run: async (context) => {
    const cases: BenchCase[] = [];
    const shape = [1, 4096, 16, 64];
    const count = 4096 * 16 * 64;
    for (const dtype of dtypesOf(context)) {
      const [q, k, v] = [1, 2, 3].map((stream) => normal(context.device, shape, dtype, stream));
      const times = await timed(context, [q, k, v], () => attention(q, k, v));
      cases.push({ name: 'attention 4096×64, 16 heads', dtype, shape: `[${shape}]`, ...times, flops: 4 * count * 4096, bytes: 4 * count * bytesOf[dtype] });
    }
    return cases;
  },
};
