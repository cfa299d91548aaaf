/** Every op has all its files where a reader looks for them. A failure names the file that is missing. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { loadBinding } from '../../src/binding/load';

const root = path.resolve(__dirname, '../..');
const read = (file: string): string => fs.readFileSync(path.join(root, file), 'utf8');
const exists = (file: string): boolean => fs.existsSync(path.join(root, file));
const list = (folder: string): string[] =>
  fs.readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' }).map((name) => `${folder}/${name}`).sort();

const sources = (JSON.parse(read('native/sources.gypi')) as { variables: Record<'op_files' | 'cuda_files', string[]> }).variables;
const files = list('native/ops').filter((file) => /\.(cc|cu)$/.test(file));
const wrappers = list('src/tensor/ops').filter((file) => file.endsWith('.ts')).map(read).join('\n');

/** Ops whose CUDA code is not in a .cu of their own name, and why. */
const cudaElsewhere: Record<string, string> = {
  matmul: 'backend/cuda/gemm.cc', // cuBLASLt
  layernorm: 'ops/nn/norm_rows.cu', // shares the kernel over rows with modulate
  modulate: 'ops/nn/norm_rows.cu',
  raycast: '', // renders training scenes on the host; CUDA tensors get a typed error
};
/** Files whose op is registered in a neighbour. */
const ownerOf: Record<string, string> = { raycast_op: 'raycast' };
/** Native tests that cover an op of another name. */
const testedBy: Record<string, string> = {
  attention: 'attention_op', // attention.test.cc is the CPU backend's
  fill: 'cast',
  select: 'cast',
  in_place: 'adamw',
  mcmc_noise: 'mcmc',
  mcmc_relocation: 'mcmc',
  splat_blend_backward: 'splat_blend',
  splat_project_backward: 'splat_project',
  splat_tile_counts: 'splat_bin',
};
const benchedBy: Record<string, string> = {
  attention: 'attention_op',
  mcmc_noise: 'mcmc',
  mcmc_relocation: 'mcmc',
  splat_blend_backward: 'splat_blend',
  splat_lift: 'splat_blend',
  splat_project_backward: 'splat_project',
  splat_tile_counts: 'splat_bin',
};

interface Kernel {
  /** File name without extension. */
  name: string;
  folder: string;
  ops: string[];
}

const kernels: Kernel[] = files
  .filter((file) => file.endsWith('.cc'))
  .map((file) => {
    const ops = [...read(file).matchAll(/^RL_OP\((\w+)\);|register_op\("(\w+)"/gm)].map((match) => match[1] ?? match[2]);
    const stem = path.basename(file, '.cc');
    return { name: ownerOf[stem] ?? stem, folder: path.dirname(file), ops };
  })
  .filter(({ ops }) => ops.length > 0);

it('finds every op that the add-on exports', () => {
  expect(kernels.flatMap(({ ops }) => ops).sort()).toEqual(Object.keys(loadBinding().binding.ops).sort());
});

it('no two files of ops share a name', () => {
  const seen = new Map<string, string>();
  const twice: string[] = [];
  for (const file of list('native/ops').filter((name) => /\.\w+$/.test(name))) {
    const name = path.basename(file);
    if (seen.has(name)) twice.push(`${file} and ${seen.get(name)}`);
    seen.set(name, file);
  }
  expect(twice).toEqual([]);
});

it('every source is compiled, and every compiled source is there', () => {
  const listed = [...sources.op_files, ...sources.cuda_files.filter((file) => file.startsWith('ops/'))].map((file) => `native/${file}`);
  expect(listed.sort()).toEqual(files);
});

it('the lists above name only what there is', () => {
  const names = kernels.map(({ name }) => name);
  for (const name of [cudaElsewhere, testedBy, benchedBy].flatMap(Object.keys)) expect(names).toContain(name);
});

describe.each(kernels.map((kernel): [string, Kernel] => [kernel.name, kernel]))('%s', (name, { folder, ops }) => {
  const missing = (what: string, needed: string[]): void =>
    expect(needed.filter((file) => !exists(file)).map((file) => `${what} is missing: ${file}`)).toEqual([]);

  it('has a contract, CPU code and CUDA code', () => {
    missing('contract', [`${folder}/${name}.h`]);
    expect([`${folder}/${name}.h opens with`, read(`${folder}/${name}.h`).slice(0, 3)]).toEqual([`${folder}/${name}.h opens with`, '// ']);
    missing('CPU code', [`${folder}/${name}.cc`]);
    expect(sources.op_files).toContain(`${folder}/${name}.cc`.replace('native/', ''));
    const cuda = cudaElsewhere[name] ?? `${folder}/${name}.cu`.replace('native/', '');
    if (cuda === '') return;
    missing('CUDA code', [`native/${cuda}`]);
    expect(sources.cuda_files).toContain(cuda);
  });

  it('has a native test that calls it', () => {
    const file = `test/native/${testedBy[name] ?? name}.test.cc`;
    missing('native test', [file]);
    const text = read(file);
    expect(ops.filter((op) => !new RegExp(`\\b${op}(_views)?\\(`).test(text)).map((op) => `${file} does not call ${op}`)).toEqual([]);
  });

  it('has a bench', () => missing('bench', [`bench/kernels/${benchedBy[name] ?? name}.bench.cc`]));

  it('has a TypeScript wrapper', () => {
    const unused = ops.filter((op) => !new RegExp(`\\bcall(Many|InPlace)?\\(\\s*'${op}',`).test(wrappers));
    expect(unused.map((op) => `no wrapper in src/tensor/ops calls ${op}`)).toEqual([]);
  });
});
