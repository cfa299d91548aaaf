import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parity } from '../../src/app/parity';
import { loadBinding } from '../../src/binding/load';
import { describeUnless } from '../describe-unless';

const golden = resolve(__dirname, '../golden');
const cases = readdirSync(golden)
  .map((name) => join(golden, name))
  .filter((dir) => existsSync(join(dir, 'case.json')))
  .sort();

/** Why nothing can run on CUDA here. */
function missing(): string | undefined {
  const info = loadBinding().binding.buildInfo();
  if (!info.cuda) return 'the add-on in use has no CUDA code (npm run build:cuda)';
  return info.cudaUnavailable || undefined;
}

describeUnless(missing(), 'golden cases on CUDA', () => {
  test.each(['f32', 'bf16'] as const)('%s', async (dtype) => {
    const stream = parity(cases, { device: 'cuda', dtype, signal: new AbortController().signal });
    let step = await stream.next();
    while (!step.done) step = await stream.next();
    const failed = step.value.cases
      .filter((result) => !result.pass)
      .map((result) => `${result.dir}: ${result.error ?? JSON.stringify(result.errors)}`);
    expect(failed).toEqual([]);
    expect(step.value.cases).toHaveLength(cases.length);
  });
});
