import { UsageError } from '../binding/errors';
import type { Tensor } from './tensor';

/** Innermost last. Scopes are synchronous, so a plain stack is enough: building a network never awaits. */
const scopes: Tensor[][] = [];

/** Called by every new tensor. */
export function adopt(tensor: Tensor): void {
  scopes[scopes.length - 1]?.push(tensor);
}

/**
 * Runs `build` and disposes every tensor created in it except those it returns (a tensor, or tensors inside arrays, maps
 * and plain objects), which pass to the enclosing scope. A tape keeps what it needs beyond the scope. `build` must not be
 * async: what it creates after an await would escape.
 */
export function scope<T>(build: () => T): T {
  const created: Tensor[] = [];
  scopes.push(created);
  let result: T;
  try {
    result = build();
    if (result instanceof Promise) throw new UsageError('scope: the function must not be async; await outside of it');
  } catch (error) {
    scopes.pop();
    for (const tensor of created) tensor.dispose();
    throw error;
  }
  scopes.pop();
  const kept = new Set<unknown>();
  collect(result, kept);
  for (const tensor of created) {
    if (kept.has(tensor)) adopt(tensor);
    else tensor.dispose();
  }
  return result;
}

/** Runs `build` outside every scope: what it creates belongs to the caller (long-lived weights, caches). */
export function unscoped<T>(build: () => T): T {
  const outer = scopes.splice(0, scopes.length);
  try {
    return build();
  } finally {
    scopes.push(...outer);
  }
}

function collect(value: unknown, kept: Set<unknown>): void {
  if (value === null || typeof value !== 'object' || kept.has(value)) return;
  kept.add(value);
  if (value instanceof Map) {
    for (const item of value.values()) collect(item, kept);
  } else if (Array.isArray(value)) {
    for (const item of value) collect(item, kept);
  } else if (Object.getPrototypeOf(value) === Object.prototype) {
    for (const item of Object.values(value)) collect(item, kept);
  }
}
