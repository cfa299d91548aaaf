import type { CommandModule } from 'yargs';
import { runApp } from '../../app/events';
import { readState } from '../../app/output-folder';
import { preeditSchema } from '../../config/preedit';
import { loadApp, useThreads } from '../apps';
import { addSettings, resolveArguments, runCommand } from '../command';
import type { GlobalArguments } from '../command';
import { resultText } from '../result-text';
import { TerminalRenderer } from '../ui/render';

export const preeditCommand: CommandModule<object, GlobalArguments> = {
  command: 'preedit',
  describe: 'edit every view of a scene alone: the anchors of a training',
  builder: (yargs) =>
    addSettings(yargs, preeditSchema)
      .example('$0 preedit --scene bear --prompt "turn the photo into sepia" --out anchors', '')
      .example('$0 preedit --out anchors --resume', 'go on after Ctrl-C') as never,
  handler: (argv) =>
    runCommand(argv, async (context) => {
      const given = argv as unknown as { out?: string; resume?: boolean };
      const base = given.resume === true && given.out !== undefined ? await earlierSettings(given.out) : undefined;
      const { settings } = resolveArguments(preeditSchema, { ...argv }, base);
      context.onAbort = async () => {
        const state = await readState(settings.out, 'preedit');
        if (!state) return 'nothing was written';
        return `finished edits are kept in ${settings.out}; go on with: rl3dedit preedit --out ${settings.out} --resume`;
      };
      useThreads(settings.threads);
      const result = await runApp(
        loadApp('preedit')(settings, { signal: context.signal }),
        new TerminalRenderer(context.log),
      );
      context.print(result, resultText(result));
    }),
};

/** The settings that the folder was begun with: `--resume` needs only `--out`. */
async function earlierSettings(out: string): Promise<Record<string, unknown> | undefined> {
  const state = await readState(out, 'preedit');
  if (!state) return undefined;
  const { instructions: _instructions, ...settings } = JSON.parse(state.fingerprint) as Record<string, unknown>;
  return settings;
}
