/** Writes edits of a procedural scene beside it: instruction, latents, masks and the exact pictures of several answers. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ProceduralCamera } from './cameras';
import { renderEdit } from './edit-render';
import { editAlternatives, type AnyEditFamily } from './edits';
import { encodeGrey, encodePfm, encodePng, viewName } from './image-files';
import type { Raycast, RenderedViews, RenderSize } from './render';
import type { ProceduralScene } from './world';

export interface WrittenEdit {
  readonly family: AnyEditFamily;
  readonly index?: number;
  /** How many answers to write, images_z0, images_z1, ...; fewer where there are fewer. 2 unless told. */
  readonly answers?: number;
}

export const editFolder = ({ family, index = 0 }: WrittenEdit): string => `${family}_${String(index).padStart(2, '0')}`;

/**
 * `folder`/edits/<family>_<index>/: instruction.txt, z.json (the latent of each answer), mask/NNN.png (255 where answer 0
 * changes the view), images_z<k>/NNN.png and depth_z0/NNN.pfm. `before` are the unedited views of `cameras`.
 */
export async function writeEdit(
  scene: ProceduralScene,
  cameras: readonly ProceduralCamera[],
  before: RenderedViews,
  wanted: WrittenEdit,
  folder: string,
  size: RenderSize,
  raycast: Raycast,
): Promise<void> {
  const { width, height } = size;
  const pixels = width * height;
  const { family, index = 0, answers = 2 } = wanted;
  const edits = editAlternatives(scene, family, index, answers);
  const root = join(folder, 'edits', editFolder(wanted));
  const put = async (name: string, view: number, extension: string, data: Buffer): Promise<void> => {
    await mkdir(join(root, name), { recursive: true });
    await writeFile(join(root, name, `${viewName(view)}.${extension}`), data);
  };
  for (const [k, edit] of edits.entries()) {
    const { rgb, depth, mask } = renderEdit(edit, before, cameras, size, raycast);
    for (let v = 0; v < cameras.length; v++) {
      const [from, to] = [v * pixels, (v + 1) * pixels];
      await put(`images_z${k}`, v, 'png', await encodePng(rgb.subarray(3 * from, 3 * to), width, height));
      if (k > 0) continue;
      await put('mask', v, 'png', await encodeGrey(mask.subarray(from, to).map((changed) => 255 * changed), width, height));
      await put('depth_z0', v, 'pfm', encodePfm(depth.subarray(from, to), width, height));
    }
  }
  const described = { family, index, instruction: edits[0].instruction, z: edits.map(({ latent }) => latent) };
  await writeFile(join(root, 'z.json'), `${JSON.stringify(described, null, 1)}\n`);
  await writeFile(join(root, 'instruction.txt'), `${edits[0].instruction}\n`);
}
