import type { CommandModule } from 'yargs';
import { refitSchema } from '../../config/refit';
import { appHandler } from '../app-command';
import { loadApp } from '../apps';
import { addSettings } from '../command';
import type { GlobalArguments } from '../command';

export const refitCommand: CommandModule<object, GlobalArguments> = {
  command: 'refit <dir>',
  describe: 'go on from edited views to an edited splat scene',
  builder: (yargs) =>
    addSettings(yargs, refitSchema, ['dir'])
      .positional('dir', { type: 'string', demandOption: true, describe: 'folder of a finished edit; views/after may hold pictures of your own' })
      .example('$0 refit out', 'after edit --approve, also with pictures of your own in out/views/after') as never,
  handler: appHandler({
    schema: refitSchema,
    start: (settings, context) => loadApp('refitEdit')(settings, context),
    onAbort: ({ dir }) => `${dir} is as it was`,
  }),
};
