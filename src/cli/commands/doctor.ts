import type { CommandModule } from 'yargs';
import { runCommand } from '../command';
import type { GlobalArguments } from '../command';

export const doctorCommand: CommandModule<object, GlobalArguments> = {
  command: 'doctor',
  describe: 'what this machine can do, and what to do about what it cannot',
  handler: (argv) =>
    runCommand(argv, async (context) => {
      // eslint-disable-next-line @typescript-eslint/no-require-imports -- loaded when the command runs
      const { examine } = require('../doctor-checks') as typeof import('../doctor-checks');
      const report = await examine();
      const { colors } = context.log;
      const mark = { ok: colors.green('ok'), note: '--', bad: colors.red('!!') };
      const lines = report.checks.flatMap((check) => [
        `${mark[check.status]}  ${check.name}: ${check.value}`,
        ...(check.next === undefined ? [] : [`      next: ${check.next}`]),
      ]);
      context.print(report, lines.join('\n'));
      if (!report.ok) process.exitCode = 3;
    }),
};
