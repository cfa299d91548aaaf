import type { Argv, Options } from 'yargs';
import type { z } from 'zod';
import { AbortError, RlError, UsageError, fromNative } from '../binding/errors';
import { expectation, fieldsOf, flagName } from '../config/fields';
import { resolveSettings } from '../config/resolve';
import type { Resolved } from '../config/resolve';
import { Log } from './ui/log';
import type { LogLevel } from './ui/log';

/** What every command can be told. */
export interface GlobalArguments {
  json: boolean;
  quiet: boolean;
  debug: boolean;
  logLevel?: LogLevel;
}

/** What a command's action gets: where to speak, and when to stop. */
export interface CommandContext {
  log: Log;
  json: boolean;
  signal: AbortSignal;
  /** Prints the result: `value` as JSON with --json, else `text`. Called once; the only writer to stdout. */
  print(value: unknown, text: string): void;
  /** Text appended to the message after Ctrl-C: what was saved and how to go on. May be set as the work proceeds. */
  onAbort: () => Promise<string> | string;
}

/**
 * Adds a flag for each field of a settings schema, and `--config`, `--set`. Defaults stay with the schema, where
 * origins are told apart.
 */
export function addSettings(yargs: Argv, schema: z.ZodObject, skip: readonly string[] = []): Argv {
  for (const field of fieldsOf(schema)) {
    if (skip.includes(field.key) || field.kind === 'object') continue;
    const hint = field.choices || field.kind === 'number' ? ` (${expectation(field)})` : '';
    const options: Options = {
      describe: field.description + hint,
      group: field.required ? 'Required:' : 'Options:',
      type: field.kind === 'boolean' ? 'boolean' : 'string',
      requiresArg: field.kind !== 'boolean',
    };
    if (field.defaultValue !== undefined && field.defaultValue !== false)
      options.defaultDescription = String(field.defaultValue);
    yargs.option(flagName(field.key), options);
  }
  return yargs
    .option('config', {
      type: 'string',
      requiresArg: true,
      describe: 'YAML file with these settings',
      group: 'Options:',
    })
    .option('set', {
      type: 'string',
      array: true,
      nargs: 1,
      describe: 'one setting as name=value (repeatable)',
      group: 'Options:',
    });
}

/** Settings from the parsed command line: flag > --set > environment > --config > `base` > default. */
export function resolveArguments<S extends z.ZodObject>(
  schema: S,
  argv: Record<string, unknown>,
  base?: Record<string, unknown>,
  env: NodeJS.ProcessEnv = process.env,
): Resolved<z.output<S>> {
  const last = (value: unknown): unknown =>
    Array.isArray(value) && value.length > 0 ? value[value.length - 1] : value;
  const flags: Record<string, unknown> = {};
  for (const field of fieldsOf(schema)) {
    const value = argv[field.key] ?? argv[flagName(field.key)];
    flags[field.key] = field.kind === 'list' && Array.isArray(value) ? value.join(',') : last(value);
  }
  return resolveSettings(schema, {
    flags,
    sets: argv.set as string[] | undefined,
    env,
    file: last(argv.config) as string | undefined,
    base,
  });
}

/**
 * Runs a command's action: sets up the log and Ctrl-C, and turns what it throws into one message and an exit code.
 * The first Ctrl-C (or SIGTERM) fires the signal, the second ends the process with 130.
 * @param action returns false for "ran, but the result is a failure" (exit 1)
 */
export async function runCommand(
  argv: GlobalArguments,
  action: (context: CommandContext) => Promise<boolean | void>,
): Promise<void> {
  const log = new Log(argv.quiet ? 'error' : (argv.logLevel ?? (argv.debug ? 'debug' : 'info')));
  const controller = new AbortController();
  const stop = (): void => {
    if (controller.signal.aborted) process.exit(130);
    log.warn('stopping at the next safe point; press Ctrl-C again to stop at once');
    controller.abort(new AbortError('aborted'));
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  const context: CommandContext = {
    log,
    json: argv.json,
    signal: controller.signal,
    print: (value, text) => process.stdout.write(argv.json ? `${JSON.stringify(value, plainNumbers)}\n` : `${text}\n`),
    onAbort: () => '',
  };
  try {
    if ((await action(context)) === false) process.exitCode = 1;
  } catch (thrown) {
    const aborted = controller.signal.aborted && (thrown === controller.signal.reason || isAbort(thrown));
    const error = aborted
      ? thrown instanceof AbortError
        ? thrown
        : new AbortError('aborted', { cause: thrown })
      : thrown;
    const hint = aborted ? await Promise.resolve(context.onAbort()).catch(() => '') : '';
    reportError(error, log, argv, hint);
  } finally {
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
  }
}

/** JSON has no NaN or infinity and would turn them into null, which reads as "absent": they are written as text. */
function plainNumbers(_key: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
}

function isAbort(error: unknown): boolean {
  return error instanceof AbortError || (error instanceof Error && error.name === 'AbortError');
}

/** One message, the stack only with --debug, the exit code of the error's class. */
export function reportError(thrown: unknown, log: Log, argv: Partial<GlobalArguments>, hint = ''): void {
  const error = fromNative(thrown);
  const known = error instanceof RlError;
  const text = error instanceof Error ? error.message : String(error);
  const message = `${text}${hint === '' ? '' : `; ${hint}`}`;
  process.exitCode = known ? error.exitCode : 1;
  if (argv.json) {
    process.stdout.write(`${JSON.stringify({ error: { code: known ? error.code : 'ERR_INTERNAL', message } })}\n`);
  }
  log.error(known ? message : `internal error: ${message}`);
  if (argv.debug && error instanceof Error)
    process.stderr.write(
      `${error.stack ?? ''}\n${error.cause ? `cause: ${String((error.cause as Error).stack ?? error.cause)}\n` : ''}`,
    );
  else if (!known) log.info('run again with --debug for the details');
  if (error instanceof UsageError) log.info('see rl3dedit --help, or --help after a command');
}
