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
  /** Sections of a file that was read already, each over the one before; they stand where `file` stands. */
  sections?: readonly Section[];
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

export interface Tree {
  [key: string]: unknown;
}

export interface ConfigFile {
  path: string;
  values: Tree;
  /** 1-based line of the value at a path, or of its nearest parent that is there. */
  line(path: readonly PropertyKey[]): number;
}

/** Part of a file that holds settings of its own: `at` leads there from the top. */
export interface Section {
  file: ConfigFile;
  at: readonly string[];
}

/** Where a value comes from: words, and the section for one from a file. */
interface Origin {
  text: string;
  section?: Section;
}

/**
 * @throws UsageError for a bad flag or `--set`, ConfigError for a bad file or environment value; both name the place,
 * what was expected, what came, and the nearest known name for an unknown one
 */
export function resolveSettings<S extends z.ZodObject>(schema: S, sources: Sources): Resolved<z.output<S>> {
  const fields = new Map(fieldsOf(schema).map((field) => [field.key, field]));
  const merged: Tree = {};
  const origins = Object.create(null) as Record<string, Origin>;
  const put = (path: string[], value: unknown, origin: Origin): void => {
    if (isTree(value)) {
      for (const [key, item] of Object.entries(value)) put([...path, key], item, origin);
      if (Object.keys(value).length > 0) return;
    }
    assign(merged, path, value);
    for (const known of Object.keys(origins)) if (known.startsWith(`${path.join('.')}.`)) delete origins[known];
    origins[path.join('.')] = origin;
  };

  for (const [key, value] of Object.entries(sources.base ?? {})) put([key], value, { text: 'resumed run' });
  const sections = [...(sources.sections ?? [])];
  if (sources.file !== undefined) sections.unshift({ file: readConfigFile(sources.file), at: [] });
  for (const section of sections) {
    const values = section.at.length === 0 ? section.file.values : lookup(section.file.values, section.at);
    for (const [key, value] of Object.entries(isTree(values) ? values : {})) put([key], value, { text: section.file.path, section });
  }
  for (const key of fields.keys()) {
    const text = sources.env?.[envName(key)];
    if (text !== undefined && text !== '') put([key], coerce(fields.get(key), text), { text: `env ${envName(key)}` });
  }
  for (const entry of sources.sets ?? []) {
    const { path, value } = parseSet(entry, fields);
    put(path, value, { text: `--set ${path.join('.')}` });
  }
  for (const [key, value] of Object.entries(sources.flags ?? {})) {
    if (value !== undefined && fields.has(key)) put([key], coerce(fields.get(key), value), { text: `flag --${flagName(key)}` });
  }

  const parsed = schema.safeParse(merged);
  if (!parsed.success) throw explain(mostTelling(parsed.error.issues), merged, origins, schema, sections);
  const settings = parsed.data as Tree;
  const located: Record<string, string> = {};
  for (const path of leaves(settings)) {
    const origin = originOf(origins, path);
    const { section } = origin ?? {};
    located[path.join('.')] = section ? placeOf(section, path) : (origin?.text ?? 'default');
  }
  return { settings: settings as z.output<S>, origins: located };
}

/** `run.yaml:12` for a path inside a section. */
function placeOf({ file, at }: Section, path: readonly PropertyKey[]): string {
  return `${file.path}:${file.line([...at, ...path])}`;
}

