import type { AppEvent } from './events';

/**
 * Turns work that reports by calling back into a stream: yields what `work` emits while it runs and returns its
 * result. `work` gets a signal that also fires when the consumer stops listening; the stream ends only after the work
 * has.
 */
export async function* withEvents<T>(
  signal: AbortSignal,
  work: (emit: (event: AppEvent) => void, signal: AbortSignal) => Promise<T>,
): AsyncGenerator<AppEvent, T> {
  const queue: AppEvent[] = [];
  let wake: () => void = () => undefined;
  const stopped = new AbortController();
  let finished = false;
  const emit = (event: AppEvent): void => {
    queue.push(event);
    wake();
  };
  const abort = (): void => stopped.abort(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  const running = work(emit, stopped.signal).finally(() => {
    finished = true;
    wake();
  });
  // Awaited below; a failure while the consumer holds an event must not count as unhandled.
  running.catch(() => undefined);
  try {
    for (;;) {
      while (queue.length > 0) yield queue.shift()!;
      if (finished) break;
      await new Promise<void>((resolve) => {
        wake = resolve;
        if (finished || queue.length > 0) resolve();
      });
    }
  } finally {
    if (!finished) stopped.abort();
    await running.catch(() => undefined);
    signal.removeEventListener('abort', abort);
  }
  return running;
}
