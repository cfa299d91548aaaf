/** JSON files with errors that say where: the engine's parser gives no position for many mistakes. */
import { readFile, stat } from 'node:fs/promises';
import { SceneError } from '../binding/errors';

const maxDepth = 256;

/** Reads a text file with a size limit. @throws SceneError when it is missing or too large. */
export async function readText(path: string, maxBytes: number): Promise<string> {
  return (await readBytes(path, maxBytes)).toString('utf8');
}

/** Reads a file with a size limit. @throws SceneError when it is missing or too large. */
export async function readBytes(path: string, maxBytes: number): Promise<Buffer> {
  try {
    const { size } = await stat(path);
    if (size > maxBytes) throw new SceneError(`${path}: ${size} bytes is over the limit of ${maxBytes} bytes`);
    return await readFile(path);
  } catch (error) {
    if (error instanceof SceneError) throw error;
    throw new SceneError(`${path}: cannot be read (${(error as Error).message})`, { cause: error });
  }
}

/**
 * Parses JSON text.
 * @throws SceneError `FILE:LINE:COLUMN: …` at the first character that is not valid JSON.
 */
export function parseJson(text: string, file: string): unknown {
  const body = text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
  const fault = findFault(body);
  if (fault) {
    const before = body.slice(0, fault.at).split('\n');
    const found = fault.at < body.length ? JSON.stringify(body.slice(fault.at, fault.at + 12)) : 'the end of the file';
    const column = before[before.length - 1].length + 1;
    throw new SceneError(`${file}:${before.length}:${column}: broken JSON: expected ${fault.expected}, found ${found}`);
  }
  return JSON.parse(body) as unknown;
}

/** First offset at which the text stops being JSON, with what should have stood there. */
function findFault(text: string): { at: number; expected: string } | undefined {
  let at = 0;
  let fault: { at: number; expected: string } | undefined;
  const fail = (expected: string): boolean => {
    fault ??= { at, expected };
    return false;
  };
  const space = (): void => {
    while (at < text.length && ' \t\r\n'.includes(text[at])) at++;
  };
  const match = (pattern: RegExp): boolean => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found) at += found[0].length;
    return found !== null;
  };
  const string = (): boolean => {
    if (text[at] !== '"') return fail('a string in double quotes');
    const open = at;
    if (match(/"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y)) return true;
    at = open;
    return fail('a string that ends on its line');
  };
  const list = (close: string, item: (depth: number) => boolean, depth: number): boolean => {
    at++;
    space();
    if (text[at] === close) return ++at > 0;
    for (;;) {
      if (!item(depth + 1)) return false;
      space();
      if (text[at] === close) return ++at > 0;
      if (text[at] !== ',') return fail(`"," or "${close}"`);
      at++;
      space();
    }
  };
  const member = (depth: number): boolean => {
    if (!string()) return false;
    space();
    if (text[at] !== ':') return fail('":"');
    at++;
    space();
    return value(depth);
  };
  const value = (depth: number): boolean => {
    if (depth > maxDepth) return fail(`at most ${maxDepth} levels of nesting`);
    if (text[at] === '{') return list('}', member, depth);
    if (text[at] === '[') return list(']', value, depth);
    if (text[at] === '"') return string();
    return match(/-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y) || fail('a value');
  };
  space();
  if (!value(0)) return fault;
  space();
  if (at < text.length) fail('the end of the file');
  return fault;
}
