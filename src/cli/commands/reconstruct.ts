import type { CommandModule } from 'yargs';
import { runApp } from '../../app/events';
import { reconstructSchema } from '../../config/reconstruct';
import { loadApp, useThreads } from '../apps';
import { addSettings, resolveArguments, runCommand } from '../command';
import type { GlobalArguments } from '../command';
import { resultText } from '../result-text';
import { TerminalRenderer } from '../ui/render';

export const reconstructCommand: CommandModule<object, GlobalArguments> = {
  command: 'reconstruct',
  describe: 'fit Gaussian splats to posed photographs',
  builder: (yargs) =>
    addSettings(yargs, reconstructSchema)
      .example('$0 reconstruct --scene bear --resolution 128 --out splats', '')
      .example('$0 reconstruct --scene bear --init verifier --cap 50000 --out splats', '') as never,
  handler: (argv) =>
    runCommand(argv, async (context) => {
      const { settings } = resolveArguments(reconstructSchema, { ...argv });
      context.onAbort = () => Promise.resolve('nothing was written');
      useThreads(settings.threads);
      const result = await runApp(loadApp('reconstruct')(settings, { signal: context.signal }), new TerminalRenderer(context.log));
      context.print(result, resultText(result));
    }),
};