/** @throws ConfigError for a file that cannot be read or is no YAML mapping */
export function readConfigFile(path: string): ConfigFile {
  let text: string;
  try {
    text = fs.readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigError(`${path}: cannot be read (${(error as NodeJS.ErrnoException).code})`, {
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

/**
 * Where a value may take several forms, zod lists the problems of each form; the one that got furthest is meant, and an
 * unknown name says more than the absence of the right one.
 */
function mostTelling(issues: readonly z.core.$ZodIssue[]): z.core.$ZodIssue {
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0];
  if (issue.code !== 'invalid_union' || issue.errors.every((form) => form.length === 0)) return issue;
  const forms = issue.errors.filter((form) => form.length > 0).map(mostTelling);
  const depth = (one: z.core.$ZodIssue): number => one.path.length + (one.code === 'unrecognized_keys' ? 0.5 : 0);
  const best = forms.reduce((a, b) => (depth(b) > depth(a) ? b : a));
  return { ...best, path: [...issue.path, ...best.path] };
}

function explain(
  issue: z.core.$ZodIssue,
  merged: Tree,
  origins: Record<string, Origin>,
  schema: z.ZodObject,
  sections: readonly Section[],
): Error {
  const unknown = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
  const path = unknown === undefined ? issue.path : [...issue.path, unknown];
  const name = path.map(String).join('.');
  const fields = levelSchemas(schema, path.slice(0, -1)).flatMap(fieldsOf);
  const missing = unknown === undefined && lookup(merged, path) === undefined;
  let message: string;
  if (unknown !== undefined) {
    message = `unknown setting${didYouMean(
      unknown,
      fields.map((field) => field.key),
    )}`;
  } else {
    const field = fields.find((candidate) => candidate.key === path[path.length - 1]);
    const value = lookup(merged, path);
    if (missing && field?.required) {
      const flag = path.length === 1 && field.kind !== 'object' ? `--${flagName(field.key)}` : name;
      const what = `missing ${flag}${field.description ? ` (${field.description})` : ''}`;
      const section = path.length > 1 || field.kind === 'object' ? sections.at(-1) : undefined;
      return section ? new ConfigError(`${placeOf(section, path)}: ${what}`) : new UsageError(what);
    }
    // A schema's own message says what is expected; zod's standard ones are replaced by the field's description.
    const own = issue.code === 'custom' || issue.code === 'invalid_format' || issue.message.startsWith('expected ');
    const choices = issue.code === 'invalid_value' ? `one of ${issue.values.map(String).join(', ')}` : issue.message;
    const expected = own ? issue.message : `expected ${field ? expectation(field) : choices}`;
    // A value nobody gave needs no showing.
    message = missing && own ? expected : `${expected}, got ${show(value)}`;
  }
  const origin = originOf(origins, path);
  if (origin?.section) return new ConfigError(`${placeOf(origin.section, path)}: ${[...origin.section.at, name].join('.')}: ${message}`);
  if (origin?.text.startsWith('flag ')) return new UsageError(`${origin.text.slice(5)}: ${message}`);
  if (origin?.text.startsWith('env ')) return new ConfigError(`${origin.text.slice(4)}: ${message}`);
  if (origin?.text.startsWith('--set')) return new UsageError(`${origin.text}: ${message}`);
  // A default that does not fit what was given: the culprit is among the settings that the schema names.
  const culprits = issue.code === 'custom' ? ((issue.params?.with as string[] | undefined) ?? []) : [];
  for (const key of culprits) {
    const section = originOf(origins, [key])?.section;
    if (section) return new ConfigError(`${placeOf(section, [key])}: ${[...section.at, name].join('.')}: ${message}`);
  }
  return new ConfigError(`${name === '' ? 'settings' : name}: ${message}`);
}

/** The object schemas that describe the settings below `path`: several where a value may take several forms. */
function levelSchemas(schema: z.ZodType, path: readonly PropertyKey[]): z.ZodObject[] {
  let type = schema;
  for (let inner: z.ZodType | undefined = type; inner; inner = (inner.def as { innerType?: z.ZodType }).innerType) type = inner;
  if (type instanceof z.ZodUnion) return (type.options as z.ZodType[]).flatMap((option) => levelSchemas(option, path));
  if (type instanceof z.ZodArray && typeof path[0] === 'number') return levelSchemas(type.element as z.ZodType, path.slice(1));
  if (!(type instanceof z.ZodObject)) return [];
  if (path.length === 0) return [type];
  const next = type.shape[String(path[0])] as z.ZodType | undefined;
  return next ? levelSchemas(next, path.slice(1)) : [];
}

/** Origin of a value, of what it lies in, or (for a section) of the first value in it. */
function originOf(origins: Record<string, Origin>, path: readonly PropertyKey[]): Origin | undefined {
  for (let length = path.length; length > 0; length--) {
    const origin = origins[path.slice(0, length).map(String).join('.')];
    if (origin !== undefined) return origin;
  }
  const inside = Object.keys(origins).find((known) => path.length > 0 && known.startsWith(`${path.map(String).join('.')}.`));
  return inside === undefined ? undefined : origins[inside];
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
