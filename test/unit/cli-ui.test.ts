import { runApp } from '../../src/app/events';
import type { AppEvent } from '../../src/app/events';
import { formatBytes, formatNumber, formatSeconds, formatTable } from '../../src/cli/ui/format';
import { Log } from '../../src/cli/ui/log';
import { Progress } from '../../src/cli/ui/progress';
import { TerminalRenderer } from '../../src/cli/ui/render';

class Capture {
  text = '';
  isTTY?: boolean;
  columns = 120;
  writes = 0;
  write(text: string): void {
    this.text += text;
    this.writes++;
  }
}

describe('Progress', () => {
  it('draws at most ten frames a second on a terminal', () => {
    const stream = new Capture();
    let ms = 0;
    const progress = new Progress({ stream, interactive: true, now: () => ms });
    progress.stage('denoise', 1, 3);
    const before = stream.writes;
    for (let step = 1; step <= 1000; step++) {
      ms += 1;
      progress.update(step, 1000);
    }
    expect(stream.writes - before).toBe(10);
    expect(stream.text).toContain('[2/3] denoise');
    expect(stream.text).toContain('1000 it/s');
    progress.close();
    expect(stream.text.endsWith('[2/3] denoise: 1000/1000, 1.0s\n')).toBe(true);
  });

  it('estimates speed and remaining time', () => {
    const stream = new Capture();
    let ms = 0;
    const progress = new Progress({ stream, interactive: true, now: () => ms });
    progress.stage('denoise', 0, 1);
    ms = 2000;
    progress.figure('loss', 0.123456);
    progress.update(1, 4);
    expect(stream.text).toContain('denoise █████░░░░░░░░░░░░░░░ 1/4, 2 s/it, ETA 6.0s, loss 0.1235');
    ms = 4000;
    progress.update(2, 4, 99);
    expect(stream.text).toContain('2/4, 2 s/it, ETA 1m39s');
  });

  it('writes a plain line every few seconds elsewhere', () => {
    const stream = new Capture();
    let ms = 0;
    const progress = new Progress({ stream, interactive: false, now: () => ms });
    progress.stage('train', 0, 1);
    for (let step = 1; step <= 120; step++) {
      ms += 100;
      progress.update(step, 120);
    }
    progress.close();
    expect(stream.text).not.toContain('\r');
    expect(stream.text.split('\n')).toEqual([
      'train …',
      'train 50/120, 10 it/s, ETA 7.0s',
      'train 100/120, 10 it/s, ETA 2.0s',
      'train: 120/120, 12s',
      '',
    ]);
  });
});

describe('Log', () => {
  it('colours terminals only, and not with NO_COLOR', () => {
    const stream = new Capture();
    new Log('info', stream, {}).error('x');
    expect(stream.text).toBe('error: x\n');
    stream.isTTY = true;
    new Log('info', stream, {}).error('y');
    expect(stream.text).toContain('\x1b[31merror:');
    stream.text = '';
    new Log('info', stream, { NO_COLOR: '1' }).error('z');
    expect(stream.text).toBe('error: z\n');
  });

  it('keeps to its level', () => {
    const stream = new Capture();
    const log = new Log('warn', stream, {});
    log.info('a');
    log.debug('b');
    log.warn('c');
    expect(stream.text).toBe('warning: c\n');
  });
});

describe('runApp', () => {
  const events: AppEvent[] = [
    { type: 'stage', name: 'load', index: 0, count: 2 },
    { type: 'step', stage: 'load', step: 1, steps: 2 },
    { type: 'metric', name: 'loss', value: 0.5 },
    { type: 'note', message: 'hello' },
    { type: 'warning', message: 'careful' },
  ];
  async function* app(fail?: Error): AsyncGenerator<AppEvent, { answer: number }> {
    for (const event of events) yield event;
    if (fail) throw fail;
    return { answer: 42 };
  }

  it('hands over every event in order, returns the result and closes once', async () => {
    const seen: AppEvent[] = [];
    let closed = 0;
    const result = await runApp(app(), { event: (event) => seen.push(event), close: () => closed++ });
    expect(result).toEqual({ answer: 42 });
    expect(seen).toEqual(events);
    expect(closed).toBe(1);
  });

  it('closes the renderer when the app fails, and the app when the renderer fails', async () => {
    let closed = 0;
    await expect(runApp(app(new Error('broken')), { event: () => undefined, close: () => closed++ })).rejects.toThrow(
      'broken',
    );
    expect(closed).toBe(1);
    let cleaned = false;
    async function* careful(): AsyncGenerator<AppEvent, number> {
      try {
        yield events[0];
        return 1;
      } finally {
        cleaned = true;
      }
    }
    const renderer = {
      event: () => {
        throw new Error('pipe');
      },
      close: () => closed++,
    };
    await expect(runApp(careful(), renderer)).rejects.toThrow('pipe');
    expect([cleaned, closed]).toEqual([true, 2]);
  });

  it('is shown by the terminal renderer', async () => {
    const stream = new Capture();
    await runApp(
      app(),
      new TerminalRenderer(new Log('info', stream, {}), { stream, interactive: false, now: () => 0 }),
    );
    expect(stream.text).toBe('[1/2] load …\nhello\nwarning: careful\n[1/2] load: 1/2, 0.0s, loss 0.5\n');
    stream.text = '';
    await runApp(app(), new TerminalRenderer(new Log('error', stream, {}), { stream }));
    expect(stream.text).toBe('');
  });
});

it('formats quantities', () => {
  expect([0, 999, 1000, 1_234_567, 34e9].map(formatBytes)).toEqual(['0 B', '999 B', '1.00 kB', '1.23 MB', '34.0 GB']);
  expect([0.04, 9.94, 9.96, 59.4, 60, 3599.6, 7500, Number.NaN].map(formatSeconds)).toEqual([
    '0.0s',
    '9.9s',
    '10s',
    '59s',
    '1m00s',
    '1h00m',
    '2h05m',
    '?',
  ]);
  expect([1 / 3, 12345.6, 2, Number.NaN].map(formatNumber)).toEqual(['0.3333', '12350', '2', 'NaN']);
  expect(
    formatTable([
      ['a', 1],
      ['bcd', 22],
    ]),
  ).toBe('a     1\nbcd  22');
});
