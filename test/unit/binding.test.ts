import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { Worker } from 'node:worker_threads';
import { DisposedError, OutOfMemoryError, ShapeError } from '../../src/binding/errors';
import { loadBinding } from '../../src/binding/load';
import type { Binding } from '../../src/binding/types';
import { Device } from '../../src/tensor/device';

/** Complete both ways: an entry that is no key of Binding, or a key that is missing here, does not compile. */
const names = [
  'buildInfo', 'setThreads', 'createDevice', 'disposeDevice', 'sync', 'abort', 'memory', 'opTimes', 'trim', 'setMatmulPrecision',
  'empty', 'upload', 'read', 'tensorInfo', 'reshape', 'narrowRows', 'disposeTensor', 'openSafetensors', 'safetensorsEntries',
  'loadTensor', 'closeSafetensors', 'raycast', 'raycastGBuffer', 'shadeGBuffer', 'ops',
] as const satisfies readonly (keyof Binding)[];
type Missing = Exclude<keyof Binding, (typeof names)[number]>;
const nothingMissing: [Missing] extends [never] ? true : Missing = true;

const addon = loadBinding().path;
const built = path.resolve(__dirname, '../../dist/binding/load.js');

/** Loads the add-on in a process of its own. */
function load(file: string): { status: number | null; stderr: string } {
  const script = `require(${JSON.stringify(built)}).loadBinding()`;
  return spawnSync(process.execPath, ['-e', script], {
    encoding: 'utf8',
    timeout: 60_000,
    env: { PATH: process.env.PATH, RL3DEDIT_BINDING: file },
  });
}

describe('exports', () => {
  it('are those of the Binding interface, no more and no fewer', () => {
    const { binding } = loadBinding();
    expect(nothingMissing).toBe(true);
    expect(Object.keys(binding).sort()).toEqual([...names].sort());
    for (const name of names) expect([name, typeof binding[name]]).toEqual([name, name === 'ops' ? 'object' : 'function']);
    for (const [name, op] of Object.entries(binding.ops)) expect([name, typeof op]).toEqual([name, 'function']);
  });

  it('buildInfo says how it was built and what it may use', () => {
    const info = loadBinding().binding.buildInfo();
    expect(info).toMatchObject({ compiler: expect.any(String), napiVersion: 9, cpuFeatures: expect.any(String), cuda: expect.any(Boolean) });
    expect(info.compiler.length).toBeGreaterThan(0);
    expect(info.threads).toBeGreaterThanOrEqual(1);
    const cudaFields = ['cudaRuntime', 'cudaArchitectures', 'cudaDeviceCount', 'cudaUnavailable', 'cudaDevices'];
    expect(Object.keys(info).filter((key) => cudaFields.includes(key)).sort()).toEqual(info.cuda ? cudaFields.sort() : []);
  });
});

describe('loading', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rl3dedit-binding-'));
  afterAll(() => fs.rmSync(folder, { recursive: true }));

  it('names a missing file and the command that mends it', () => {
    const file = path.join(folder, 'none.node');
    const { status, stderr } = load(file);
    expect(status).toBe(1);
    expect(stderr).toContain(`the native add-on could not be loaded:\n  ${file}: not there\n`);
    expect(stderr).toContain('npm run build');
  });

  it('names a file that is no add-on, with the reason', () => {
    const file = path.join(folder, 'garbage.node');
    fs.writeFileSync(file, 'no ELF '.repeat(100));
    const { status, stderr } = load(file);
    expect(status).toBe(1);
    expect(stderr).toMatch(/could not be loaded:\n {2}\S*garbage\.node: .*(invalid ELF header|file too short)/);
  });

  it('works in a worker thread, and ending it in the middle of its work ends nothing else', async () => {
    const script = `
      const { parentPort } = require('node:worker_threads');
      const binding = require(${JSON.stringify(addon)});
      const device = binding.createDevice('cpu').handle;
      const x = binding.empty(device, [256, 256], 'f32');
      binding.upload(x, new Float32Array(65536).fill(0.5));
      binding.read(binding.ops.matmul(x, x, null, false, false, 'none')).then((bytes) => {
        for (let i = 0; i < 200; i++) binding.disposeTensor(binding.ops.matmul(x, x, null, false, false, 'none'));
        binding.sync(device);
        parentPort.postMessage(new Float32Array(bytes)[0]);
      });
      setInterval(() => {}, 1000);`;
    const workers = [1, 2].map(() => new Worker(script, { eval: true }));
    const first = await Promise.all(
      workers.map((worker) => new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))),
    );
    expect(first).toEqual([64, 64]);
    await Promise.all(workers.map((worker) => worker.terminate()));
    using device = Device.open('cpu');
    using x = device.tensor([1, 2]);
    expect([...(await x.toFloat32())]).toEqual([1, 2]);
  });

  it('works after the modules are loaded again', async () => {
    jest.resetModules();
    const again = jest.requireActual<{ Device: typeof Device }>('../../src/tensor/device');
    expect(again.Device).not.toBe(Device);
    const device = again.Device.open('cpu');
    const x = device.tensor([3, 4]);
    expect([...(await x.toFloat32())]).toEqual([3, 4]);
    x.dispose();
    device.dispose();
  });
});

