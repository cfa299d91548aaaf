/** The device of an app's run. */
import { AbortError } from '../binding/errors';
import { Device } from '../tensor/device';
import type { AppEvent } from './events';

/**
 * Runs `work` on a device that is opened here and closed after it. A fired signal drops the device's queue, and whatever then fails
 * because of that comes out as AbortError.
 */
export async function* onDevice<Result>(
  name: string,
  signal: AbortSignal,
  work: (device: Device) => AsyncGenerator<AppEvent, Result>,
): AsyncGenerator<AppEvent, Result> {
  const device = Device.open(name);
  const abort = (): void => device.abort();
  signal.addEventListener('abort', abort, { once: true });
  try {
    return yield* work(device);
  } catch (error) {
    if (signal.aborted && !(error instanceof AbortError)) throw new AbortError('aborted', { cause: error });
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
    // The device lives on where the caller holds it too; what this run cached need not.
    device.trim();
    device.dispose();
  }
}
