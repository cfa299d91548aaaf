import * as fs from 'node:fs';
import * as path from 'node:path';

/** Version of this package, from package.json beside dist/. */
export function packageVersion(): string {
  const file = path.resolve(__dirname, '..', '..', 'package.json');
  try {
    return (JSON.parse(fs.readFileSync(file, 'utf8')) as { version: string }).version;
  } catch {
    return 'unknown';
  }
}
