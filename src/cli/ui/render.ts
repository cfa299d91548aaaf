import type { AppEvent, Renderer } from '../../app/events';
import { formatNumber } from './format';
import type { Log } from './log';
import { Progress } from './progress';
import type { ProgressOptions } from './progress';

/**
 * Shows an app's events on stderr: stages and steps as progress, the rest as log lines. Below level `info` only
 * warnings appear.
 */
export class TerminalRenderer implements Renderer {
  private readonly progress: Progress | undefined;

  constructor(
    private readonly log: Log,
    options: ProgressOptions = {},
  ) {
    if (log.enabled('info')) {
      const progress = new Progress(options);
      this.progress = progress;
      log.beforeLine = () => progress.clear();
    }
  }

  event(event: AppEvent): void {
    switch (event.type) {
      case 'stage':
        this.progress?.stage(event.name, event.index, event.count);
        break;
      case 'step':
        this.progress?.update(event.step, event.steps, event.etaSec);
        break;
      case 'metric':
        if (event.view === undefined) this.progress?.figure(event.name, event.value);
        this.log.debug(
          `${event.name}${event.view === undefined ? '' : ` of view ${event.view}`}: ${formatNumber(event.value)}`,
        );
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
}
