/** What commands have in common whose work is one app. */
import type { z } from 'zod';
import { runApp } from '../app/events';
import type { AppContext, AppEvent, Renderer } from '../app/events';
import { readState } from '../app/output-folder';
import { useThreads } from './apps';
import type { ShownResult } from './apps';
import { resolveArguments, runCommand } from './command';
import type { CommandContext, GlobalArguments } from './command';
import { resultText } from './result-text';
import { TerminalRenderer } from './ui/render';

type Start<Result> = (context: AppContext) => AsyncGenerator<AppEvent, Result>;
type Arguments = Record<string, unknown>;

export interface AppCommand<S extends z.ZodObject> {
  schema: S;
  start: (settings: z.output<S>, context: AppContext) => ReturnType<Start<ShownResult>>;
  /** Text after Ctrl-C: what is kept, and how to go on. */
  onAbort?: (settings: z.output<S>) => Promise<string> | string;
  /** Settings that flags, environment and file go before. */
  base?: (argv: Arguments) => Promise<Arguments | undefined>;
}

/** A command's handler: settings from its arguments, the app's events to stderr, its result to stdout. */
export function appHandler<S extends z.ZodObject>({ schema, start, onAbort, base }: AppCommand<S>): (argv: GlobalArguments) => Promise<void> {
  return (argv) =>
    runCommand(argv, async (context) => {
      const given: Arguments = { ...argv };
      const { settings, origins } = resolveArguments(schema, given, await base?.(given));
      logOrigins(context, origins);
      if (onAbort) context.onAbort = () => onAbort(settings);
      await showApp(context, settings.threads as number, (appContext) => start(settings, appContext));
    });
}

/** Drives an app on `threads` CPU threads (0: all cores) and prints its result. */
export async function showApp<Result extends ShownResult>(
  context: CommandContext,
  threads: number,
  start: Start<Result>,
  renderer: Renderer = new TerminalRenderer(context.log),
): Promise<void> {
  useThreads(threads);
  const result = await runApp(start({ signal: context.signal }), renderer);
  context.print(result, resultText(result));
}

/** Where settings that are not defaults come from. */
export function logOrigins({ log }: CommandContext, origins: Record<string, string>): void {
  for (const [name, origin] of Object.entries(origins)) if (origin !== 'default') log.debug(`${name}: ${origin}`);
}

/** With `--resume`, the settings that the folder `--out` was begun with: no others need to be given. */
export async function earlierSettings(command: string, { out, resume }: Arguments): Promise<Arguments | undefined> {
  if (resume !== true || typeof out !== 'string') return undefined;
  const state = await readState(out, command);
  return state && (JSON.parse(state.fingerprint) as Arguments);
}
