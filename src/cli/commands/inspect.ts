import type { CommandModule } from 'yargs';
import type { Inspection } from '../../hub/inspect';
import { runCommand } from '../command';
import type { GlobalArguments } from '../command';
import { formatBytes, formatNumber, formatTable } from '../ui/format';

interface InspectArguments extends GlobalArguments {
  file: string;
  all?: boolean;
}

export const inspectCommand: CommandModule<object, InspectArguments> = {
  command: 'inspect <file>',
  describe: 'say what a file holds: weights, picture, scene or splats',
  builder: (yargs) =>
    yargs
      .positional('file', {
        type: 'string',
        demandOption: true,
        describe: 'safetensors, picture, transforms.json, ply, or a scene folder',
      })
      .option('all', { type: 'boolean', describe: 'list every tensor' }) as never,
  handler: (argv) =>
    runCommand(argv, async (context) => {
      // eslint-disable-next-line @typescript-eslint/no-require-imports -- loaded when the command runs
      const { inspectFile } = require('../../hub/inspect') as typeof import('../../hub/inspect');
      const found = await inspectFile(argv.file);
      context.print(found, describe(found, argv.all === true));
    }),
};

const shownTensors = 20;

function inBrackets(text: string | undefined): string {
  return text === undefined ? '' : ` (${text})`;
}

function describe(found: Inspection, all: boolean): string {
  const lines = [`${found.file}: ${found.kind}${found.bytes > 0 ? `, ${formatBytes(found.bytes)}` : ''}`];
  const pairs = (values: Record<string, string | number>): string =>
    Object.entries(values)
      .map(([name, value]) => `${name} ${value}`)
      .join(', ');
  switch (found.kind) {
    case 'safetensors': {
      const { architecture, metadata, tensors } = found;
      lines.push(
        architecture
          ? `${architecture.name}${inBrackets(architecture.layout)}: ${pairs(architecture.details)}`
          : 'architecture: not recognised',
      );
      lines.push(`${found.tensorCount} tensors, ${formatNumber(found.parameters)} numbers: ${pairs(found.dtypes)}`);
      for (const [name, value] of Object.entries(metadata))
        lines.push(`metadata ${name}: ${value.length > 100 ? `${value.slice(0, 97)}...` : value}`);
      const listed = all ? tensors : tensors.slice(0, shownTensors);
      lines.push(
        formatTable(listed.map((tensor) => [`  ${tensor.name}`, tensor.dtype, `[${tensor.shape.join(', ')}]`])),
      );
      if (listed.length < tensors.length) lines.push(`  … and ${tensors.length - listed.length} more (--all)`);
      break;
    }
    case 'image':
      lines.push(
        `${found.format} ${found.width}×${found.height}, ${found.channels} channels` +
          (found.tooLarge ? '; too large to be used as a view' : ''),
      );
      break;
    case 'nerfstudio scene':
      lines.push(`${found.frames} frames, ${found.missingImages.length} images missing`, pairs(found.camera));
      for (const name of found.missingImages.slice(0, 5)) lines.push(`  missing: ${name}`);
      break;
    case 'ply':
      lines.push(`${found.content}, ${found.format}`);
      for (const element of found.elements)
        lines.push(`  ${element.name}: ${element.count} × (${element.properties.join(', ')})`);
      break;
    case 'folder':
      lines.push(...found.files.map((name) => `  ${name}`));
      break;
  }
  return lines.join('\n');
}
