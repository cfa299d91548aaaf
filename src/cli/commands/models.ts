import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import type { CommandModule } from 'yargs';
import { UsageError, WeightsError } from '../../binding/errors';
import { didYouMean } from '../../config/suggest';
import { hubCache, snapshotFolder } from '../../hub/cache';
import { downloadFile } from '../../hub/download';
import { publicWeights } from '../../hub/registry';
import type { PublicWeights } from '../../hub/registry';
import { listRemote, verifyCached } from '../../hub/repository';
import { runCommand } from '../command';
import type { CommandContext, GlobalArguments } from '../command';
import { formatBytes } from '../ui/format';
import { Progress } from '../ui/progress';

interface NameArguments extends GlobalArguments {
  name?: string;
  dryRun?: boolean;
}

/** The package's own folder: dist/cli/commands → root. */
const packageRoot = path.resolve(__dirname, '..', '..', '..');

export const modelsCommand: CommandModule<object, GlobalArguments> = {
  command: 'models <action>',
  describe: 'list, fetch and verify network weights',
  builder: (yargs) =>
    yargs
      .command(listCommand as never)
      .command(pullCommand as never)
      .command(verifyCommand as never)
      .demandCommand(1, 'models: say what to do: list, pull NAME or verify [NAME]') as never,
  handler: () => undefined,
};

const listCommand: CommandModule<object, GlobalArguments> = {
  command: ['list', '$0'],
  describe: 'shipped tiny networks and known public weights, with licences',
  handler: (argv) =>
    runCommand(argv, async (context) => {
      const shipped = await listShipped();
      const known = await Promise.all(
        publicWeights.map(async ({ name, repo, what, licence, licenceUrl, gated, revision }) => ({
          name,
          repo,
          what,
          licence,
          licenceUrl,
          gated,
          cached: (await snapshotFolder(hubCache(), repo, revision)) ?? null,
        })),
      );
      const lines = ['shipped (MIT, with this package):'];
      for (const file of shipped) lines.push(`  ${file.path}  ${formatBytes(file.bytes)}`);
      if (shipped.length === 0) lines.push('  none');
      lines.push('', 'public weights (their own licences):');
      for (const entry of known) {
        lines.push(
          `  ${entry.name}  ${entry.repo}${entry.cached === null ? '' : `  cached in ${entry.cached}`}`,
          `    ${entry.what}`,
          `    ${entry.licence}: ${entry.licenceUrl}`,
        );
      }
      context.print({ shipped, known }, lines.join('\n'));
    }),
};

const pullCommand: CommandModule<object, NameArguments> = {
  command: 'pull <name>',
  describe: 'fetch weights into the Hugging Face cache (resumes, checks hashes)',
  builder: (yargs) =>
    yargs
      .positional('name', { type: 'string', demandOption: true, describe: 'a name from models list' })
      .option('dry-run', { type: 'boolean', describe: 'show files and bytes, fetch nothing' }) as never,
  handler: (argv) => runCommand(argv, (context) => pull(findWeights(argv.name ?? ''), argv.dryRun === true, context)),
};

const verifyCommand: CommandModule<object, NameArguments> = {
  command: 'verify [name]',
  describe: 'hash cached weights again',
  builder: (yargs) =>
    yargs.positional('name', { type: 'string', describe: 'a name from models list (none: all cached)' }) as never,
  handler: (argv) =>
    runCommand(argv, async (context) => {
      const chosen = argv.name === undefined ? publicWeights : [findWeights(argv.name)];
      const report: { name: string; path: string; bytes: number; status: string }[] = [];
      for (const weights of chosen) {
        const files = await verifyCached(hubCache(), weights.repo, weights.revision, context.signal);
        if (files === undefined && argv.name !== undefined) {
          throw new WeightsError(
            `${weights.name}: nothing cached in ${hubCache()}; fetch it with rl3dedit models pull ${weights.name}`,
          );
        }
        for (const file of files ?? []) report.push({ name: weights.name, ...file });
      }
      const lines = report.map(
        (file) => `${file.status.padEnd(9)}  ${file.name}  ${file.path}  ${formatBytes(file.bytes)}`,
      );
      context.print(report, lines.length > 0 ? lines.join('\n') : 'nothing cached');
      return report.every((file) => file.status !== 'damaged');
    }),
};

async function pull(weights: PublicWeights, dryRun: boolean, context: CommandContext): Promise<void> {
  context.log.info(`${weights.repo}: ${weights.licence}: ${weights.licenceUrl}`);
  const files = await listRemote(weights, context.signal);
  const totalBytes = files.reduce((sum, file) => sum + file.bytes, 0);
  if (dryRun) {
    const lines = files.map((file) => `${file.path}  ${formatBytes(file.bytes)}`);
    context.print({ files, totalBytes }, [...lines, `${files.length} files, ${formatBytes(totalBytes)}`].join('\n'));
    return;
  }
  context.onAbort = () => `what was fetched is kept; rl3dedit models pull ${weights.name} goes on`;
  const progress = context.log.enabled('info') ? new Progress() : undefined;
  context.log.beforeLine = () => progress?.clear();
  const paths: string[] = [];
  try {
    for (const [index, file] of files.entries()) {
      progress?.stage(`${file.path} (${formatBytes(file.bytes)})`, index, files.length);
      const onProgress = (doneBytes: number, wholeBytes: number): void =>
        progress?.update(toMegabytes(doneBytes), toMegabytes(wholeBytes));
      paths.push(
        await downloadFile({
          repo: weights.repo,
          revision: weights.revision,
          file: file.path,
          licenceUrl: weights.licenceUrl,
          signal: context.signal,
          onProgress,
        }),
      );
    }
  } finally {
    progress?.close();
  }
  const folder = (await snapshotFolder(hubCache(), weights.repo, weights.revision)) ?? hubCache();
  context.print({ name: weights.name, folder, files: paths }, folder);
}

function toMegabytes(bytes: number): number {
  return Math.ceil(bytes / 1e6);
}

function findWeights(name: string): PublicWeights {
  const found = publicWeights.find((weights) => weights.name === name || weights.repo === name);
  if (found) return found;
  const names = publicWeights.map((weights) => weights.name);
  throw new UsageError(`models: unknown name ${name}${didYouMean(name, names)}; known: ${names.join(', ')}`);
}

async function listShipped(): Promise<{ path: string; bytes: number }[]> {
  const folder = path.join(packageRoot, 'assets');
  const entries = await fs.readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries
    .filter((entry) => entry.isFile() && /\.(safetensors|onnx)$/.test(entry.name))
    .map((entry) => path.join(entry.parentPath, entry.name));
  return Promise.all(
    files.sort().map(async (file) => ({ path: path.relative(packageRoot, file), bytes: (await fs.stat(file)).size })),
  );
}
