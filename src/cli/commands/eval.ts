import type { CommandModule } from 'yargs';
import { fieldsOf, flagName } from '../../config/fields';
import { evalSchema, resolveEval } from '../../config/eval';
import { showApp } from '../app-command';
import { loadApp } from '../apps';
import { addSettings, runCommand } from '../command';
import type { GlobalArguments } from '../command';
import { TrainView } from '../ui/train-view';

export const evalCommand: CommandModule<object, GlobalArguments> = {
  command: 'eval <file>',
  describe: 'train several variants of a run and compare them on held-out samples',
  builder: (yargs) =>
    addSettings(
      yargs.positional('file', { type: 'string', demandOption: true, describe: 'ablation file (YAML): base, seeds, variants, out' }),
      evalSchema,
    ).example('$0 eval bench/ablations/tiny.yaml --out runs/ablations', 'finished variants are kept when it is run again') as never,
  handler: (argv) =>
    runCommand(argv, async (context) => {
      const given = argv as unknown as Record<string, unknown> & { file: string; set?: string[] };
      const flags = Object.fromEntries(fieldsOf(evalSchema).map(({ key }) => [key, given[key] ?? given[flagName(key)]]));
      // Lists on the command line are text; seeds are numbers.
      if (flags.seeds !== undefined) flags.seeds = String(flags.seeds).split(',').map(Number);
      const settings = resolveEval(given.file, { flags, sets: given.set, env: process.env });
      context.onAbort = () => `finished variants are kept in ${settings.out}; go on with the same command`;
      const { threads } = settings.runs[0].settings;
      await showApp(context, threads, (appContext) => loadApp('evaluate')(settings, appContext, { train: loadApp('train') }), new TrainView(context.log));
    }),
};
