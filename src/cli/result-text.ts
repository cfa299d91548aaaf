import type { ShownResult } from './apps';
import { formatNumber } from './ui/format';

/** An app's result for people: its own summary, else its plain values line by line. */
export function resultText(result: ShownResult): string {
  if (result.summary) return [...result.summary].join('\n');
  const lines: string[] = [];
  for (const [name, value] of Object.entries(result)) {
    if (typeof value === 'string') lines.push(`${name}: ${value}`);
    else if (typeof value === 'number') lines.push(`${name}: ${formatNumber(value)}`);
  }
  return lines.join('\n');
}
