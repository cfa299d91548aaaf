import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run as runParity } from '../../src/app/parity/onnx';
import { openVerifier } from '../../src/app/model/verifier';
import { AbortError, DisposedError, ShapeError, WeightsError } from '../../src/binding/errors';
import { OnnxModule } from '../../src/models/onnx';
import { createImage } from '../../src/scene';
import { Device } from '../../src/tensor/device';
import { onnxFile } from '../onnx-file';
import { temporaryFolder } from '../scene-fixtures';

const root = temporaryFolder();
const device = Device.open('cpu');
afterAll(() => device.dispose());

/** y = x + 1, z = mean of x over its last axis. */
const simple = join(root, 'simple.onnx');
writeFileSync(
  simple,
  onnxFile({
    inputs: { x: ['n', 3] },
    outputs: { y: ['n', 3], z: ['n'] },
    nodes: [
      { op: 'Add', inputs: ['x', 'one'], outputs: ['y'] },
      { op: 'ReduceMean', inputs: ['x'], outputs: ['z'], attributes: { axes: [1], keepdims: 0 } },
    ],
    constants: { one: { shape: [1], data: [1] } },
  }),
);

/** Takes a good part of a second: twelve products of 1024 x 1024 matrices. */
const slow = join(root, 'slow.onnx');
writeFileSync(
  slow,
  onnxFile({
    inputs: { x: [1024, 1024] },
    outputs: { h12: [1024, 1024] },
    nodes: Array.from({ length: 12 }, (_, i) => ({
      op: 'MatMul',
      inputs: [i === 0 ? 'x' : `h${i}`, 'x'],
      outputs: [`h${i + 1}`],
    })),
  }),
);

const matrix = { data: Float32Array.of(1, 2, 3, 4, 5, 9), shape: [2, 3] };

describe('OnnxModule', () => {
  test('tells its inputs and outputs, and computes', async () => {
    const module = await OnnxModule.open(simple);
    expect(module.inputs).toEqual([{ name: 'x', dtype: 'float32', shape: ['n', 3] }]);
    expect(module.outputs.map(({ name }) => name)).toEqual(['y', 'z']);
    const { y, z } = await module.run({ x: matrix });
    expect(y.shape).toEqual([2, 3]);
    expect(Array.from(y.data as Float32Array)).toEqual([2, 3, 4, 5, 6, 10]);
    expect(Array.from(z.data as Float32Array)).toEqual([2, 6]);
    await module.dispose();
  });

  test('runs asked for at once answer in order', async () => {
    const module = await OnnxModule.open(simple);
    const results = await Promise.all(
      [1, 2, 3].map((value) => module.run({ x: { data: new Float32Array(3).fill(value), shape: [1, 3] } })),
    );
    expect(results.map(({ z }) => Number(z.data[0]))).toEqual([1, 2, 3]);
    await module.dispose();
  });

  test('passes the perceptual reference case', async () => {
    const { tensors } = await runParity(join(__dirname, '../golden/onnx-perceptual'), {
      device,
      dtype: 'f32',
      signal: new AbortController().signal,
    });
    expect(tensors.map(({ name }) => name)).toEqual(['distance']);
    // The same runtime wrote the case; another version may sum in another order.
    expect(tensors[0].relError).toBeLessThan(1e-5);
  });

  test.each([
    ['a missing input', {}, /'x' is missing/],
    ['an unknown input', { x: matrix, w: matrix }, /no input 'w'/],
    ['a wrong type', { x: { data: new Int32Array(6), shape: [2, 3] } }, /float32 \[n,3\], got int32/],
    ['a wrong size', { x: { data: new Float32Array(8), shape: [2, 4] } }, /\[n,3\], got float32 \[2,4\]/],
    [
      'data that does not fill its shape',
      { x: { data: new Float32Array(5), shape: [2, 3] } },
      /6 elements, the data has 5/,
    ],
  ])('refuses %s', async (_, feeds, message) => {
    const module = await OnnxModule.open(simple);
    const failed = module.run(feeds);
    await expect(failed).rejects.toThrow(ShapeError);
    await expect(failed).rejects.toThrow(message);
    // The module is still good.
    expect(Array.from((await module.run({ x: matrix })).z.data as Float32Array)).toEqual([2, 6]);
    await module.dispose();
  });

  test('files that are missing or no models are WeightsErrors', async () => {
    await expect(OnnxModule.open(join(root, 'none.onnx'))).rejects.toThrow(WeightsError);
    const text = join(root, 'text.onnx');
    writeFileSync(text, 'not a model');
    await expect(OnnxModule.open(text)).rejects.toThrow(WeightsError);
  });

  test('an abort rejects at once and ends the module', async () => {
    const module = await OnnxModule.open(slow);
    const controller = new AbortController();
    const running = module.run(
      { x: { data: new Float32Array(1024 * 1024), shape: [1024, 1024] } },
      { signal: controller.signal },
    );
    setTimeout(() => controller.abort(), 20);
    const begun = performance.now();
    await expect(running).rejects.toThrow(AbortError);
    expect(performance.now() - begun).toBeLessThan(1000);
    await expect(module.run({ x: matrix })).rejects.toThrow();
    await module.dispose();
    await module.exited;
    await expect(OnnxModule.open(slow, { signal: controller.signal })).rejects.toThrow(AbortError);
  });

  test('after dispose it refuses to run', async () => {
    const module = await OnnxModule.open(simple);
    await module.dispose();
    await expect(module.run({ x: matrix })).rejects.toThrow(DisposedError);
    await module.dispose();
  });
});

describe('a verifier from an ONNX file', () => {
  const identityPose = [0, 0, 0, 0, 0, 0, 1, 1, 1];

  test('is read through the outputs of VGGT', async () => {
    const file = join(root, 'verifier.onnx');
    writeFileSync(
      file,
      onnxFile({
        inputs: { images: ['v', 3, 'h', 'w'] },
        outputs: { depth_conf: ['v', 'h', 'w'], world_points_conf: ['v', 'h', 'w'], pose_enc: [2, 9] },
        nodes: [
          { op: 'ReduceMax', inputs: ['images'], outputs: ['depth_conf'], attributes: { axes: [1], keepdims: 0 } },
          {
            op: 'ReduceMean',
            inputs: ['images'],
            outputs: ['world_points_conf'],
            attributes: { axes: [1], keepdims: 0 },
          },
          { op: 'Identity', inputs: ['poses'], outputs: ['pose_enc'] },
        ],
        constants: { poses: { shape: [2, 9], data: [...identityPose, 1, 2, 3, ...identityPose.slice(3)] } },
      }),
    );
    const verifier = await openVerifier(device, { weights: file, where: file }, { dtype: 'f32' });
    const views = [0.25, 0.75].map((red) => {
      const image = createImage(28, 14);
      image.data.fill(red, 0, 28 * 14);
      return image;
    });
    const reading = await verifier.read(views);
    expect(reading.depthConfidence.map((value) => value.toFixed(5))).toEqual(['0.25000', '0.75000']);
    expect(reading.pointConfidence[1]).toBeCloseTo(0.25, 5);
    expect(reading.worldToCam[1]).toEqual([1, 0, 0, 1, 0, 1, 0, 2, 0, 0, 1, 3]);
    verifier.dispose();
  });

  test('needs those outputs', async () => {
    await expect(openVerifier(device, { weights: simple, where: simple }, { dtype: 'f32' })).rejects.toThrow(
      /depth_conf.*inputs x \[n,3\] and outputs y, z/,
    );
  });
});
