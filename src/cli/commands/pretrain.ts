import type { CommandModule } from 'yargs';
import { runApp } from '../../app/events';
import { pretrainSchema } from '../../config/pretrain';
import { loadApp, useThreads } from '../apps';
import { addSettings, resolveArguments, runCommand } from '../command';
import type { GlobalArguments } from '../command';
import { resultText } from '../result-text';
import { TerminalRenderer } from '../ui/render';

export const pretrainCommand: CommandModule<object, GlobalArguments> = {
  command: 'pretrain',
  describe: 'train the shipped tiny networks on procedural scenes and photographs',
  builder: (yargs) => addSettings(yargs, pretrainSchema) as never,
  handler: (argv) =>
    runCommand(argv, async (context) => {
      const { settings } = resolveArguments(pretrainSchema, { ...argv });
      context.onAbort = () => `the last checkpoint is in ${settings.out}; go on with the same command and --resume`;
      useThreads(settings.threads);
      const result = await runApp(
        loadApp('pretrain')(settings, { signal: context.signal }),
        new TerminalRenderer(context.log),
      );
      context.print(result, resultText(result));
    }),
};
