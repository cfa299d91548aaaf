import type { AppContext, AppEvent } from '../app/events';
import { EnvironmentError } from '../binding/errors';
import type { BenchSettings } from '../config/bench';
import type { DemoSettings } from '../config/demo';
import type { EditSettings } from '../config/edit';
import type { EvalSettings } from '../config/eval';
import type { PreeditSettings } from '../config/preedit';
import type { PretrainSettings } from '../config/pretrain';
import type { ReconstructSettings } from '../config/reconstruct';
import type { RefitSettings } from '../config/refit';
import type { TrainSettings } from '../config/train';

/** What the command line shows of an app's result; the whole object is what `--json` prints. */
export interface ShownResult {
  /** Folder that holds the output. */
  out?: string;
  /** Lines for people, most important first. */
  summary?: readonly string[];
  [key: string]: unknown;
}

/** One line of `rl3dedit parity`. */
export interface ShownCase {
  dir: string;
  kind: string;
  device: string;
  dtype: string;
  /** Worst relative error by tensor name. */
  errors: Record<string, number>;
  tolerance: number;
  pass: boolean;
  /** Why the case could not be run. */
  error?: string;
}

type Stream<Result> = AsyncGenerator<AppEvent, Result>;

/** The apps by name with the signature each has. */
export interface Apps {
  edit(settings: EditSettings, context: AppContext): Stream<ShownResult>;
  preedit(settings: PreeditSettings, context: AppContext): Stream<ShownResult>;
  pretrain(settings: PretrainSettings, context: AppContext): Stream<ShownResult>;
  demo(settings: DemoSettings, context: AppContext): Stream<ShownResult>;
  train(settings: TrainSettings, context: AppContext, options?: { resume?: boolean }): Stream<ShownResult>;
  evaluate(settings: EvalSettings, context: AppContext, parts: { train: Apps['train'] }): Stream<ShownResult>;
  reconstruct(settings: ReconstructSettings, context: AppContext): Stream<ShownResult>;
  refitEdit(settings: RefitSettings, context: AppContext): Stream<ShownResult>;
  bench(settings: BenchSettings, context: AppContext): Stream<ShownResult>;
  parity: typeof import('../app/parity').parity;
}

/** Files of the apps whose own name no function may have. */
const files: Partial<Record<keyof Apps, string>> = { evaluate: 'eval', refitEdit: 'refit' };

/**
 * Loads an app when it is called for: the networks, the add-on and sharp behind it must not slow down `--help`.
 * @throws EnvironmentError when this build lacks the app
 */
export function loadApp<Name extends keyof Apps>(name: Name): Apps[Name] {
  const file = `../app/${files[name] ?? name}`;
  try {
    require.resolve(file);
  } catch (error) {
    throw new EnvironmentError(`this build has no ${name} (dist/app/${files[name] ?? name}.js is missing); run npm run build`, {
      cause: error,
    });
  }
  // eslint-disable-next-line @typescript-eslint/no-require-imports -- loaded when called for
  return (require(file) as Apps)[name];
}

/** Sets the add-on's thread count; 0 leaves all cores. */
export function useThreads(threads: number): void {
  if (threads === 0) return;
  // eslint-disable-next-line @typescript-eslint/no-require-imports -- loaded when called for
  const { loadBinding } = require('../binding/load') as typeof import('../binding/load');
  loadBinding().binding.setThreads(threads);
}
