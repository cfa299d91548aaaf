import type { CommandModule } from 'yargs';
import { runApp } from '../../app/events';
import { refitSchema } from '../../config/refit';
import { loadApp, useThreads } from '../apps';
import { addSettings, resolveArguments, runCommand } from '../command';
import type { GlobalArguments } from '../command';
import { resultText } from '../result-text';
import { TerminalRenderer } from '../ui/render';

export const refitCommand: CommandModule<object, GlobalArguments> = {
  command: 'refit <dir>',
  describe: 'go on from edited views to an edited splat scene',
  builder: (yargs) =>
    addSettings(yargs, refitSchema, ['dir'])
      .positional('dir', { type: 'string', demandOption: true, describe: 'folder of a finished edit; views/after may hold pictures of your own' })
      .example('$0 refit out', 'after edit --approve, also with pictures of your own in out/views/after') as never,
  handler: (argv) =>
    runCommand(argv, async (context) => {
      const { settings } = resolveArguments(refitSchema, { ...argv });
      context.onAbort = () => Promise.resolve(`${settings.dir} is as it was`);
      useThreads(settings.threads);
      const result = await runApp(loadApp('refitEdit')(settings, { signal: context.signal }), new TerminalRenderer(context.log));
      context.print(result, resultText(result));
    }),
};
