import { join } from 'node:path';
import { edit } from '../../src/app/edit';
import { editSchema } from '../../src/config/edit';
import { Device } from '../../src/tensor/device';
import { orbitTransforms, temporaryFolder, writeScene } from '../scene-fixtures';
import { writeRandomTinyModel } from './tiny-model';

const root = temporaryFolder();

test('edits leave no tensors and little memory behind', async () => {
  const device = Device.open('cpu');
  const model = await writeRandomTinyModel(join(root, 'model'), device);
  const scene = await writeScene(join(root, 'scene'), orbitTransforms());
  const runs = 12;
  const rssMb: number[] = [];
  const tensors: number[] = [];
  for (let i = 0; i < runs; i++) {
    const settings = editSchema.parse({
      scene,
      model,
      prompt: 'make it night',
      out: join(root, 'out'),
      overwrite: true,
      device: 'cpu',
      views: 3,
      seed: i,
      steps: 2,
      refit: 'none',
    });
    const app = edit(settings, { signal: new AbortController().signal });
    while (!(await app.next()).done);
    rssMb.push(process.memoryUsage().rss / 2 ** 20);
    tensors.push(device.memory().liveTensors);
  }
  device.dispose();
  expect(tensors).toEqual(new Array(runs).fill(tensors[0]));
  // Jest keeps every module and the compiler in the process, hence the slack; leak-50.mjs has the strict limit.
  expect(rssMb[runs - 1] - rssMb[4]).toBeLessThan(0.1 * rssMb[4]);
});
