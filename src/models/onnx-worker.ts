/** The thread behind OnnxModule: owns one session of onnxruntime-node and answers one request at a time. */
import { parentPort } from 'node:worker_threads';
import type { InferenceSession, Tensor } from 'onnxruntime-node';
import type { OnnxArray, OnnxData, OnnxPort } from './onnx';

export type OnnxRequest =
  | { kind: 'open'; file: string; threads: number }
  | { kind: 'run'; feeds: Record<string, OnnxArray> }
  /** Frees the model; the thread then ends. */
  | { kind: 'close' };

export type OnnxReply =
  | { kind: 'opened'; inputs: OnnxPort[]; outputs: OnnxPort[] }
  | { kind: 'outputs'; outputs: Record<string, OnnxArray> }
  | { kind: 'failed'; message: string; missingRuntime?: boolean };

type Runtime = typeof import('onnxruntime-node');

let runtime: Runtime | undefined;
let session: InferenceSession | undefined;

async function open(file: string, threads: number): Promise<OnnxReply> {
  try {
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- loaded here, so that a failure can be told
    runtime = require('onnxruntime-node') as Runtime;
  } catch (error) {
    return {
      kind: 'failed',
      message: `onnxruntime-node cannot be loaded (${(error as Error).message})`,
      missingRuntime: true,
    };
  }
  session = await runtime.InferenceSession.create(file, {
    intraOpNumThreads: threads,
    // Errors only: the runtime writes to stderr by itself.
    logSeverityLevel: 3,
    // The arena would keep the largest run's memory for ever.
    enableCpuMemArena: false,
  });
  return { kind: 'opened', inputs: ports(session.inputMetadata), outputs: ports(session.outputMetadata) };
}

function ports(metadata: readonly InferenceSession.ValueMetadata[]): OnnxPort[] {
  return metadata.map((value) =>
    value.isTensor
      ? { name: value.name, dtype: value.type, shape: [...value.shape] }
      : { name: value.name, dtype: 'other', shape: [] },
  );
}

async function run(feeds: Record<string, OnnxArray>): Promise<OnnxReply> {
  if (!runtime || !session) return { kind: 'failed', message: 'no model was opened' };
  const { Tensor: OrtTensor } = runtime;
  const inputs: Record<string, Tensor> = {};
  for (const [name, { data, shape }] of Object.entries(feeds)) inputs[name] = toTensor(OrtTensor, data, shape);
  const results = await session.run(inputs);
  const outputs: Record<string, OnnxArray> = {};
  for (const [name, value] of Object.entries(results)) {
    outputs[name] = { data: value.data as OnnxData, shape: [...value.dims] };
  }
  return { kind: 'outputs', outputs };
}

function toTensor(OrtTensor: Runtime['Tensor'], data: OnnxData, shape: readonly number[]): Tensor {
  if (data instanceof Float32Array) return new OrtTensor('float32', data, shape);
  if (data instanceof Int32Array) return new OrtTensor('int32', data, shape);
  if (data instanceof BigInt64Array) return new OrtTensor('int64', data, shape);
  return new OrtTensor('uint8', data, shape);
}

async function close(): Promise<void> {
  try {
    await session?.release();
  } finally {
    session = undefined;
    parentPort?.close();
  }
}

parentPort?.on('message', (request: OnnxRequest) => {
  if (request.kind === 'close') {
    void close();
    return;
  }
  const answer = request.kind === 'open' ? open(request.file, request.threads) : run(request.feeds);
  void answer
    .catch((error: Error): OnnxReply => ({ kind: 'failed', message: error.message }))
    .then((reply) => parentPort?.postMessage(reply));
});
