/**
 * A network from an ONNX file, run by onnxruntime-node on the CPU in a worker thread: the way to plug in another
 * verifier or metric without writing code. The event loop stays free while it computes; the runtime is loaded when the
 * first module is opened.
 */
import * as path from 'node:path';
import { Worker } from 'node:worker_threads';
import { AbortError, DisposedError, EnvironmentError, ShapeError, WeightsError } from '../binding/errors';
import type { OnnxReply, OnnxRequest } from './onnx-worker';

export type OnnxData = Float32Array | Int32Array | BigInt64Array | Uint8Array;

/** Elements in host memory, row-major. */
export interface OnnxArray {
  data: OnnxData;
  shape: readonly number[];
}

/** An input or output; a dimension that the file leaves open is its name (or -1). */
export interface OnnxPort {
  name: string;
  /** ONNX element type: float32, int64, … */
  dtype: string;
  shape: readonly (number | string)[];
}

export interface OnnxOptions {
  /** Threads of one run; 0 leaves the choice to the runtime. */
  threads?: number;
  /** Ends the opening or the run with AbortError; an aborted run ends the module as well. */
  signal?: AbortSignal;
}

type Pending = { resolve: (reply: OnnxReply) => void; reject: (error: Error) => void };

export class OnnxModule {
  private pending: Pending | undefined;
  /** Runs go one after the other: the end of the latest. */
  private queue: Promise<unknown> = Promise.resolve();
  private ended: Error | undefined;
  /** The worker is in a call of the runtime. */
  private busy = false;
  /** Resolves when the worker's thread is gone, which after an abort is when the run that was under way has ended. */
  readonly exited: Promise<void>;
  private inputPorts: OnnxPort[] = [];
  private outputPorts: OnnxPort[] = [];

  private constructor(
    readonly file: string,
    private readonly worker: Worker,
  ) {
    worker.on('message', (reply: OnnxReply) => {
      this.busy = false;
      this.settle((pending) => pending.resolve(reply));
    });
    worker.on('error', (error) =>
      this.end(new EnvironmentError(`${file}: the ONNX worker failed: ${error.message}`, { cause: error })),
    );
    this.exited = new Promise((resolve) => {
      worker.on('exit', () => {
        this.end(new DisposedError(`${file}: the ONNX worker has ended`));
        resolve();
      });
    });
  }

  /**
   * Loads a model. @throws WeightsError for a file that is missing or no ONNX model, EnvironmentError when
   * onnxruntime-node cannot be loaded, AbortError
   */
  static async open(file: string, { threads = 0, signal }: OnnxOptions = {}): Promise<OnnxModule> {
    if (signal?.aborted) throw new AbortError();
    const module = new OnnxModule(file, new Worker(workerFile()));
    try {
      const reply = await module.ask({ kind: 'open', file, threads }, signal);
      if (reply.kind !== 'opened')
        throw new EnvironmentError(`${file}: unexpected answer '${reply.kind}' of the ONNX worker`);
      module.inputPorts = reply.inputs;
      module.outputPorts = reply.outputs;
      // A loaded model alone keeps no process alive.
      module.worker.unref();
      return module;
    } catch (error) {
      await module.dispose();
      throw error;
    }
  }

  get inputs(): readonly OnnxPort[] {
    return this.inputPorts;
  }

  get outputs(): readonly OnnxPort[] {
    return this.outputPorts;
  }

  /**
   * Runs the model on one array per input and gives all outputs.
   * @throws ShapeError for missing or unknown inputs, wrong types or sizes; AbortError; DisposedError after dispose()
   */
  async run(
    feeds: Readonly<Record<string, OnnxArray>>,
    { signal }: Pick<OnnxOptions, 'signal'> = {},
  ): Promise<Record<string, OnnxArray>> {
    this.check(feeds);
    const turn = this.queue.then(() => this.ask({ kind: 'run', feeds: { ...feeds } }, signal));
    this.queue = turn.catch(() => undefined);
    const reply = await turn;
    if (reply.kind !== 'outputs')
      throw new EnvironmentError(`${this.file}: unexpected answer '${reply.kind}' of the ONNX worker`);
    return reply.outputs;
  }

