/** What is computed once and read in every epoch: text embeddings and latents, in memory and, with a folder, on disk. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { encodeTensors } from '../edit/host-tensors';
import { writeAtomic } from '../output-folder';
import { readHostTensors } from '../parity/kinds';
import type { HostTensor } from '../parity/kinds';

export type HostTensors = Record<string, HostTensor>;

/** Entries kept in memory: a world draws new pictures without end. */
const MOST = 512;

export class HostCache {
  private readonly memory = new Map<string, Promise<HostTensors>>();

  /** @param namespace what else decides a value: the model and its type */
  constructor(
    private readonly folder?: string,
    private readonly namespace = '',
  ) {}

  /** The value for `key` among those of `kind`; computed when neither memory nor disk has it. */
  get(kind: string, key: string | Float32Array, compute: () => Promise<HostTensors>): Promise<HostTensors> {
    const hash = createHash('sha256').update(this.namespace).update(typeof key === 'string' ? key : new Uint8Array(key.buffer, key.byteOffset, key.byteLength)).digest('hex');
    const name = `${kind}-${hash.slice(0, 32)}`;
    const known = this.memory.get(name);
    if (known) return known;
    const value = this.load(name, compute);
    this.memory.set(name, value);
    value.catch(() => this.memory.delete(name));
    if (this.memory.size > MOST) this.memory.delete(this.memory.keys().next().value!);
    return value;
  }

  private async load(name: string, compute: () => Promise<HostTensors>): Promise<HostTensors> {
    if (this.folder === undefined) return compute();
    const path = join(this.folder, `${name}.safetensors`);
    if (existsSync(path)) {
      const stored = await readHostTensors(path);
      return Object.fromEntries(stored.names.map((name) => [name, stored.get(name)]));
    }
    const value = await compute();
    await writeAtomic(path, encodeTensors(value));
    return value;
  }
}
