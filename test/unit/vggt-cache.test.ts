import { TensorCache } from '../../src/models/vggt/positions';
import { Device } from '../../src/tensor/device';

test('the table cache drops what was not used for longest, never what was just taken', () => {
  using device = Device.open('cpu');
  const cache = new TensorCache(2);
  const take = (key: string) => cache.get(device, key, () => [device.tensor([1, 2], [2])])[0];
  const a = take('a');
  const b = take('b');
  expect(take('a')).toBe(a);
  take('c');
  expect(a.disposed).toBe(false);
  expect(b.disposed).toBe(true);
  cache.dispose();
  expect(a.disposed).toBe(true);
});
