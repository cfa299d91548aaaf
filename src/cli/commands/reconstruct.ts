import type { CommandModule } from 'yargs';
import { reconstructSchema } from '../../config/reconstruct';
import { appHandler } from '../app-command';
import { loadApp } from '../apps';
import { addSettings } from '../command';
import type { GlobalArguments } from '../command';

export const reconstructCommand: CommandModule<object, GlobalArguments> = {
  command: 'reconstruct',
  describe: 'fit Gaussian splats to posed photographs',
  builder: (yargs) =>
    addSettings(yargs, reconstructSchema)
      .example('$0 reconstruct --scene bear --resolution 128 --out splats', '')
      .example('$0 reconstruct --scene bear --init verifier --cap 50000 --out splats', '') as never,
  handler: appHandler({
    schema: reconstructSchema,
    start: (settings, context) => loadApp('reconstruct')(settings, context),
    onAbort: () => 'nothing was written',
  }),
};
