import type { CommandModule } from 'yargs';
import { runApp } from '../../app/events';
import { paritySchema } from '../../config/bench';
import { loadApp, useThreads } from '../apps';
import type { ShownCase } from '../apps';
import { addSettings, resolveArguments, runCommand } from '../command';
import type { GlobalArguments } from '../command';
import { formatTable } from '../ui/format';
import { TerminalRenderer } from '../ui/render';

export const parityCommand: CommandModule<object, GlobalArguments> = {
  command: 'parity <dirs..>',
  describe: 'run the networks on reference cases and compare; exit 0 only if all pass',
  builder: (yargs) =>
    addSettings(yargs, paritySchema, ['dirs'])
      .positional('dirs', {
        type: 'string',
        array: true,
        demandOption: true,
        describe: 'folders that hold a case.json',
      })
      .example('$0 parity goldens/*', '') as never,
  handler: (argv) =>
    runCommand(argv, async (context) => {
      const { settings } = resolveArguments(paritySchema, { ...argv });
      useThreads(settings.threads);
      const stream = loadApp('parity')(settings.dirs, {
        device: settings.device,
        dtype: settings.dtype,
        signal: context.signal,
      });
      const result = await runApp(stream, new TerminalRenderer(context.log));
      context.print(result, formatTable(result.cases.map(caseRow)));
      return result.pass;
    }),
};

/** `pass  flux-vae  cpu f32  goldens/flux-vae  worst 3.1e-7 (decoded) of 3, allowed 0.0001`. */
function caseRow(shown: ShownCase): string[] {
  let worst = shown.error ?? 'nothing compared';
  const entries = Object.entries(shown.errors);
  if (shown.error === undefined && entries.length > 0) {
    // A NaN error is worse than any number and must not lose the comparison.
    const [name, error] = entries.reduce((a, b) => (Number.isNaN(a[1]) || a[1] >= b[1] ? a : b));
    worst = `worst ${error.toExponential(1)} (${name}) of ${entries.length}, allowed ${shown.tolerance}`;
  }
  return [shown.pass ? 'pass' : 'FAIL', shown.kind, `${shown.device} ${shown.dtype}`, shown.dir, worst];
}
