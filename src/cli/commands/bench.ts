import type { CommandModule } from 'yargs';
import { benchSchema } from '../../config/bench';
import { appHandler } from '../app-command';
import { loadApp } from '../apps';
import { addSettings } from '../command';
import type { GlobalArguments } from '../command';

export const benchCommand: CommandModule<object, GlobalArguments> = {
  command: 'bench [names..]',
  describe: 'measure kernels, one denoise step and the whole edit',
  builder: (yargs) =>
    addSettings(yargs, benchSchema, ['names']).positional('names', {
      type: 'string',
      array: true,
      describe: 'benches to run (none: all)',
    }) as never,
  handler: appHandler({
    schema: benchSchema,
    start: (settings, context) => loadApp('bench')(settings, context),
  }),
};
