#!/usr/bin/env node
import './heap';
import yargs from 'yargs';
import type { Argv } from 'yargs';
import { UsageError } from '../binding/errors';
import { didYouMean } from '../config/suggest';
import { reportError } from './command';
import { benchCommand } from './commands/bench';
import { demoCommand } from './commands/demo';
import { doctorCommand } from './commands/doctor';
import { editCommand } from './commands/edit';
import { evalCommand } from './commands/eval';
import { inspectCommand } from './commands/inspect';
import { modelsCommand } from './commands/models';
import { parityCommand } from './commands/parity';
import { preeditCommand } from './commands/preedit';
import { pretrainCommand } from './commands/pretrain';
import { refitCommand } from './commands/refit';
import { reconstructCommand } from './commands/reconstruct';
import { trainCommand } from './commands/train';
import { viewCommand } from './commands/view';
import { Log, logLevels } from './ui/log';
import { packageVersion } from './version';

const words = process.argv.slice(2);
const globals = { json: words.includes('--json'), debug: words.includes('--debug') };

function build(): Argv {
  const cli = yargs(words)
    .scriptName('rl3dedit')
    .usage('$0 <command>\n\nEdits a 3D scene from one sentence, consistently in every view.')
    .parserConfiguration({
      'dot-notation': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'strip-dashed': false,
    })
    .option('json', {
      type: 'boolean',
      default: false,
      describe: 'result as JSON on stdout',
      global: true,
      group: 'Everywhere:',
    })
    .option('quiet', {
      type: 'boolean',
      default: false,
      describe: 'only errors on stderr',
      global: true,
      group: 'Everywhere:',
    })
    .option('log-level', {
      choices: logLevels,
      describe: 'what to report on stderr',
      global: true,
      group: 'Everywhere:',
    })
    .option('debug', {
      type: 'boolean',
      default: false,
      describe: 'report everything, with stacks of errors',
      global: true,
      group: 'Everywhere:',
    })
    .strict()
    .strictCommands()
    .recommendCommands()
    .demandCommand(1, 'say what to do: a command is missing')
    .completion('completion', false)
    .version(packageVersion())
    .help()
    .group(['help', 'version'], 'Everywhere:')
    .exitProcess(false)
    .wrap(Math.min(130, process.stdout.columns ?? 100));
  for (const command of [
    editCommand,
    preeditCommand,
    reconstructCommand,
    refitCommand,
    trainCommand,
    evalCommand,
    demoCommand,
    parityCommand,
    pretrainCommand,
    benchCommand,
    viewCommand,
    inspectCommand,
    modelsCommand,
    doctorCommand,
  ]) {
    cli.command(command as never);
  }
  return cli.fail((message, error) => {
    // Yargs throws its own class for some mistakes on the command line and only gives a message for the others.
    if (error && error.name !== 'YError') throw error;
    throw new UsageError(explainUsage(message || error.message, cli));
  });
}

/** Yargs' complaints in this program's words, with the nearest known flag (yargs itself suggests commands only). */
function explainUsage(message: string, cli: Argv): string {
  const recommended = /^Did you mean (.*)\?$/.exec(message);
  if (recommended)
    return `unknown command ${words.find((word) => !word.startsWith('-'))} (did you mean ${recommended[1]}?)`;
  if (message.startsWith('Not enough non-option arguments')) return 'an argument is missing';
  const match = /^Unknown arguments?: (.*)$/.exec(message);
  if (!match) return message;
  const { key } = (cli as unknown as { getOptions(): { key: Record<string, unknown> } }).getOptions();
  const known = Object.keys(key).filter((name) => !/[A-Z]/.test(name));
  const flags = words
    .filter((word) => word.startsWith('-'))
    .map((word) => word.replace(/^--?(no-)?/, '').split('=')[0]);
  // Yargs names a mistyped flag twice, as typed and in camel case; only what was typed is worth showing.
  const names = match[1].split(', ').filter((name) => words.includes(name) || flags.includes(name));
  const shown = names.map((name) => (flags.includes(name) ? `--${name}${didYouMean(name, known, '--')}` : name));
  return `unknown argument ${shown.length > 0 ? shown.join(', ') : match[1]}`;
}

async function main(): Promise<void> {
  const fatal = (error: unknown): void => {
    reportError(error, new Log(), globals);
    process.exit();
  };
  process.on('uncaughtException', fatal);
  process.on('unhandledRejection', fatal);
  // A reader that closes its end early (`| head`) is no failure of ours.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  try {
    await build().parseAsync();
  } catch (error) {
    reportError(error, new Log(), globals);
  }
  // Idle native threads and sockets must not keep a finished command alive; what is still in the pipe must get out
  // first.
  await new Promise((resolve) => process.stdout.write('', resolve));
  await new Promise((resolve) => process.stderr.write('', resolve));
  process.exit();
}

void main();
