/** Apps run to their end by tests. */
import { existsSync } from 'node:fs';
import type { AppContext, AppEvent } from '../../src/app/events';
import type { RlError } from '../../src/binding/errors';
import type { Device } from '../../src/tensor/device';

export interface Run<Result> {
  events: AppEvent[];
  result?: Result;
  error?: unknown;
  /** From the abort to the rejection. */
  abortMs?: number;
}

/**
 * Runs an app as far as it comes. `abortAt` is asked after every event: the abort follows at once, or `delayMs` later, in the midst of
 * what follows the event.
 */
export async function runToEnd<Result>(
  start: (context: AppContext) => AsyncGenerator<AppEvent, Result>,
  abortAt?: (event: AppEvent) => boolean,
  delayMs?: number,
): Promise<Run<Result>> {
  const controller = new AbortController();
  const { signal } = controller;
  const events: AppEvent[] = [];
  let abortedAt: number | undefined;
  const abort = (): void => {
    abortedAt ??= performance.now();
    controller.abort();
  };
  try {
    const app = start({ signal });
    for (;;) {
      const next = await app.next();
      if (next.done) return { events, result: next.value };
      events.push(next.value);
      if (signal.aborted || !abortAt?.(next.value)) continue;
      if (delayMs === undefined) abort();
      else setTimeout(abort, delayMs);
    }
  } catch (error) {
    return { events, error, abortMs: abortedAt === undefined ? undefined : performance.now() - abortedAt };
  }
}

/** The steps that a stage reported. */
export const stepsOf = (events: readonly AppEvent[], stage: string): number[] =>
  events.flatMap((event) => (event.type === 'step' && event.stage === stage ? [event.step] : []));

/** What a run is refused with: the settings at fault, the error's class and its message. */
export type Refusal<Settings> = [name: string, given: () => Partial<Settings>, errorClass: new (message: string) => RlError, message: RegExp];

/** Runs settings that must be refused, leaving no folder and no tensor. */
export async function expectRefusal<Settings extends { out: string }>(
  device: Device,
  run: (settings: Settings) => Promise<Run<unknown>>,
  settings: Settings,
  [, , errorClass, message]: Refusal<Settings>,
): Promise<void> {
  const baseline = device.memory().liveTensors;
  const { error } = await run(settings);
  expect(error).toBeInstanceOf(errorClass);
  expect((error as Error).message).toMatch(message);
  expect(existsSync(settings.out)).toBe(false);
  expect(device.memory().liveTensors).toBe(baseline);
}
