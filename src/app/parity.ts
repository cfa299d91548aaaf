/** Runs networks and formulas on reference cases and compares: on this machine, in this build, before anyone trusts a result. */
import { existsSync } from 'node:fs';
import { AbortError, ConfigError, RlError } from '../binding/errors';
import { Device } from '../tensor/device';
import type { AppEvent } from './events';
import { readCaseDescription } from './parity/kinds';
import type { ParityContext, ParityKind } from './parity/kinds';

export interface ParityOptions {
  /** Device, or its name; opened and closed here when it is a name. */
  device?: Device | string;
  /** Type of weights and activations; the device's default when absent. */
  dtype?: 'f32' | 'bf16';
  signal: AbortSignal;
}

export interface ParityCaseResult {
  dir: string;
  kind: string;
  device: string;
  dtype: 'f32' | 'bf16';
  /** Worst relative error by tensor name. */
  errors: Record<string, number>;
  tolerance: number;
  pass: boolean;
  /** Why the case could not be run. */
  error?: string;
}

export interface ParitySummary {
  cases: ParityCaseResult[];
  pass: boolean;
}

/** The kinds; each is the file `parity/<kind>`, loaded when a case asks for it. */
export const parityKinds = [
  'flux-transformer',
  'flux-lora',
  'flux-vae',
  'clip-text',
  't5-encoder',
  'flow-schedule',
  'flow-sde',
  'vggt',
  'pose-error',
  'gaussian-splat',
  'onnx',
] as const;

/**
 * Relative error allowed where weights and activations are bf16 (the cases' own tolerances are for float32). Largest seen on
 * the reference cases: 0.047, a gradient of a LoRA's A.
 */
export const bf16Tolerance = 0.1;

/** What is computed in f32 whatever the networks compute in. */
const f32Kinds: ReadonlySet<string> = new Set(['flow-schedule', 'flow-sde', 'pose-error', 'gaussian-splat', 'onnx']);

/**
 * Runs every case folder and yields one metric per case (its worst relative error). A case that cannot be run fails with its
 * reason in `error`; the others still run. The result passes only if all do.
 * @throws ConfigError without a folder, AbortError when the signal fires, EnvironmentError when the device cannot be opened
 */
export async function* parity(dirs: readonly string[], options: ParityOptions): AsyncGenerator<AppEvent, ParitySummary> {
  const { device: where = 'auto', dtype, signal } = options;
  if (dirs.length === 0) throw new ConfigError('parity: name at least one case folder');
  const device = typeof where === 'string' ? Device.open(where) : where;
  const context: ParityContext = { device, dtype: dtype ?? (device.defaultDtype as 'f32' | 'bf16'), signal };
  const cases: ParityCaseResult[] = [];
  try {
    yield { type: 'stage', name: 'parity', index: 0, count: 1 };
    for (const dir of dirs) {
      if (signal.aborted) throw new AbortError();
      const result = await runCase(dir, context);
      cases.push(result);
      const worst = worstError(result);
      if (worst !== undefined) yield { type: 'metric', name: `${dir}: worst relative error`, value: worst };
      if (result.error !== undefined) yield { type: 'warning', message: `${dir}: ${result.error}` };
      yield { type: 'step', stage: 'parity', step: cases.length, steps: dirs.length };
    }
  } finally {
    if (typeof where === 'string') device.dispose();
  }
  const result = { cases, pass: cases.every(({ pass }) => pass) };
  yield { type: 'done', result };
  return result;
}

async function runCase(dir: string, context: ParityContext): Promise<ParityCaseResult> {
  const { device, dtype, signal } = context;
  const result: ParityCaseResult = { dir, kind: 'unknown', device: device.name, dtype, errors: {}, tolerance: 0, pass: false };
  try {
    const { kind, tolerance } = await readCaseDescription(dir);
    result.kind = kind;
    result.tolerance = dtype === 'bf16' && !f32Kinds.has(kind) ? Math.max(tolerance, bf16Tolerance) : tolerance;
    const { tensors } = await loadKind(kind).run(dir, context);
    result.errors = Object.fromEntries(tensors.map(({ name, relError }) => [name, relError]));
    // Written so that NaN fails, and so does a case that compares nothing.
    result.pass = tensors.length > 0 && tensors.every(({ relError }) => relError <= result.tolerance);
  } catch (error) {
    if (signal.aborted) throw error instanceof AbortError ? error : new AbortError('aborted', { cause: error });
    if (!(error instanceof RlError)) throw error;
    result.error = error.message;
  }
  return result;
}

/** @throws ConfigError for a kind this build does not know */
export function loadKind(kind: string): ParityKind {
  const known = (parityKinds as readonly string[]).includes(kind);
  if (known) {
    const file = `./parity/${kind}`;
    const there = ['.js', '.ts'].some((extension) => existsSync(`${__dirname}/parity/${kind}${extension}`));
    // eslint-disable-next-line @typescript-eslint/no-require-imports -- one kind must not load the networks of all others
    if (there) return require(file) as ParityKind;
  }
  throw new ConfigError(`unknown kind of reference case '${kind}', expected ${parityKinds.join(', ')}`);
}

/** NaN where one tensor is; undefined where nothing was compared. */
function worstError({ errors }: ParityCaseResult): number | undefined {
  const values = Object.values(errors);
  return values.length > 0 ? Math.max(...values) : undefined;
}
