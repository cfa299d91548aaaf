import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, WeightsError } from '../../src/binding/errors';
import { openCustomReward, type RewardGroup } from '../../src/rewards';
import { createImage } from '../../src/scene';
import { onnxFile } from '../onnx-file';
import { temporaryFolder } from '../scene-fixtures';

const root = temporaryFolder();
function file(name: string, content: string | Buffer): string {
  const path = join(root, name);
  writeFileSync(path, content);
  return path;
}

const picture = (value: number) => {
  const image = createImage(4, 2);
  image.data.fill(value);
  return image;
};
const reading = { depth: { mean: [], meanLog: [] }, point: { mean: [], meanLog: [] }, worldToCam: [] };
const camera = { fx: 1, fy: 1, cx: 0, cy: 0, worldToCam: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0] };
const group: RewardGroup = {
  instruction: 'x',
  before: [picture(0), picture(0)],
  cameras: [camera, camera],
  rollouts: [[picture(0.25), picture(0.75)], [picture(1), picture(0.5)]],
  anchor: { view: 0, picture: picture(0) },
  readings: [reading, reading],
  readingBefore: reading,
};

describe('custom reward', () => {
  it('is a TypeScript file', async () => {
    const path = file('mean.ts', `
      interface Group { rollouts: { data: Float32Array }[][] }
      export const name = 'brightness';
      export const floor = 0.5;
      export async function score(group: Group): Promise<number[]> { return group.rollouts.map((set) => set[1].data[0]); }
    `);
    const term = await openCustomReward(path, 2);
    expect([term.name, term.weight, term.floor([1])]).toEqual(['custom:brightness', 2, 0.5]);
    expect(await term.score(group)).toEqual([0.75, 0.5]);
  });

  it('lets NaN pass, and names the file and what is wrong', async () => {
    const opened = async (body: string): Promise<number[]> => (await openCustomReward(file('r.ts', `export function score(): unknown { ${body} }`), 1)).score(group);
    expect(await opened('return [NaN, 1];')).toEqual([NaN, 1]);
    expect(await opened('return Float32Array.of(1, 2);')).toEqual([1, 2]);
    await expect(opened('return [1];')).rejects.toThrow(/r\.ts: score\(\) gave 1 values for 2 rollouts/);
    await expect(opened('return [1, "2"];')).rejects.toThrow(/value 1 is "2", expected a number/);
    await expect(opened('return new Array(2);')).rejects.toThrow(/value 0 is undefined/);
    await expect(opened('return 3;')).rejects.toThrow(ConfigError);
    await expect(opened('throw new Error("boom");')).rejects.toThrow(/r\.ts: score\(\) failed: boom/);
  });

  it.each([
    ['none.ts', 'export const name = "a";', /none\.ts: exports no function 'score' \(found undefined\)/],
    ['named.ts', 'export const name = "a b"; export const score = () => [];', /'name' is "a b"/],
    ['floor.ts', 'export const floor = -1; export const score = () => [];', /'floor' is -1/],
    ['syntax.ts', 'export const = 3;', /syntax\.ts/],
    ['throws.ts', 'throw new Error("at load"); export {};', /throws\.ts: does not load: at load/],
    ['reward.py', '', /reward\.py: expected a file ending in/],
  ])('refuses %s', async (name, content, message) => {
    const opening = openCustomReward(file(name, content), 1);
    await expect(opening).rejects.toThrow(ConfigError);
    await expect(openCustomReward(join(root, name), 1)).rejects.toThrow(message);
  });

  it('must exist', () => expect(openCustomReward(join(root, 'missing.js'), 1)).rejects.toThrow(/missing\.js: no such file/));

  it('is an ONNX file', async () => {
    const means = (axes: number[], output: readonly (number | string)[], name: string) =>
      file(name, onnxFile({
        inputs: { views: ['m', 3, 'h', 'w'] },
        outputs: { y: output },
        nodes: [{ op: 'ReduceMean', inputs: ['views'], outputs: ['y'], attributes: { axes, keepdims: 0 } }],
      }));
    const term = await openCustomReward(means([0, 1, 2, 3], [], 'mean.onnx'), 1);
    expect(await term.score(group)).toEqual([0.5, 0.75]);
    await term.dispose?.();
    const perView = await openCustomReward(means([1, 2, 3], ['m'], 'views.onnx'), 1);
    await expect(perView.score(group)).rejects.toThrow(/gave 2 numbers for a rollout/);
    await perView.dispose?.();
    const vector = file('vector.onnx', onnxFile({ inputs: { x: ['n'] }, outputs: { y: ['n'] }, nodes: [{ op: 'Relu', inputs: ['x'], outputs: ['y'] }] }));
    await expect(openCustomReward(vector, 1)).rejects.toThrow(WeightsError);
  });

  // A test runner has its own import(): plain Node loads the JavaScript kinds, by this very source.
  it('is a JavaScript file of any kind', () => {
    file('a.cjs', 'exports.score = (group) => group.rollouts.map(() => 1);');
    file('b.mjs', 'export const score = (group) => group.rollouts.map(() => 2);');
    const project = join(__dirname, '../..');
    const script = `
      const [source, bundle] = process.argv.slice(1);
      require('esbuild').buildSync({ entryPoints: [source], outfile: bundle, bundle: true, platform: 'node', packages: 'external', format: 'cjs' });
      const { openCustomReward } = require(bundle);
      process.chdir(require('path').dirname(bundle));
      (async () => { for (const f of ['a.cjs', 'b.mjs']) console.log(await (await openCustomReward(f, 1)).score({ rollouts: [[], []] })); })();`;
    const { stdout, stderr } = spawnSync(process.execPath, ['-e', script, join(project, 'src/rewards/custom.ts'), join(root, 'custom.cjs')], {
      cwd: project,
      env: { PATH: process.env.PATH, NODE_PATH: join(project, 'node_modules') },
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    expect(stdout).toBe('[ 1, 1 ]\n[ 2, 2 ]\n');
  });
});
