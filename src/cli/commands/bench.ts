import type { CommandModule } from 'yargs';
import { runApp } from '../../app/events';
import { benchSchema } from '../../config/bench';
import { loadApp, useThreads } from '../apps';
import { addSettings, resolveArguments, runCommand } from '../command';
import type { GlobalArguments } from '../command';
import { resultText } from '../result-text';
import { TerminalRenderer } from '../ui/render';

export const benchCommand: CommandModule<object, GlobalArguments> = {
  command: 'bench [names..]',
  describe: 'measure kernels, one denoise step and the whole edit',
  builder: (yargs) =>
    addSettings(yargs, benchSchema, ['names']).positional('names', {
      type: 'string',
      array: true,
      describe: 'benches to run (none: all)',
    }) as never,
  handler: (argv) =>
    runCommand(argv, async (context) => {
      const { settings } = resolveArguments(benchSchema, { ...argv });
      useThreads(settings.threads);
      const result = await runApp(
        loadApp('bench')(settings, { signal: context.signal }),
        new TerminalRenderer(context.log),
      );
      context.print(result, resultText(result));
    }),
};
