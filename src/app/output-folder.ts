import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { OutputError } from '../binding/errors';

/**
 * A folder that holds the result of one command. `.rl3dedit/edit.json` (the command's name) inside marks it as ours and
 * remembers how far the work got, so that an aborted run can be resumed. Every file appears whole or not at all
 * (written beside, then renamed).
 */

/** What the marker remembers. `fingerprint` is the JSON of all settings that decide the result. */
export interface FolderState {
  command: string;
  version: number;
  fingerprint: string;
  /** Names of finished stages, in order. */
  stages: string[];
  /** Files written so far, relative to the folder. */
  files: string[];
  finished: boolean;
}

export interface OutputFolderOptions {
  /** Name of the command; a folder made by another one is foreign. */
  command: string;
  /** Settings that decide the result; resuming with others is refused. */
  settings: Record<string, unknown>;
  overwrite?: boolean;
  resume?: boolean;
}

const stateFolder = '.rl3dedit';
const stateVersion = 1;
const removeOptions = { recursive: true, force: true } as const;

export class OutputFolder {
  private constructor(
    readonly dir: string,
    private readonly state: FolderState,
  ) {}

  /**
   * Looks whether `open` would succeed, and writes nothing: call it before the slow part of a command.
   * @throws OutputError for a file in the way, an unwritable place, a foreign or finished folder without `overwrite`
   */
  static async check(dir: string, options: OutputFolderOptions): Promise<FolderState | undefined> {
    const entries = await list(dir);
    if (entries === undefined) {
      await checkWritable(await nearestExisting(path.resolve(dir)), dir);
      return undefined;
    }
    await checkWritable(dir, dir);
    const state = await readState(dir, options.command);
    if (entries.length === 0 || options.overwrite) return options.overwrite ? undefined : state;
    if (!state) {
      throw new OutputError(
        `${dir}: the folder is not empty and was not made by rl3dedit ${options.command}; ` +
          'choose another --out, or add --overwrite to write into it (its other files stay)',
      );
    }
    if (!options.resume) {
      throw new OutputError(
        `${dir}: holds ${state.finished ? 'a finished' : 'an unfinished'} ${options.command}; ` +
          `add --resume to ${state.finished ? 'keep it' : 'go on where it stopped'}, or --overwrite to start again`,
      );
    }
    if (state.fingerprint !== fingerprint(options.settings)) {
      throw new OutputError(
        `${dir}: was begun with other settings (${differences(state.fingerprint, options.settings)}); ` +
          'resume with the same ones, or add --overwrite to start again',
      );
    }
    return state;
  }

  /**
   * Checks as `check` does, creates the folder and its marker, and with `overwrite` removes the files of the earlier
   * run.
   */
  static async open(dir: string, options: OutputFolderOptions): Promise<OutputFolder> {
    const kept = await OutputFolder.check(dir, options);
    return guarded(dir, async () => {
      if (!kept) {
        const earlier = await readState(dir, options.command);
        for (const file of earlier?.files ?? []) {
          if (isInside(file)) await fs.rm(path.join(dir, file), removeOptions);
        }
        await fs.rm(path.join(dir, stateFolder), removeOptions);
      }
      await makeFolder(path.join(dir, stateFolder));
      const state = kept ?? {
        command: options.command,
        version: stateVersion,
        fingerprint: fingerprint(options.settings),
        stages: [],
        files: [],
        finished: false,
      };
      const folder = new OutputFolder(dir, state);
      await folder.saveState();
      return folder;
    });
  }

  /** Absolute or relative path of a file in the folder, as the folder itself was given. */
  path(...parts: string[]): string {
    return path.join(this.dir, ...parts);
  }

  /** Path for work files that a resumed run needs and a finished one does not (removed by `finish`). */
  workPath(...parts: string[]): string {
    return path.join(this.dir, stateFolder, ...parts);
  }

  hasStage(name: string): boolean {
    return this.state.stages.includes(name);
  }

  get stages(): readonly string[] {
    return this.state.stages;
  }

  get finished(): boolean {
    return this.state.finished;
  }

  /** Writes `name` (may contain folders) atomically and returns its path. */
  async write(name: string, data: string | Uint8Array): Promise<string> {
    const target = await this.claim(name);
    await guarded(target, () => writeAtomic(target, data));
    return target;
  }

  /** Notes a file or folder that is about to be written by someone else, and returns its path. */
  async claim(name: string): Promise<string> {
    if (!name.startsWith(`${stateFolder}/`) && !this.state.files.includes(name)) {
      // Noted before it is written, so that --overwrite also removes what a killed run left.
      this.state.files.push(name);
      await this.saveState();
    }
    return this.path(name);
  }

  /** `write` of pretty-printed JSON. */
  writeJson(name: string, value: unknown): Promise<string> {
    return this.write(name, `${JSON.stringify(value, null, 2)}\n`);
  }

