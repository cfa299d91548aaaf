/**
 * The one event stream behind every front end. Each app is
 * `async function* (settings, { signal }): AsyncGenerator<AppEvent, Result>`; the command line, `--json`, the reports
 * and the tests are renderers of it. Apps never print.
 */

/** A named part of the work begins; `index` counts from 0 to `count - 1`. */
export interface StageEvent {
  type: 'stage';
  name: string;
  index: number;
  count: number;
}

/** `step` of `steps` units of a stage are done (`step` runs from 0, nothing done, to `steps`). */
export interface StepEvent {
  type: 'step';
  stage: string;
  step: number;
  steps: number;
  etaSec?: number;
}

/**
 * A number worth keeping: a loss, a confidence, a speed. `view` is the view index where the number belongs to one
 * view.
 */
export interface MetricEvent {
  type: 'metric';
  name: string;
  value: number;
  view?: number;
}

/** A picture was written to `path`. */
export interface ImageEvent {
  type: 'image';
  name: string;
  path: string;
}

/** Something the user should know: `warning` asks for attention, `note` is plain information. */
export interface MessageEvent {
  type: 'warning' | 'note';
  message: string;
}

/** The last event of a stream; `result` is also the generator's return value. */
export interface DoneEvent {
  type: 'done';
  result: unknown;
}

export type AppEvent = StageEvent | StepEvent | MetricEvent | ImageEvent | MessageEvent | DoneEvent;

/** What every app gets besides its settings. A fired `signal` makes the app throw AbortError at its next poll. */
export interface AppContext {
  signal: AbortSignal;
}

/** Shows events to somebody. `close` is called exactly once, also when the app fails. */
export interface Renderer {
  event(event: AppEvent): void;
  close(): void;
}

/**
 * Drives an app to its end, hands each event to the renderer and returns the app's result.
 * @throws whatever the app throws, after the renderer was closed; a renderer that throws ends the app as well.
 */
export async function runApp<Result>(app: AsyncGenerator<AppEvent, Result>, renderer: Renderer): Promise<Result> {
  try {
    for (;;) {
      const next = await app.next();
      if (next.done) return next.value;
      renderer.event(next.value);
    }
  } finally {
    // A no-op for an app that returned or threw; it lets a suspended app free its tensors when the renderer failed.
    await app.return(undefined as never).catch(() => undefined);
    renderer.close();
  }
}
