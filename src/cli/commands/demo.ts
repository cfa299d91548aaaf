import type { CommandModule } from 'yargs';
import { runApp } from '../../app/events';
import { demoSchema } from '../../config/demo';
import { loadApp, useThreads } from '../apps';
import { addSettings, resolveArguments, runCommand } from '../command';
import type { GlobalArguments } from '../command';
import { resultText } from '../result-text';
import { TerminalRenderer } from '../ui/render';

export const demoCommand: CommandModule<object, GlobalArguments> = {
  command: 'demo',
  describe: 'edit a procedural scene with the shipped tiny networks: no download, no GPU',
  builder: (yargs) => addSettings(yargs, demoSchema) as never,
  handler: (argv) =>
    runCommand(argv, async (context) => {
      const { settings } = resolveArguments(demoSchema, { ...argv });
      context.onAbort = () => `what was written so far is in ${settings.out}`;
      useThreads(settings.threads);
      const result = await runApp(
        loadApp('demo')(settings, { signal: context.signal }),
        new TerminalRenderer(context.log),
      );
      context.print(result, resultText(result));
    }),
};
