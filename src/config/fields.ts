import { z } from 'zod';

/**
 * What a setting looks like from outside: the same record makes the command-line flag, the environment name and the
 * error text.
 */
export interface Field {
  key: string;
  kind: 'string' | 'number' | 'boolean' | 'list' | 'object';
  choices?: readonly string[];
  min?: number;
  max?: number;
  integer: boolean;
  description: string;
  required: boolean;
  defaultValue?: unknown;
}

interface Definition {
  type: string;
  innerType?: z.ZodType;
  in?: z.ZodType;
  defaultValue?: unknown;
}

/** Top-level fields of a settings schema in the order they are written. */
export function fieldsOf(schema: z.ZodObject): Field[] {
  return Object.entries(schema.shape).map(([key, type]) => describe(key, type as z.ZodType));
}

function describe(key: string, outer: z.ZodType): Field {
  let required = true;
  let defaultValue: unknown;
  let description = outer.description ?? '';
  let type = outer;
  for (;;) {
    const definition = type.def as unknown as Definition;
    if (definition.type === 'default' || definition.type === 'prefault') {
      required = false;
      defaultValue = definition.defaultValue;
    } else if (definition.type === 'optional') {
      required = false;
    }
    const inner = definition.innerType ?? definition.in;
    if (!inner) break;
    type = inner;
    description ||= type.description ?? '';
  }
  const field: Field = { key, kind: 'string', integer: false, description, required, defaultValue };
  if (type instanceof z.ZodNumber) {
    field.kind = 'number';
    field.integer = type.isInt;
    field.min = finite(type.minValue);
    field.max = finite(type.maxValue);
  } else if (type instanceof z.ZodBoolean) field.kind = 'boolean';
  else if (type instanceof z.ZodArray) field.kind = 'list';
  else if (isSection(type)) field.kind = 'object';
  else if (type instanceof z.ZodEnum) field.choices = type.options as string[];
  return field;
}

/** A section of a file: it has no flag of its own. */
function isSection(type: z.ZodType): boolean {
  if (type instanceof z.ZodUnion) return (type.options as z.ZodType[]).every(isSection);
  return type instanceof z.ZodObject || type instanceof z.ZodRecord;
}

/** Zod gives the safe-integer limits for an integer without bounds; those say nothing to a user. */
function finite(value: number | null): number | undefined {
  return value === null || !Number.isFinite(value) || Math.abs(value) === Number.MAX_SAFE_INTEGER ? undefined : value;
}

/** `loraScale` → `lora-scale`, the flag's name. */
export function flagName(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** `loraScale` → `RL3DEDIT_LORA_SCALE`, the environment variable's name. */
export function envName(key: string): string {
  return `RL3DEDIT_${flagName(key).replace(/-/g, '_').toUpperCase()}`;
}

/**
 * Text from a flag or the environment as the field's type. Text that does not fit stays text, and the schema refuses
 * it by name.
 */
export function coerce(field: Field | undefined, value: unknown): unknown {
  if (typeof value !== 'string') return value;
  if (field?.kind === 'number') return value.trim() !== '' && Number.isFinite(Number(value)) ? Number(value) : value;
  if (field?.kind === 'boolean') {
    if (/^(true|1|yes|on)$/i.test(value)) return true;
    if (/^(false|0|no|off)$/i.test(value)) return false;
    return value;
  }
  if (field?.kind === 'list')
    return value
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== '');
  return value;
}

/** What a field accepts, in words: `an integer from 1 to 9`, `one of independent, shared`. */
export function expectation(field: Field): string {
  if (field.choices) return `one of ${field.choices.join(', ')}`;
  if (field.kind !== 'number')
    return { string: 'text', boolean: 'true or false', list: 'a list', object: 'a section' }[field.kind];
  const noun = field.integer ? 'an integer' : 'a number';
  if (field.min !== undefined && field.max !== undefined) return `${noun} from ${field.min} to ${field.max}`;
  if (field.min !== undefined) return `${noun} of at least ${field.min}`;
  return field.max !== undefined ? `${noun} of at most ${field.max}` : noun;
}
