import type { CommandModule } from 'yargs';
import { pretrainSchema } from '../../config/pretrain';
import { appHandler } from '../app-command';
import { loadApp } from '../apps';
import { addSettings } from '../command';
import type { GlobalArguments } from '../command';

export const pretrainCommand: CommandModule<object, GlobalArguments> = {
  command: 'pretrain',
  describe: 'train the shipped tiny networks on procedural scenes and photographs',
  builder: (yargs) => addSettings(yargs, pretrainSchema) as never,
  handler: appHandler({
    schema: pretrainSchema,
    start: (settings, context) => loadApp('pretrain')(settings, context),
    onAbort: ({ out }) => `the last checkpoint is in ${out}; go on with the same command and --resume`,
  }),
};
