import type { CommandModule } from 'yargs';
import { AbortError } from '../../binding/errors';
import { viewSchema } from '../../config/view';
import { addSettings, resolveArguments, runCommand } from '../command';
import type { GlobalArguments } from '../command';

export const viewCommand: CommandModule<object, GlobalArguments> = {
  command: 'view <path>',
  describe: 'look at a splat file or a report in the browser',
  builder: (yargs) =>
    addSettings(yargs, viewSchema, ['path'])
      .positional('path', { type: 'string', demandOption: true, describe: 'splat file (.ply, .spz, .splat) or output folder' })
      .example('$0 view scene.ply', '')
      .example('$0 view out --port 8080', 'the report of an edit, on a port of choice') as never,
  handler: (argv) =>
    runCommand(argv, async (context) => {
      const { settings } = resolveArguments(viewSchema, { ...argv });
      // eslint-disable-next-line @typescript-eslint/no-require-imports -- loaded when the command runs
      const { openView } = require('../../app/view') as typeof import('../../app/view');
      const server = await openView(settings, context.signal);
      try {
        for (const warning of server.warnings) context.log.warn(warning);
        const { url, port, shows, warnings } = server;
        context.print({ url, port, shows, path: settings.path, warnings }, url);
        context.log.info('serving on this machine alone until Ctrl-C');
        await aborted(context.signal);
      } finally {
        await server.close();
      }
      // Ctrl-C is how this command ends: the exit code says so, and there is no failure to report.
      process.exitCode = new AbortError().exitCode;
    }),
};

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