describe('misuse gives typed errors', () => {
  const { binding } = loadBinding();
  const device = Device.open('cpu');
  afterAll(() => device.dispose());

  it('of a disposed device', async () => {
    const gone = Device.open('cpu');
    gone.dispose();
    gone.dispose();
    expect(() => gone.empty([1])).toThrow(DisposedError);
    expect(() => gone.tensor([1])).toThrow('this device was disposed');
    expect(() => gone.memory()).toThrow(DisposedError);
    expect(() => gone.trim()).toThrow(DisposedError);
    expect(() => gone.abort()).toThrow(DisposedError);
    expect(() => gone.opTimes()).toThrow(DisposedError);
    expect(() => (gone.matmulPrecision = 'bf16')).toThrow(DisposedError);
    await expect(gone.sync()).rejects.toThrow(DisposedError);
  });

  it('of a disposed tensor, also when its slot is used again', async () => {
    const x = device.tensor([1, 2]);
    const { handle } = x;
    x.dispose();
    using successor = device.tensor([5, 6]);
    expect(() => x.handle).toThrow(DisposedError);
    expect(() => x.write(new Float32Array(2))).toThrow(DisposedError);
    await expect(x.read()).rejects.toThrow(DisposedError);
    expect(() => binding.tensorInfo(handle)).toThrow(expect.objectContaining({ code: 'ERR_DISPOSED' }));
    binding.disposeTensor(handle);
    expect([...(await successor.toFloat32())]).toEqual([5, 6]);
  });

  it.each([-1, NaN, Infinity, 2 ** 53, 0.5 + 2 ** 30])('of the handle %p, which nobody was given', (handle) => {
    expect(() => binding.tensorInfo(handle)).toThrow(expect.objectContaining({ code: 'ERR_DISPOSED' }));
  });

  it('of uploads that do not fit', async () => {
    using x = device.tensor([1, 2, 3]);
    expect(() => x.write(new Float32Array(2))).toThrow('upload: tensor [3] f32 has 12 bytes, the array has 8');
    expect(() => x.write(new Float32Array(4))).toThrow(ShapeError);
    expect(() => device.tensor([1, 2, 3], [2, 2])).toThrow('tensor: [2,2] has 4 elements, the data has 3');
    expect(() => device.tensor([1, 2, 3, 4], [-2, -2])).toThrow(ShapeError);
    expect(() => binding.upload(x.handle, 'text' as unknown as ArrayBufferView)).toThrow('expected a typed array');
    expect([...(await x.toFloat32())]).toEqual([1, 2, 3]);
  });

  it('of calls with wrong arguments', () => {
    expect(() => binding.createDevice('gpu')).toThrow(expect.objectContaining({ code: 'ERR_CONFIG' }));
    expect(() => binding.empty(device.handle, [1], 'f31')).toThrow(expect.objectContaining({ code: 'ERR_SHAPE' }));
    expect(() => binding.ops.matmul(1)).toThrow(/matmul: takes 6 arguments, got 1/);
    expect(() => (binding.memory as (x: unknown) => unknown)('x')).toThrow(/must be a number/);
  });

  it('of more memory than there is, and the process goes on', async () => {
    const ask = (): unknown => device.empty([2 ** 48], 'f32'); // 2^50 bytes
    expect(ask).toThrow(OutOfMemoryError);
    expect(ask).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_MEMORY', exitCode: 4 }));
    expect(ask).toThrow(/1073741824 MiB requested, \d+ MiB free/);
    expect(() => device.empty([2 ** 40, 2 ** 40])).toThrow(ShapeError);
    using x = device.tensor([7]);
    expect([...(await x.toFloat32())]).toEqual([7]);
  });
});
