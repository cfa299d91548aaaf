import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { OutputFolder, readState } from '../../src/app/output-folder';
import { OutputError } from '../../src/binding/errors';

let root: string;
beforeEach(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'rl3dedit-out-'));
});
afterEach(() => fs.rmSync(root, { recursive: true }));

const options = { command: 'edit', settings: { prompt: 'sepia', seed: 1 } };

it('creates, writes whole files and finishes', async () => {
  const dir = path.join(root, 'a', 'b');
  expect(await OutputFolder.check(dir, options)).toBeUndefined();
  expect(fs.existsSync(path.join(root, 'a'))).toBe(false);
  const folder = await OutputFolder.open(dir, options);
  await folder.write('views/after/000.png', new Uint8Array([1, 2, 3]));
  await folder.write('.rl3dedit/latents.bin', 'work');
  await folder.writeJson('edit.json', { seed: 1 });
  await folder.finishStage('encode');
  expect(fs.readFileSync(path.join(dir, 'views/after/000.png'))).toEqual(Buffer.from([1, 2, 3]));
  expect((await readState(dir, 'edit'))?.stages).toEqual(['encode']);
  await folder.finish();
  expect(fs.readdirSync(path.join(dir, '.rl3dedit'))).toEqual(['edit.json']);
  expect(fs.readdirSync(dir, { recursive: true }).filter((name) => String(name).includes('tmp'))).toEqual([]);
});

it('refuses a foreign folder and keeps its files when told to overwrite', async () => {
  fs.writeFileSync(path.join(root, 'thesis.tex'), 'precious');
  await expect(OutputFolder.open(root, options)).rejects.toThrow(/not made by rl3dedit edit.*--overwrite/);
  await expect(OutputFolder.open(root, { ...options, resume: true })).rejects.toThrow(OutputError);
  const folder = await OutputFolder.open(root, { ...options, overwrite: true });
  await folder.write('grid.png', 'x');
  await OutputFolder.open(root, { ...options, overwrite: true });
  expect(fs.readdirSync(root).sort()).toEqual(['.rl3dedit', 'thesis.tex']);
});

it('resumes with the same settings only', async () => {
  const folder = await OutputFolder.open(root, options);
  await folder.finishStage('encode');
  await expect(OutputFolder.open(root, options)).rejects.toThrow(/unfinished edit.*--resume/);
  const resumed = await OutputFolder.open(root, { ...options, resume: true });
  expect([resumed.hasStage('encode'), resumed.hasStage('decode'), resumed.finished]).toEqual([true, false, false]);
  const changed = { ...options, settings: { prompt: 'sepia', seed: 2 }, resume: true };
  await expect(OutputFolder.open(root, changed)).rejects.toThrow(/seed 1 → 2/);
  await resumed.finish();
  await expect(OutputFolder.open(root, options)).rejects.toThrow(/a finished edit/);
});

it('does not remove what a tampered state names outside the folder', async () => {
  const inner = path.join(root, 'inner');
  fs.writeFileSync(path.join(root, 'victim'), 'x');
  await OutputFolder.open(inner, options);
  const state = path.join(inner, '.rl3dedit', 'edit.json');
  fs.writeFileSync(
    state,
    JSON.stringify({
      ...JSON.parse(fs.readFileSync(state, 'utf8')),
      files: ['../victim', path.join(root, 'victim'), '.'],
    }),
  );
  await OutputFolder.open(inner, { ...options, overwrite: true });
  expect(fs.existsSync(path.join(root, 'victim'))).toBe(true);
});

it('says why a place cannot be written', async () => {
  fs.writeFileSync(path.join(root, 'file'), '');
  await expect(OutputFolder.check(path.join(root, 'file'), options)).rejects.toThrow(/is a file/);
  await expect(OutputFolder.check(path.join(root, 'file', 'sub'), options)).rejects.toThrow(OutputError);
  await expect(OutputFolder.open('/proc/rl3dedit-out', options)).rejects.toThrow(OutputError);
});
