import type { CommandModule } from 'yargs';
import { readState } from '../../app/output-folder';
import { preeditSchema } from '../../config/preedit';
import { appHandler, earlierSettings } from '../app-command';
import { loadApp } from '../apps';
import { addSettings } from '../command';
import type { GlobalArguments } from '../command';

export const preeditCommand: CommandModule<object, GlobalArguments> = {
  command: 'preedit',
  describe: 'edit every view of a scene alone: the anchors of a training',
  builder: (yargs) =>
    addSettings(yargs, preeditSchema)
      .example('$0 preedit --scene bear --prompt "turn the photo into sepia" --out anchors', '')
      .example('$0 preedit --out anchors --resume', 'go on after Ctrl-C') as never,
  handler: appHandler({
    schema: preeditSchema,
    base: async (argv) => {
      const earlier = await earlierSettings('preedit', argv);
      // Part of what the folder was begun with, but no setting.
      delete earlier?.instructions;
      return earlier;
    },
    start: (settings, context) => loadApp('preedit')(settings, context),
    onAbort: async ({ out }) => {
      if (!(await readState(out, 'preedit'))) return 'nothing was written';
      return `finished edits are kept in ${out}; go on with: rl3dedit preedit --out ${out} --resume`;
    },
  }),
};
