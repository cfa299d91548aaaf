/**
 * Typed errors. Every error a user can cause is one of these; `code` is stable and `exitCode` is what the command line ends with
 * (0 ok, 1 failure, 2 usage, 3 environment, 4 out of memory, 130 aborted).
 */
export class RlError extends Error {
  readonly code: string = 'ERR_FAILED';
  readonly exitCode: number = 1;
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** Shapes, dtypes or attributes of an op do not fit. The message shows both sides. */
export class ShapeError extends RlError {
  override readonly code = 'ERR_SHAPE';
}

/** A setting, run file or option has a wrong value. */
export class ConfigError extends RlError {
  override readonly code = 'ERR_CONFIG';
  override readonly exitCode = 2;
}

/** The command line itself is wrong (unknown flag, missing argument, value out of range). */
export class UsageError extends RlError {
  override readonly code = 'ERR_USAGE';
  override readonly exitCode = 2;
}

/** A scene, camera file or image cannot be read or makes no sense. */
export class SceneError extends RlError {
  override readonly code = 'ERR_SCENE';
}

/** A weights file is missing, damaged, or does not fit the network. */
export class WeightsError extends RlError {
  override readonly code = 'ERR_WEIGHTS';
}

/** The output folder cannot be written or holds something else. */
export class OutputError extends RlError {
  override readonly code = 'ERR_OUTPUT';
}

/** A download failed or was refused. */
export class DownloadError extends RlError {
  override readonly code = 'ERR_DOWNLOAD';
}

/** The machine lacks something (native add-on, driver, device). */
export class EnvironmentError extends RlError {
  override readonly code = 'ERR_ENVIRONMENT';
  override readonly exitCode = 3;
}

/** A device failed while running; a sticky failure means the process must be restarted. */
export class DeviceError extends RlError {
  override readonly code = 'ERR_DEVICE';
  override readonly exitCode = 3;
}

/** Not enough memory. The message says requested, free, and what to lower. */
export class OutOfMemoryError extends RlError {
  override readonly code = 'ERR_OUT_OF_MEMORY';
  override readonly exitCode = 4;
}

/** A tensor, model or device was used after dispose(). */
export class DisposedError extends RlError {
  override readonly code = 'ERR_DISPOSED';
}

/** The caller aborted (AbortSignal, Ctrl-C). */
export class AbortError extends RlError {
  override readonly code = 'ERR_ABORTED';
  override readonly exitCode = 130;
  constructor(message = 'aborted', options?: ErrorOptions) {
    super(message, options);
  }
}

const byCode: Record<string, new (message: string, options?: ErrorOptions) => RlError> = {
  ERR_SHAPE: ShapeError,
  ERR_CONFIG: ConfigError,
  ERR_WEIGHTS: WeightsError,
  ERR_DEVICE: DeviceError,
  ERR_OUT_OF_MEMORY: OutOfMemoryError,
  ERR_DISPOSED: DisposedError,
  ERR_ABORTED: AbortError,
  ERR_ENVIRONMENT: EnvironmentError,
};

/** Turns what the add-on threw (an Error with a stable `code`) into its class; anything else passes through. */
export function fromNative(error: unknown): unknown {
  // Not `instanceof Error`: in a worker or a test's own realm the add-on's errors belong to another Error class.
  if (typeof error !== 'object' || error === null || error instanceof RlError) return error;
  const { code, message } = error as { code?: string; message?: string };
  const Class = code === undefined ? undefined : byCode[code];
  return Class ? new Class(message ?? '', { cause: error }) : error;
}
