import * as fs from 'node:fs';
import * as path from 'node:path';
import type { CommandModule } from 'yargs';
import { ConfigError, UsageError } from '../../binding/errors';
import { envName, fieldsOf, flagName } from '../../config/fields';
import { trainSchema } from '../../config/train';
import { logOrigins, showApp } from '../app-command';
import { loadApp } from '../apps';
import { addSettings, resolveArguments, runCommand } from '../command';
import type { GlobalArguments } from '../command';
import { TrainView } from '../ui/train-view';

/** What may change when a run goes on: everything else decides its bits. */
const resumable = ['updates', 'device', 'threads'] as const;

export const trainCommand: CommandModule<object, GlobalArguments> = {
  command: 'train [file]',
  describe: 'train the editor by GRPO with a 3D verifier',
  builder: (yargs) =>
    addSettings(
      yargs
        .positional('file', { type: 'string', describe: 'run file (YAML); flags and --set go before it' })
        .option('resume', {
          type: 'string',
          requiresArg: true,
          describe: `folder of a run to go on with (only ${resumable.map((key) => `--${key}`).join(', ')} may change)`,
          group: 'Options:',
        }),
      trainSchema,
    )
      .example('$0 train run.yaml --set rewards.pose=0', '')
      .example('$0 train --resume runs/floor', 'go on after Ctrl-C') as never,
  handler: (argv) =>
    runCommand(argv, async (context) => {
      const given = argv as unknown as Record<string, unknown> & { file?: string; resume?: string; config?: string };
      const resume = given.resume !== undefined;
      if (given.file !== undefined && given.config !== undefined) throw new UsageError('give the run file once: as train FILE or with --config');
      const { settings, origins } = resume ? resumedRun(given, given.resume!) : resolveArguments(trainSchema, { ...given, config: given.file ?? given.config });
      logOrigins(context, origins);
      context.onAbort = () =>
        fs.existsSync(path.join(settings.out, 'checkpoints'))
          ? `the run is saved in ${settings.out}; go on with: rl3dedit train --resume ${settings.out}`
          : `nothing was trained yet; ${settings.out} holds no checkpoint`;
      await showApp(context, settings.threads, (appContext) => loadApp('train')(settings, appContext, { resume }), new TrainView(context.log));
    }),
};

/** Settings from the folder's run.yaml; the folder itself may have moved since. */
function resumedRun(given: Record<string, unknown>, folder: string): ReturnType<typeof resolveArguments<typeof trainSchema>> {
  if (given.file !== undefined || given.config !== undefined)
    throw new UsageError(`--resume ${folder} brings its own run file; leave ${String(given.file ?? given.config)} away`);
  const allowed: readonly string[] = resumable;
  const sets = ((given.set as string[] | undefined) ?? []).map((entry) => entry.split('=')[0].trim());
  const others = fieldsOf(trainSchema).filter(({ key }) => !allowed.includes(key));
  const flags = others.filter(({ key }) => given[key] !== undefined || given[flagName(key)] !== undefined);
  const changed = [...flags.map(({ key }) => `--${flagName(key)}`), ...sets.filter((name) => !allowed.includes(name)).map((name) => `--set ${name}`)];
  if (changed.length > 0) throw new UsageError(`${changed[0]}: a resumed run can change only ${resumable.join(', ')}`);
  const file = path.join(folder, 'run.yaml');
  if (!fs.existsSync(file)) throw new ConfigError(`${folder}: holds no run (run.yaml is missing)`);
  // The environment of this shell must not change what the run was begun with.
  const kept = new Set<string>(resumable.map(envName));
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => kept.has(name)));
  return resolveArguments(trainSchema, { ...given, out: folder, overwrite: undefined, config: file }, undefined, env);
}
