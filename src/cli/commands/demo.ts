import type { CommandModule } from 'yargs';
import { demoSchema } from '../../config/demo';
import { appHandler } from '../app-command';
import { loadApp } from '../apps';
import { addSettings } from '../command';
import type { GlobalArguments } from '../command';

export const demoCommand: CommandModule<object, GlobalArguments> = {
  command: 'demo',
  describe: 'edit a procedural scene with the shipped tiny networks: no download, no GPU',
  builder: (yargs) => addSettings(yargs, demoSchema) as never,
  handler: appHandler({
    schema: demoSchema,
    start: (settings, context) => loadApp('demo')(settings, context),
    onAbort: ({ out }) => `what was written so far is in ${out}`,
  }),
};
