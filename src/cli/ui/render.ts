import type { AppEvent, MetricEvent, Renderer, StageEvent, StepEvent } from '../../app/events';
import { formatNumber } from './format';
import type { Log } from './log';
import { Progress } from './progress';
import type { ProgressOptions } from './progress';

/**
 * Shows an app's events on stderr: stages and steps as progress, the rest as log lines. Below level `info` only
 * warnings appear.
 */
export class TerminalRenderer implements Renderer {
  /** Absent below level `info`. */
  protected readonly progress: Progress | undefined;

  constructor(
    protected readonly log: Log,
    options: ProgressOptions = {},
  ) {
    if (!log.enabled('info')) return;
    this.progress = new Progress(options);
    log.beforeLine = () => this.clear();
  }

  event(event: AppEvent): void {
    switch (event.type) {
      case 'stage':
        this.stage(event);
        break;
      case 'step':
        this.step(event);
        break;
      case 'metric':
        this.log.debug(
          `${event.name}${event.view === undefined ? '' : ` of view ${event.view}`}: ${formatNumber(event.value)}`,
        );
        this.metric(event);
        break;
      case 'image':
        this.log.debug(`${event.name}: ${event.path}`);
        break;
      case 'warning':
        this.log.warn(event.message);
        break;
      case 'note':
        this.log.info(event.message);
        break;
      case 'done':
        break;
    }
  }

  close(): void {
    this.progress?.close();
    this.log.beforeLine = () => undefined;
  }

  protected stage({ name, index, count }: StageEvent): void {
    this.progress?.stage(name, index, count);
  }

  protected step({ step, steps, etaSec }: StepEvent): void {
    this.progress?.update(step, steps, etaSec);
  }

  protected metric({ name, value, view }: MetricEvent): void {
    if (view === undefined) this.progress?.figure(name, value);
  }

  /** Removes what is drawn so that a message can be written. */
  protected clear(): void {
    this.progress?.clear();
  }
}
