import type { CommandModule } from 'yargs';
import { readState } from '../../app/output-folder';
import { editSchema } from '../../config/edit';
import { appHandler, earlierSettings } from '../app-command';
import { loadApp } from '../apps';
import { addSettings } from '../command';
import type { GlobalArguments } from '../command';

export const editCommand: CommandModule<object, GlobalArguments> = {
  command: 'edit',
  describe: 'edit a scene from one sentence, all views jointly',
  builder: (yargs) =>
    addSettings(yargs, editSchema)
      .example('$0 edit --scene bear --prompt "turn the photo into sepia" --out out', '')
      .example('$0 edit --out out --resume', 'go on after Ctrl-C') as never,
  handler: appHandler({
    schema: editSchema,
    base: (argv) => earlierSettings('edit', argv),
    start: (settings, context) => loadApp('edit')(settings, context),
    onAbort: async ({ out }) => {
      const state = await readState(out, 'edit');
      if (!state) return 'nothing was written';
      const done = state.stages.length > 0 ? `finished stages (${state.stages.join(', ')}) are kept in ${out}` : `${out} was begun`;
      return `${done}; go on with: rl3dedit edit --out ${out} --resume`;
    },
  }),
};