  /** Records a stage as done: a resumed run skips it. */
  async finishStage(name: string): Promise<void> {
    if (!this.hasStage(name)) this.state.stages.push(name);
    await this.saveState();
  }

  /** Marks the whole folder as finished and removes the work files. */
  async finish(): Promise<void> {
    this.state.finished = true;
    for (const entry of (await list(this.workPath())) ?? []) {
      if (entry !== `${this.state.command}.json`) await fs.rm(this.workPath(entry), removeOptions);
    }
    await this.saveState();
  }

  private saveState(): Promise<void> {
    const target = this.workPath(`${this.state.command}.json`);
    return guarded(target, () => writeAtomic(target, `${JSON.stringify(this.state, null, 2)}\n`));
  }
}

/** State of an aborted or finished `command` in `dir`, or undefined where there is none. */
export async function readState(dir: string, command: string): Promise<FolderState | undefined> {
  let text: string;
  try {
    text = await fs.readFile(path.join(dir, stateFolder, `${command}.json`), 'utf8');
  } catch {
    return undefined;
  }
  try {
    const state = JSON.parse(text) as FolderState;
    const valid =
      state.command === command &&
      state.version === stateVersion &&
      typeof state.fingerprint === 'string' &&
      isStringList(state.stages) &&
      isStringList(state.files);
    return valid ? state : undefined;
  } catch {
    return undefined;
  }
}

/** Writes beside the target, flushes to disk, renames. A crash leaves the old file or the new one, never a part. */
export async function writeAtomic(target: string, data: string | Uint8Array): Promise<void> {
  await makeFolder(path.dirname(target));
  const temporary = `${target}.${process.pid}.tmp`;
  try {
    const handle = await fs.open(temporary, 'w');
    try {
      await handle.writeFile(data);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await fs.rename(temporary, target);
  } catch (error) {
    await fs.rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
}

/**
 * Like mkdir with `recursive`, which in Node 20 never returns where a parent answers ENOENT to every mkdir (as /proc
 * does).
 */
async function makeFolder(dir: string): Promise<void> {
  try {
    await fs.mkdir(dir);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && (await fs.stat(dir)).isDirectory()) return;
    const parent = path.dirname(dir);
    const parentMissing =
      code === 'ENOENT' &&
      parent !== dir &&
      !(await fs.stat(parent).then(
        () => true,
        () => false,
      ));
    if (!parentMissing) throw error;
    await makeFolder(parent);
    await makeFolder(dir);
  }
}

function isStringList(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

/** A state file is only data: its names must not reach outside the folder. */
function isInside(file: string): boolean {
  return !path.isAbsolute(file) && !path.normalize(file).startsWith('..') && path.normalize(file) !== '.';
}

async function list(dir: string): Promise<string[] | undefined> {
  try {
    return await fs.readdir(dir);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') return undefined;
    if (code === 'ENOTDIR')
      throw new OutputError(`${dir}: is a file (or lies under one), expected a folder; choose another --out`);
    throw unwritable(dir, error);
  }
}

async function nearestExisting(dir: string): Promise<string> {
  let current = dir;
  for (;;) {
    const parent = path.dirname(current);
    if (parent === current) return current;
    current = parent;
    const found = await fs.stat(current).then(
      (stat) => stat.isDirectory(),
      () => false,
    );
    if (found) return current;
  }
}

async function checkWritable(existing: string, wanted: string): Promise<void> {
  try {
    await fs.access(existing, fs.constants.W_OK | fs.constants.X_OK);
  } catch (error) {
    throw unwritable(wanted, error);
  }
}

function unwritable(target: string, error: unknown): OutputError {
  const code = (error as NodeJS.ErrnoException).code ?? String(error);
  const reason: Record<string, string> = {
    EACCES: 'no permission to write',
    EPERM: 'no permission to write',
    EROFS: 'the file system is read-only',
    ENOSPC: 'the disk is full',
    EDQUOT: 'the disk quota is used up',
  };
  return new OutputError(
    `${target}: cannot be written (${reason[code] ?? code}); choose another --out or fix the folder`,
    {
      cause: error,
    },
  );
}

async function guarded<T>(target: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof OutputError) throw error;
    throw unwritable(target, error);
  }
}

function fingerprint(settings: Record<string, unknown>): string {
  return JSON.stringify(Object.fromEntries(Object.entries(settings).sort(([a], [b]) => (a < b ? -1 : 1))));
}

function differences(earlier: string, settings: Record<string, unknown>): string {
  const before = JSON.parse(earlier) as Record<string, unknown>;
  const names = [...new Set([...Object.keys(before), ...Object.keys(settings)])];
  const changed = names.filter((name) => JSON.stringify(before[name]) !== JSON.stringify(settings[name]));
  return changed
    .map((name) => `${name} ${JSON.stringify(before[name])} → ${JSON.stringify(settings[name])}`)
    .join(', ');
}
