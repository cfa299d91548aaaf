import type { AppEvent, MetricEvent, StageEvent, StepEvent } from '../../app/events';
import { formatNumber, formatSeconds } from './format';
import type { Log, LogStream } from './log';
import { frameMs, withDefaults } from './progress';
import type { ProgressOptions } from './progress';
import { TerminalRenderer } from './render';

/** Stage of the event stream whose steps are updates. */
export const trainStage = 'train';
const prefix = 'train.';
const plainEvery = 10;
const sparkCells = 24;
const sparks = '▁▂▃▄▅▆▇█';
/** Weight of the newest update in the running average of the speed. */
const smoothing = 0.2;

/**
 * Shows a training run on stderr. On a terminal a block of a few lines is redrawn in place: update, ETA, rewards with
 * their course, ratio, clipping, KL, the last evaluation, the last warning. Elsewhere one line per ten updates. Other
 * stages appear as plain progress before training, and inside the block during it.
 *
 * Figures come as metric events `train.<name>`: `train.reward.depth`, else with the names of metrics.jsonl
 * (`train.ratio.mean`, `train.clipFraction.high`, `train.evaluation.warpError`).
 */
export class TrainView extends TerminalRenderer {
  private readonly stream: LogStream & { columns?: number };
  private readonly interactive: boolean;
  private readonly now: () => number;
  private readonly figures = new Map<string, number>();
  private readonly courses = new Map<string, number[]>();
  private training = false;
  private update = 0;
  private updates = 0;
  private etaSec: number | undefined;
  private secondsPerUpdate = 0;
  private lastUpdateMs = 0;
  private evaluatedAt: number | undefined;
  private inner = '';
  private warning = '';
  private drawnLines = 0;
  private lastDrawMs = Number.NEGATIVE_INFINITY;
  private lastPlain = -1;

  constructor(log: Log, options: ProgressOptions = {}) {
    super(log, options);
    ({ stream: this.stream, interactive: this.interactive, now: this.now } = withDefaults(options));
  }

  override event(event: AppEvent): void {
    if (event.type === 'warning') this.warning = event.message;
    super.event(event);
  }

  override close(): void {
    if (this.training && this.progress) {
      if (this.interactive) {
        this.draw(true);
        this.stream.write('\n');
        this.drawnLines = 0;
      } else if (this.lastPlain !== this.update) this.stream.write(`${this.plainLine()}\n`);
    }
    super.close();
  }

  protected override stage(event: StageEvent): void {
    const { name } = event;
    if (name === trainStage && !this.training) this.begin();
    else if (!this.training) super.stage(event);
    else {
      this.inner = name === trainStage ? '' : name;
      this.draw(true);
    }
  }

  private begin(): void {
    this.progress?.close();
    this.training = true;
    this.lastUpdateMs = this.now();
    this.draw(true);
  }

  protected override step(event: StepEvent): void {
    const { stage, step, steps, etaSec } = event;
    if (stage === trainStage && !this.training) this.begin();
    if (!this.training) {
      super.step(event);
      return;
    }
    if (stage !== trainStage) {
      this.inner = step < steps ? `${stage} ${step}/${steps}` : '';
      this.draw(false);
      return;
    }
    const now = this.now();
    const done = step - this.update;
    // The first report of a resumed run tells where it stands, not how fast it was.
    if (this.updates > 0 && done > 0) {
      const each = (now - this.lastUpdateMs) / 1000 / done;
      this.secondsPerUpdate = this.secondsPerUpdate === 0 ? each : smoothing * each + (1 - smoothing) * this.secondsPerUpdate;
    }
    if (done !== 0 || this.updates === 0) this.lastUpdateMs = now;
    this.update = step;
    this.updates = steps;
    this.etaSec = etaSec;
    this.inner = '';
    if (this.interactive) this.draw(false);
    else if (this.progress && step > 0 && (step % plainEvery === 0 || step === steps) && step !== this.lastPlain) {
      this.lastPlain = step;
      this.stream.write(`${this.plainLine()}\n`);
    }
  }

  protected override metric({ name, value }: MetricEvent): void {
    if (!name.startsWith(prefix)) return;
    const figure = name.slice(prefix.length).replace(/^clip\./, 'clipFraction.');
    this.figures.set(figure, value);
    if (figure.startsWith('evaluation.')) {
      this.evaluatedAt = this.update;
      // What was measured before the first update is the base that later evaluations are compared with.
      if (this.update === 0) this.figures.set(figure.replace('evaluation', 'baseline'), value);
    }
    if (rewardOf(figure) !== undefined) {
      const course = this.courses.get(figure) ?? [];
      course.push(value);
      this.courses.set(figure, course.slice(-sparkCells));
    }
    this.draw(false);
  }

  private draw(force: boolean): void {
    if (!this.progress || !this.interactive || !this.training) return;
    const now = this.now();
    if (!force && now - this.lastDrawMs < frameMs) return;
    this.lastDrawMs = now;
    const width = Math.max(20, (this.stream.columns ?? 80) - 1);
    const lines = this.lines().map((line) => line.slice(0, width));
    this.stream.write(`${this.eraser()}${lines.join('\n')}`);
    this.drawnLines = lines.length;
  }

