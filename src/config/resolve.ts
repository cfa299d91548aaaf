import * as fs from 'node:fs';
import { LineCounter, parse as parseYaml, parseDocument } from 'yaml';
import type { Document } from 'yaml';
import { z } from 'zod';
import { ConfigError, UsageError } from '../binding/errors';
import { coerce, envName, expectation, fieldsOf, flagName } from './fields';
import type { Field } from './fields';
import { didYouMean } from './suggest';

/**
 * One settings object from five sources. Precedence: flag > `--set a.b=c` > environment > `--config file.yaml` > `base`
 * > default. Every value keeps its origin, which is what error messages point at and what the run folder records.
 */
export interface Sources {
  /** Flags as parsed; `undefined` means not given. */
  flags?: Record<string, unknown>;
  /** `a.b=c` assignments, later ones win. */
  sets?: readonly string[];
  env?: NodeJS.ProcessEnv;
  /** Path of a YAML (or JSON) file. */
  file?: string;
  /** Settings of the run that is being resumed. */
  base?: Record<string, unknown>;
}

export interface Resolved<T> {
  settings: T;
  /**
   * Origin of each value by dotted path: `flag --views`, `--set views`, `env RL3DEDIT_VIEWS`, `run.yaml:3`, `resumed
   * run`, `default`.
   */
  origins: Record<string, string>;
}

interface Tree {
  [key: string]: unknown;
}

interface File {
  path: string;
  values: Tree;
  /** 1-based line of the value at a path, or of its nearest parent that is there. */
  line(path: readonly PropertyKey[]): number;
}

/**
 * @throws UsageError for a bad flag or `--set`, ConfigError for a bad file or environment value; both name the place,
 * what was expected, what came, and the nearest known name for an unknown one
 */
export function resolveSettings<S extends z.ZodObject>(schema: S, sources: Sources): Resolved<z.output<S>> {
  const fields = new Map(fieldsOf(schema).map((field) => [field.key, field]));
  const merged: Tree = {};
  const origins = Object.create(null) as Record<string, string>;
  const put = (path: string[], value: unknown, origin: string): void => {
    if (isTree(value)) {
      for (const [key, item] of Object.entries(value)) put([...path, key], item, origin);
      if (Object.keys(value).length > 0) return;
    }
    assign(merged, path, value);
    for (const known of Object.keys(origins)) if (known.startsWith(`${path.join('.')}.`)) delete origins[known];
    origins[path.join('.')] = origin;
  };

  for (const [key, value] of Object.entries(sources.base ?? {})) put([key], value, 'resumed run');
  const file = sources.file === undefined ? undefined : readConfigFile(sources.file);
  if (file) for (const [key, value] of Object.entries(file.values)) put([key], value, file.path);
  for (const key of fields.keys()) {
    const text = sources.env?.[envName(key)];
    if (text !== undefined && text !== '') put([key], coerce(fields.get(key), text), `env ${envName(key)}`);
  }
  for (const entry of sources.sets ?? []) {
    const { path, value } = parseSet(entry, fields);
    put(path, value, `--set ${path.join('.')}`);
  }
  for (const [key, value] of Object.entries(sources.flags ?? {})) {
    if (value !== undefined && fields.has(key)) put([key], coerce(fields.get(key), value), `flag --${flagName(key)}`);
  }

  const parsed = schema.safeParse(merged);
  if (!parsed.success) throw explain(parsed.error.issues[0], merged, origins, schema, file);
  const settings = parsed.data as Tree;
  const located: Record<string, string> = {};
  for (const path of leaves(settings)) {
    const origin = originOf(origins, path) ?? 'default';
    located[path.join('.')] = file && origin === file.path ? `${origin}:${file.line(path)}` : origin;
  }
  return { settings: settings as z.output<S>, origins: located };
}

function readConfigFile(path: string): File {
  let text: string;
  try {
    text = fs.readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigError(`--config ${path}: cannot be read (${(error as NodeJS.ErrnoException).code})`, {
      cause: error,
    });
  }
  const lines = new LineCounter();
  // maxAliasCount in toJS guards against alias bombs; duplicate keys are errors.
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false });
  if (document.errors.length > 0) {
    const error = document.errors[0];
    const at = lines.linePos(error.pos[0]);
    throw new ConfigError(`${path}:${at.line}:${at.col}: ${error.message}`, { cause: error });
  }
  let values: unknown;
  try {
    values = document.toJS({ maxAliasCount: 100 }) ?? {};
  } catch (error) {
    throw new ConfigError(`${path}: ${(error as Error).message}`, { cause: error });
  }
  if (!isTree(values))
    throw new ConfigError(`${path}:1: expected settings as "name: value" lines, got ${show(values)}`);
  return { path, values, line: (at) => lineOf(document, lines, at) };
}