  /**
   * Frees the model and ends the worker. What is still running rejects; its thread ends when the runtime comes back,
   * which this does not wait for.
   */
  async dispose(): Promise<void> {
    const busy = this.busy;
    this.end(new DisposedError(`${this.file}: the ONNX module was disposed`));
    if (!busy) await this.exited;
  }

  private async ask(request: OnnxRequest, signal?: AbortSignal): Promise<OnnxReply> {
    if (signal?.aborted) throw new AbortError();
    if (this.ended) throw this.ended;
    const abort = (): void => this.end(new AbortError());
    signal?.addEventListener('abort', abort, { once: true });
    this.worker.ref();
    this.busy = true;
    try {
      const reply = await new Promise<OnnxReply>((resolve, reject) => {
        this.pending = { resolve, reject };
        this.worker.postMessage(request);
      });
      if (reply.kind !== 'failed') return reply;
      const message = `${this.file}: ${reply.message}`;
      throw reply.missingRuntime ? new EnvironmentError(`${message}; run npm ci`) : new WeightsError(message);
    } finally {
      signal?.removeEventListener('abort', abort);
      if (!this.ended) this.worker.unref();
    }
  }

  private settle(answer: (pending: Pending) => void): void {
    const { pending } = this;
    this.pending = undefined;
    if (pending) answer(pending);
  }

  /**
   * No more runs. The thread is asked to end, never terminated: the runtime brings the process down when its thread is
   * stopped in the middle of a call. It stays referenced until it has ended, for the same reason.
   */
  private end(reason: Error): void {
    if (!this.ended) {
      this.ended = reason;
      this.worker.ref();
      this.worker.postMessage({ kind: 'close' } satisfies OnnxRequest);
    }
    this.settle(({ reject }) => reject(reason));
  }

  private check(feeds: Readonly<Record<string, OnnxArray>>): void {
    const names = this.inputPorts.map((port) => port.name);
    for (const name of Object.keys(feeds)) {
      if (!names.includes(name))
        throw new ShapeError(`${this.file}: has no input '${name}', expected ${names.join(', ')}`);
    }
    for (const { name, dtype, shape } of this.inputPorts) {
      const feed = feeds[name];
      if (!feed) throw new ShapeError(`${this.file}: input '${name}' is missing, expected ${dtype} [${shape}]`);
      const found = dtypeOf(feed.data);
      const fits =
        shape.length === feed.shape.length && shape.every((size, i) => !isFixed(size) || size === feed.shape[i]);
      if (found !== dtype || !fits) {
        throw new ShapeError(`${this.file}: input '${name}' is ${dtype} [${shape}], got ${found} [${feed.shape}]`);
      }
      const count = feed.shape.reduce((product, size) => product * size, 1);
      if (count !== feed.data.length) {
        throw new ShapeError(
          `${this.file}: input '${name}' [${feed.shape}] has ${count} elements, the data has ${feed.data.length}`,
        );
      }
    }
  }
}

function isFixed(size: number | string): size is number {
  return typeof size === 'number' && size >= 0;
}

/** ONNX name of an array's element type. */
export function dtypeOf(data: OnnxData): string {
  if (data instanceof Float32Array) return 'float32';
  if (data instanceof Int32Array) return 'int32';
  if (data instanceof BigInt64Array) return 'int64';
  return 'uint8';
}

/** The compiled worker: beside this file, or in dist/ when this runs from its source. */
function workerFile(): string {
  const folder = __filename.endsWith('.ts') ? path.join(__dirname, '../../dist/models') : __dirname;
  return path.join(folder, 'onnx-worker.js');
}
