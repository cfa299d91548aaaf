import { formatNumber, formatSeconds } from './format';
import type { LogStream } from './log';

export interface ProgressOptions {
  stream?: LogStream & { columns?: number };
  /** A bar that redraws itself; otherwise plain lines. Default: the stream is a terminal and CI is not set. */
  interactive?: boolean;
  /** Clock in milliseconds; tests give their own. */
  now?: () => number;
}

export const frameMs = 100;
const plainLineMs = 5000;
/** Weight of the newest interval in the running average of the speed. */
const smoothing = 0.3;
/** Longer names would push the figures that matter off the line. */
const maxFigureName = 24;

/** The options with what stands in for those not given. */
export function withDefaults({ stream = process.stderr, interactive, now }: ProgressOptions): Required<ProgressOptions> {
  return {
    stream,
    interactive: interactive ?? (stream.isTTY === true && !process.env.CI),
    now: now ?? (() => performance.now()),
  };
}

/**
 * One line of progress: stage, bar, steps, speed, ETA, latest figures. On a terminal it is redrawn at most ten times a
 * second; else a plain line appears at the start of a stage, every few seconds, and at its end.
 */
export class Progress {
  private readonly stream: LogStream & { columns?: number };
  private readonly interactive: boolean;
  private readonly now: () => number;
  private title = '';
  private step = 0;
  private steps = 0;
  private givenEtaSec: number | undefined;
  private stepsPerSec = 0;
  private lastStepMs = 0;
  private stageStartMs = 0;
  private lastDrawMs = Number.NEGATIVE_INFINITY;
  private drawn = false;
  private readonly figures = new Map<string, number>();

  constructor(options: ProgressOptions = {}) {
    ({ stream: this.stream, interactive: this.interactive, now: this.now } = withDefaults(options));
  }

  /** Begins a stage (`index` from 0) and forgets the speed of the one before. */
  stage(name: string, index: number, count: number): void {
    this.endStage();
    this.title = count > 1 ? `[${index + 1}/${count}] ${name}` : name;
    this.step = 0;
    this.steps = 0;
    this.stepsPerSec = 0;
    this.givenEtaSec = undefined;
    this.figures.clear();
    this.stageStartMs = this.lastStepMs = this.now();
    this.draw(true);
  }

  /** `step` of `steps` are done. */
  update(step: number, steps: number, etaSec?: number): void {
    const now = this.now();
    const elapsedSec = (now - this.lastStepMs) / 1000;
    if (step > this.step && elapsedSec > 0) {
      const speed = (step - this.step) / elapsedSec;
      this.stepsPerSec = this.stepsPerSec === 0 ? speed : smoothing * speed + (1 - smoothing) * this.stepsPerSec;
      this.lastStepMs = now;
    }
    this.step = step;
    this.steps = steps;
    this.givenEtaSec = etaSec;
    this.draw(false);
  }

  /** A figure shown at the end of the line: a loss, a confidence. */
  figure(name: string, value: number): void {
    if (name.length > maxFigureName) return;
    this.figures.delete(name);
    this.figures.set(name, value);
  }

  /** Removes the bar so that a message can be written; the next update brings it back. */
  clear(): void {
    if (!this.drawn) return;
    this.stream.write('\r\x1b[2K');
    this.drawn = false;
    this.lastDrawMs = Number.NEGATIVE_INFINITY;
  }

  /** Ends the last stage and leaves the cursor on a fresh line. */
  close(): void {
    this.endStage();
    this.title = '';
  }

  private endStage(): void {
    if (this.title === '') return;
    this.clear();
    const seconds = formatSeconds((this.now() - this.stageStartMs) / 1000);
    this.stream.write(
      `${this.title}: ${this.steps > 0 ? `${this.step}/${this.steps}, ` : ''}${seconds}${this.figureText()}\n`,
    );
  }

  private draw(force: boolean): void {
    const now = this.now();
    if (!force && now - this.lastDrawMs < (this.interactive ? frameMs : plainLineMs)) return;
    this.lastDrawMs = now;
    const line = this.line();
    if (!this.interactive) {
      this.stream.write(`${line}\n`);
      return;
    }
    const width = Math.max(20, (this.stream.columns ?? 80) - 1);
    this.stream.write(`\r\x1b[2K${line.slice(0, width)}`);
    this.drawn = true;
  }

  private line(): string {
    if (this.steps === 0) return `${this.title} …`;
    const share = Math.min(1, Math.max(0, this.step / this.steps));
    const parts = [`${this.step}/${this.steps}`];
    if (this.stepsPerSec > 0) {
      parts.push(
        this.stepsPerSec >= 1 ? `${formatNumber(this.stepsPerSec)} it/s` : `${formatNumber(1 / this.stepsPerSec)} s/it`,
      );
    }
    const etaSec = this.givenEtaSec ?? (this.stepsPerSec > 0 ? (this.steps - this.step) / this.stepsPerSec : undefined);
    if (etaSec !== undefined && this.step < this.steps) parts.push(`ETA ${formatSeconds(etaSec)}`);
    const cells = 20;
    const full = Math.round(share * cells);
    const bar = this.interactive ? ` ${'█'.repeat(full)}${'░'.repeat(cells - full)}` : '';
    return `${this.title}${bar} ${parts.join(', ')}${this.figureText()}`;
  }

  private figureText(): string {
    const latest = [...this.figures].slice(-3);
    return latest.map(([name, value]) => `, ${name} ${formatNumber(value)}`).join('');
  }
}