function lineOf(document: Document, lines: LineCounter, path: readonly PropertyKey[]): number {
  for (let length = path.length; length > 0; length--) {
    const parent = document.getIn(path.slice(0, length - 1), true) as { items?: unknown[] } | undefined;
    const pair = parent?.items?.find((item) => {
      const key = (item as { key?: { value?: unknown } }).key;
      return key !== undefined && key?.value === path[length - 1];
    }) as { key: { range?: [number, number, number] | null } } | undefined;
    if (pair?.key.range) return lines.linePos(pair.key.range[0]).line;
  }
  return 1;
}

function parseSet(entry: string, fields: Map<string, Field>): { path: string[]; value: unknown } {
  const at = entry.indexOf('=');
  const path = entry.slice(0, Math.max(at, 0)).trim().split('.');
  if (at < 1 || path.some((part) => part === '')) {
    throw new UsageError(`--set ${entry}: expected name=value or section.name=value`);
  }
  const text = entry.slice(at + 1);
  const field = path.length === 1 ? fields.get(path[0]) : undefined;
  if (field && field.kind !== 'object') return { path, value: coerce(field, text) };
  try {
    return { path, value: parseYaml(text) as unknown };
  } catch {
    return { path, value: text };
  }
}

function explain(
  issue: z.core.$ZodIssue,
  merged: Tree,
  origins: Record<string, string>,
  schema: z.ZodObject,
  file: File | undefined,
): Error {
  const unknown = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
  const path = unknown === undefined ? issue.path : [...issue.path, unknown];
  const name = path.map(String).join('.');
  const origin = originOf(origins, path);
  const level = levelSchema(schema, path.slice(0, -1));
  const fields = level ? fieldsOf(level) : [];
  let message: string;
  if (unknown !== undefined) {
    message = `unknown setting${didYouMean(
      unknown,
      fields.map((field) => field.key),
    )}`;
  } else {
    const field = fields.find((candidate) => candidate.key === path[path.length - 1]);
    const value = lookup(merged, path);
    if (value === undefined && field) {
      const flag = path.length === 1 ? `--${flagName(field.key)}` : name;
      return new UsageError(`missing ${flag}${field.description ? ` (${field.description})` : ''}`);
    }
    // A schema's own message says what is expected; zod's standard ones are replaced by the field's description.
    const own = issue.code === 'custom' || issue.code === 'invalid_format' || issue.message.startsWith('expected ');
    message = `${own ? issue.message : `expected ${field ? expectation(field) : issue.message}`}, got ${show(value)}`;
  }
  if (origin !== undefined && file && origin === file.path) {
    return new ConfigError(`${file.path}:${file.line(path)}: ${name}: ${message}`);
  }
  if (origin?.startsWith('flag ')) return new UsageError(`${origin.slice(5)}: ${message}`);
  if (origin?.startsWith('env ')) return new ConfigError(`${origin.slice(4)}: ${message}`);
  if (origin?.startsWith('--set')) return new UsageError(`${origin}: ${message}`);
  return new ConfigError(`${name === '' ? 'settings' : name}: ${message}`);
}

function levelSchema(schema: z.ZodObject, path: readonly PropertyKey[]): z.ZodObject | undefined {
  let current: z.ZodType = schema;
  for (const key of path) {
    if (!(current instanceof z.ZodObject)) return undefined;
    let next = current.shape[String(key)] as z.ZodType | undefined;
    while (next && !(next instanceof z.ZodObject)) next = (next.def as unknown as { innerType?: z.ZodType }).innerType;
    if (!next) return undefined;
    current = next;
  }
  return current instanceof z.ZodObject ? current : undefined;
}

function originOf(origins: Record<string, string>, path: readonly PropertyKey[]): string | undefined {
  for (let length = path.length; length > 0; length--) {
    const origin = origins[path.slice(0, length).map(String).join('.')];
    if (origin !== undefined) return origin;
  }
  return undefined;
}

function leaves(tree: Tree, prefix: string[] = []): string[][] {
  return Object.entries(tree).flatMap(([key, value]) =>
    isTree(value) ? leaves(value, [...prefix, key]) : [[...prefix, key]],
  );
}

function lookup(tree: Tree, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((node, key) => {
    const name = String(key);
    return typeof node === 'object' && node !== null && Object.hasOwn(node, name) ? (node as Tree)[name] : undefined;
  }, tree);
}

function assign(tree: Tree, path: string[], value: unknown): void {
  let node = tree;
  for (const key of path.slice(0, -1)) {
    if (!Object.hasOwn(node, key) || !isTree(node[key])) define(node, key, {});
    node = node[key] as Tree;
  }
  define(node, path[path.length - 1], value);
}

/** Defines an own property even for `__proto__`, which the schema then refuses as unknown. */
function define(node: Tree, key: string, value: unknown): void {
  Object.defineProperty(node, key, { value, enumerable: true, writable: true, configurable: true });
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