  /** Removes the block (or the bar of an earlier stage) so that a message can be written. */
  protected override clear(): void {
    super.clear();
    if (this.drawnLines === 0) return;
    this.stream.write(this.eraser());
    this.drawnLines = 0;
    this.lastDrawMs = Number.NEGATIVE_INFINITY;
  }

  private eraser(): string {
    if (this.drawnLines === 0) return '';
    return `${this.drawnLines > 1 ? `\x1b[${this.drawnLines - 1}A` : ''}\r\x1b[J`;
  }

  private lines(): string[] {
    const cells = 24;
    const full = this.updates > 0 ? Math.round((cells * this.update) / this.updates) : 0;
    const lines = [`train ${'█'.repeat(full)}${'░'.repeat(cells - full)} ${this.position()}${this.inner === '' ? '' : ` · ${this.inner}`}`];
    for (const [figure, course] of this.courses) {
      lines.push(`  ${rewardOf(figure)!.padEnd(12)} ${this.number(figure).padStart(9)} ${sparkline(course)}`);
    }
    const health = this.health();
    if (health !== '') lines.push(`  ${health}`);
    const evaluation = this.evaluation();
    if (evaluation !== '') lines.push(`  ${evaluation}`);
    if (this.warning !== '') lines.push(`  last warning: ${this.warning}`);
    return lines;
  }

  private plainLine(): string {
    const rewards = [...this.courses.keys()].map((figure) => `${rewardOf(figure)} ${this.number(figure)}`);
    return [`train ${this.position()}`, ...rewards, this.health(), this.evaluation()].filter((part) => part !== '').join(', ');
  }

  private position(): string {
    const parts = [`${this.update}/${this.updates}`];
    if (this.secondsPerUpdate > 0) parts.push(`${formatSeconds(this.secondsPerUpdate)}/update`);
    const left = this.etaSec ?? (this.secondsPerUpdate > 0 ? (this.updates - this.update) * this.secondsPerUpdate : undefined);
    if (left !== undefined && this.update < this.updates) parts.push(`ETA ${formatSeconds(left)}`);
    return parts.join(', ');
  }

  private health(): string {
    const has = (figure: string): boolean => this.figures.has(figure);
    const parts: string[] = [];
    if (has('ratio.mean')) {
      const range = has('ratio.min') && has('ratio.max') ? ` (${this.number('ratio.min')} to ${this.number('ratio.max')})` : '';
      parts.push(`ratio ${this.number('ratio.mean')}${range}`);
    }
    if (has('clipFraction.high')) {
      const clipped = (this.figures.get('clipFraction.high') ?? 0) + (this.figures.get('clipFraction.low') ?? 0);
      parts.push(`clipped ${percent(clipped)}`);
    }
    if (has('kl')) parts.push(`KL ${this.number('kl')}`);
    if (has('gradientNorm')) parts.push(`gradient ${this.number('gradientNorm')}`);
    if ((this.figures.get('zeroVarianceShare') ?? 0) > 0) parts.push(`flat groups ${percent(this.figures.get('zeroVarianceShare')!)}`);
    if (has('entropy')) parts.push(`entropy ${this.number('entropy')}`);
    return parts.join(', ');
  }

  private evaluation(): string {
    if (this.evaluatedAt === undefined) return '';
    const shown = [...this.figures].filter(([name]) => name.startsWith('evaluation.')).slice(0, 5);
    const figures = shown.map(([name, value]) => {
      const figure = name.slice('evaluation.'.length);
      const base = this.figures.get(`baseline.${figure}`);
      const change = base === undefined || base === 0 || this.evaluatedAt === 0 ? '' : ` (${value < base ? '−' : '+'}${Math.abs((100 * (value - base)) / base).toFixed(0)} %)`;
      return `${figure} ${formatNumber(value)}${change}`;
    });
    return `evaluation @${this.evaluatedAt}: ${figures.join(', ')}`;
  }

  private number(figure: string): string {
    const value = this.figures.get(figure);
    return value === undefined ? '–' : formatNumber(value);
  }
}

/** The reward's name of `reward.<name>` or `rewards.<name>.mean`. */
function rewardOf(figure: string): string | undefined {
  return /^reward\.(.+)$/.exec(figure)?.[1] ?? /^rewards\.(.+)\.mean$/.exec(figure)?.[1];
}

/** The course of a figure between its lowest and highest value; what is not finite is a gap. */
export function sparkline(values: readonly number[]): string {
  const finite = values.filter(Number.isFinite);
  const low = Math.min(...finite);
  const range = Math.max(...finite) - low;
  return values
    .map((value) => {
      if (!Number.isFinite(value)) return ' ';
      return sparks[range > 0 ? Math.min(sparks.length - 1, Math.floor(((value - low) / range) * sparks.length)) : 3];
    })
    .join('');
}

function percent(share: number): string {
  return `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
}
