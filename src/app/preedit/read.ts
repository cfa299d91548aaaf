/** Reads what `rl3dedit preedit` wrote. */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { z } from 'zod';
import { ConfigError } from '../../binding/errors';
import { centreCrop, cropImage, readImage, resizeImage } from '../../scene';
import type { Image } from '../../scene';
import { parseWith } from '../parity/kinds';
import { flaws } from './quality';

export const preeditFile = 'preedit.json';

const index = z.number().int().min(0);

const editSchema = z.object({
  /** Indices into `prompts` and `views`. */
  prompt: index,
  view: index,
  /** PNG relative to the folder; null where the edit has no picture (not finite). */
  file: z.string().min(1).nullable(),
  /** Seed of the initial noise: of the run's seed, the instruction and the view's name. */
  seed: index,
  strength: z.number().nullable(),
  sharpness: z.number().nullable(),
  contrast: z.number().nullable(),
  flaws: z.array(z.enum(flaws)),
  /** Has no flaws. */
  usable: z.boolean(),
});

const recordSchema = z.object({
  version: z.literal(1),
  scene: z.object({ name: z.string(), path: z.string() }),
  model: z.string(),
  device: z.string(),
  dtype: z.enum(['f32', 'bf16']),
  seed: index,
  steps: z.number().int().min(1),
  guidance: z.number(),
  /** Size of the pictures: the centre of each view, cut to this aspect. */
  width: z.number().int().min(1),
  height: z.number().int().min(1),
  /** sha256 of the settings that decide the edits. */
  settingsHash: z.string().regex(/^[0-9a-f]{64}$/, 'expected a sha256'),
  limits: z.object({ minStrength: z.number(), minSharpness: z.number(), minContrast: z.number() }),
  prompts: z.array(z.string().min(1)).min(1),
  views: z.array(z.object({ name: z.string(), sceneIndex: index })).min(1),
  /** For each prompt, each view: `prompt · views + view`. */
  edits: z.array(editSchema),
  seconds: z.number(),
});

/** Contents of preedit.json. */
export type PreeditRecord = z.output<typeof recordSchema>;
export type PreeditEntry = PreeditRecord['edits'][number];

/** The finished single-view edits of a scene. */
export class Preedits {
  constructor(
    readonly folder: string,
    readonly record: PreeditRecord,
  ) {}

  /** Edit of a view (index into `record.views`) by an instruction (index into `record.prompts`). @throws ConfigError */
  entry(prompt: number, view: number): PreeditEntry {
    const { prompts, views, edits } = this.record;
    if (!(prompt in prompts) || !(view in views)) {
      throw new ConfigError(
        `${this.folder}: there is no edit of view ${view} by instruction ${prompt}; it holds ${views.length} views and ` +
          `${prompts.length} instructions`,
      );
    }
    return edits[prompt * views.length + view];
  }

  /** Indices of the views that have a usable edit by an instruction. */
  usableViews(prompt: number): number[] {
    return this.record.views.flatMap((_, view) => (this.entry(prompt, view).usable ? [view] : []));
  }

  /**
   * The edited picture, its centre cut to the aspect of `size` and resized to it (Lanczos); as it is without.
   * @throws ConfigError for an edit without a picture, SceneError for a missing or damaged one
   */
  async picture(
    prompt: number,
    view: number,
    size?: { width: number; height: number },
    signal?: AbortSignal,
  ): Promise<Image> {
    const { file } = this.entry(prompt, view);
    if (file === null) {
      throw new ConfigError(`${this.folder}: view ${this.record.views[view].name} has no picture (its edit was not finite)`);
    }
    const image = await readImage(path.join(this.folder, file), { signal });
    if (!size) return image;
    const { width, height } = size;
    return resizeImage(cropImage(image, centreCrop(image.width, image.height, width, height)), width, height, 'lanczos');
  }
}

/**
 * Reads and checks a folder made by `rl3dedit preedit`: pictures are decoded later, but must be there.
 * @throws ConfigError when the folder is none, unfinished, damaged, or holds no usable edit
 */
export async function readPreedits(folder: string): Promise<Preedits> {
  const file = path.join(folder, preeditFile);
  let text: string;
  try {
    text = await fs.readFile(file, 'utf8');
  } catch (error) {
    const begun = await fs.stat(path.join(folder, '.rl3dedit', 'preedit.json')).catch(() => undefined);
    throw new ConfigError(
      begun
        ? `${folder}: these pre-edits are unfinished; go on with: rl3dedit preedit --out ${folder} --resume`
        : `${folder}: holds no pre-edits (${preeditFile} is missing); make them with: rl3dedit preedit --out ${folder}`,
      { cause: error },
    );
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new ConfigError(`${file}: damaged (${(error as Error).message}); make it again`, { cause: error });
  }
  const record = parseWith(recordSchema, json, file);
  const { prompts, views, edits } = record;
  const complete =
    edits.length === prompts.length * views.length &&
    edits.every(({ prompt, view }, i) => prompt * views.length + view === i && view < views.length);
  if (!complete) {
    throw new ConfigError(
      `${file}: edits: expected one per instruction and view, ${prompts.length} × ${views.length} in order, got ${edits.length}`,
    );
  }
  for (const { file: picture } of edits) {
    if (picture === null) continue;
    const inside = !path.isAbsolute(picture) && !path.normalize(picture).startsWith('..');
    const found = inside && (await fs.stat(path.join(folder, picture)).catch(() => undefined))?.isFile();
    if (!found) throw new ConfigError(`${folder}: ${picture} is missing; make the pre-edits again with --overwrite`);
  }
  if (!edits.some(({ usable }) => usable)) {
    throw new ConfigError(`${folder}: none of the ${edits.length} edits is usable; see flaws in ${preeditFile}`);
  }
  return new Preedits(folder, record);
}
