import picocolors from 'picocolors';

export const logLevels = ['error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof logLevels)[number];

export interface LogStream {
  write(text: string): unknown;
  isTTY?: boolean;
}

/**
 * Messages for people, on stderr: stdout belongs to results. NO_COLOR and a stream that is no terminal turn colours
 * off.
 */
export class Log {
  readonly colors: ReturnType<typeof picocolors.createColors>;
  /** Called before each line, so that a progress bar can get out of the way. */
  beforeLine: () => void = () => undefined;

  constructor(
    readonly level: LogLevel = 'info',
    private readonly stream: LogStream = process.stderr,
    env: NodeJS.ProcessEnv = process.env,
  ) {
    const forced = (env.FORCE_COLOR ?? '') !== '' && env.FORCE_COLOR !== '0';
    this.colors = picocolors.createColors((env.NO_COLOR ?? '') === '' && (stream.isTTY === true || forced));
  }

  error(message: string): void {
    this.line('error', `${this.colors.red('error:')} ${message}`);
  }

  warn(message: string): void {
    this.line('warn', `${this.colors.yellow('warning:')} ${message}`);
  }

  info(message: string): void {
    this.line('info', message);
  }

  debug(message: string): void {
    this.line('debug', this.colors.dim(message));
  }

  enabled(level: LogLevel): boolean {
    return logLevels.indexOf(level) <= logLevels.indexOf(this.level);
  }

  private line(level: LogLevel, text: string): void {
    if (!this.enabled(level)) return;
    this.beforeLine();
    this.stream.write(`${text}\n`);
  }
}
