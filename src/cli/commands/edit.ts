import type { CommandModule } from 'yargs';
import { runApp } from '../../app/events';
import { readState } from '../../app/output-folder';
import { editSchema } from '../../config/edit';
import { loadApp, useThreads } from '../apps';
import { addSettings, resolveArguments, runCommand } from '../command';
import type { GlobalArguments } from '../command';
import { resultText } from '../result-text';
import { TerminalRenderer } from '../ui/render';

export const editCommand: CommandModule<object, GlobalArguments> = {
  command: 'edit',
  describe: 'edit a scene from one sentence, all views jointly',
  builder: (yargs) =>
    addSettings(yargs, editSchema)
      .example('$0 edit --scene bear --prompt "turn the photo into sepia" --out out', '')
      .example('$0 edit --out out --resume', 'go on after Ctrl-C') as never,
  handler: (argv) =>
    runCommand(argv, async (context) => {
      const given = argv as unknown as { out?: string; resume?: boolean };
      const base = given.resume === true && given.out !== undefined ? await earlierSettings(given.out) : undefined;
      const { settings, origins } = resolveArguments(editSchema, { ...argv }, base);
      for (const [name, origin] of Object.entries(origins))
        if (origin !== 'default') context.log.debug(`${name}: ${origin}`);
      context.onAbort = async () => {
        const state = await readState(settings.out, 'edit');
        if (!state) return 'nothing was written';
        const done =
          state.stages.length > 0
            ? `finished stages (${state.stages.join(', ')}) are kept in ${settings.out}`
            : `${settings.out} was begun`;
        return `${done}; go on with: rl3dedit edit --out ${settings.out} --resume`;
      };
      useThreads(settings.threads);
      const result = await runApp(
        loadApp('edit')(settings, { signal: context.signal }),
        new TerminalRenderer(context.log),
      );
      context.print(result, resultText(result));
    }),
};

/** The settings that the folder was begun with: `--resume` needs only `--out`. */
async function earlierSettings(out: string): Promise<Record<string, unknown> | undefined> {
  const state = await readState(out, 'edit');
  return state === undefined ? undefined : (JSON.parse(state.fingerprint) as Record<string, unknown>);
}
