/** `edit` on damaged input: a quick end with one message that names the thing, and nothing half-written. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { emptyPng, orbitTransforms, temporaryFolder, writeScene } from '../scene-fixtures';
import { commandLine } from './run-cli';

const folder = temporaryFolder();
const run = commandLine(folder);

let count = 0;
const fresh = (name: string): string => path.join(folder, `${name}-${count++}`);
const goodScene = (): Promise<string> => writeScene(fresh('scene'), orbitTransforms());

/** Edits and expects a refusal: exit 1 or 2, one message with every part, clean stdout, no output folder. */
function refuses(parts: (string | RegExp)[], args: Record<string, string>, code = 1): void {
  const out = fresh('out');
  const options = { scene: 'none', prompt: 'sepia', model: 'random:tiny', steps: '1', out, ...args };
  const argv = ['edit', ...Object.entries(options).map(([name, value]) => `--${name}=${value}`)];
  const { code: status, stdout, stderr } = run(...argv);
  const errors = stderr.split('\n').filter((line) => line.startsWith('error:'));
  expect({ status, stdout, errors: errors.length, stderr }).toEqual({ status: code, stdout: '', errors: 1, stderr });
  for (const part of parts) expect(stderr).toMatch(part);
  expect(stderr).not.toMatch(/\n {4}at |internal error/);
  if (options.out === out) expect(fs.existsSync(out) ? fs.readdirSync(out) : []).toEqual([]);
}

/** A scene of which every picture is replaced, so that each selection meets one. */
async function sceneWithPictures(bytes: Buffer): Promise<string> {
  const scene = await goodScene();
  for (const name of fs.readdirSync(path.join(scene, 'images'))) fs.writeFileSync(path.join(scene, 'images', name), bytes);
  return scene;
}

describe('scenes', () => {
  it('that are not there', () => refuses([/nowhere/], { scene: path.join(folder, 'nowhere') }));

  it.each([
    ['broken JSON', '{"frames": ['],
    ['no frames', '{"w": 4, "h": 4}'],
    ['frames of another type', '{"w": 4, "h": 4, "fl_x": 4, "frames": 7}'],
    ['nothing', ''],
  ])('whose transforms.json has %s', async (_, text) => {
    refuses([/transforms\.json/], { scene: await writeScene(fresh('scene'), text) });
  });

  it('with a camera that is no matrix', async () => {
    const transforms = orbitTransforms();
    for (const frame of transforms.frames) frame.transform_matrix = [[1, 2], [3, 4]];
    refuses([/transform_matrix/], { scene: await writeScene(fresh('scene'), transforms) });
  });

  it('with a view that is no picture', async () => {
    refuses([/f_00\d\.png/], { scene: await sceneWithPictures(Buffer.from('this is text')) });
  });

  it('with a picture that ends early', async () => {
    refuses([/f_00\d\.png/], { scene: await sceneWithPictures(emptyPng(40, 32)) });
  });

  it('with a picture that claims 40,000 × 40,000 pixels', async () => {
    refuses([/f_00\d\.png/, /40,?000/], { scene: await sceneWithPictures(emptyPng(40_000, 40_000)) });
  });
});

describe('weights', () => {
  const weights = (name: string, bytes: Buffer): string => {
    const file = path.join(folder, name);
    fs.writeFileSync(file, bytes);
    return file;
  };
  const header = Buffer.from(JSON.stringify({ 'x_embedder.weight': { dtype: 'F32', shape: [64, 16], data_offsets: [0, 4096] } }));
  const length = (bytes: bigint): Buffer => {
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(bytes);
    return prefix;
  };

  it.each<[string, string, () => Buffer]>([
    ['truncated', 'truncated.safetensors', () => Buffer.concat([length(BigInt(header.length)), header, Buffer.alloc(100)])],
    ['with a header of 2^60 bytes', 'huge.safetensors', () => Buffer.concat([length(1n << 60n), Buffer.from('{}')])],
    ['that are empty', 'empty.safetensors', () => Buffer.alloc(0)],
  ])('%s', async (_, name, bytes) => {
    refuses([name], { scene: await goodScene(), model: weights(name, bytes()) });
  });

  it('that are not there', async () => {
    refuses([/none\.safetensors/], { scene: await goodScene(), model: path.join(folder, 'none.safetensors') });
  });
});

describe('an output folder that cannot be written', () => {
  it('below a file', async () => {
    const file = fresh('file');
    fs.writeFileSync(file, 'mine');
    refuses([file], { scene: await goodScene(), out: path.join(file, 'out') });
    expect(fs.readFileSync(file, 'utf8')).toBe('mine');
  });

  it('that is a file', async () => {
    const file = fresh('file');
    fs.writeFileSync(file, 'mine');
    refuses([file], { scene: await goodScene(), out: file });
    expect(fs.readFileSync(file, 'utf8')).toBe('mine');
  });

  it('where the system allows no folder', async () => {
    refuses(['/proc/rl3dedit-out'], { scene: await goodScene(), out: '/proc/rl3dedit-out' });
  });

  it('that holds something else', async () => {
    const out = fresh('mine');
    fs.mkdirSync(out);
    fs.writeFileSync(path.join(out, 'thesis.txt'), 'mine');
    refuses([out], { scene: await goodScene(), out });
    expect(fs.readdirSync(out)).toEqual(['thesis.txt']);
  });
});

it('--json gives the error as one JSON object', () => {
  const out = fresh('out');
  const { code, stdout } = run('edit', '--scene=nowhere', '--prompt=sepia', '--model=random:tiny', `--out=${out}`, '--json');
  const { error } = JSON.parse(stdout) as { error: { code: string; message: string } };
  expect([code, error.code]).toEqual([1, 'ERR_SCENE']);
  expect(error.message).toContain('nowhere');
  expect(fs.existsSync(out)).toBe(false);
});
