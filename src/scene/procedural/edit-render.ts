/** Exact pictures, depth, ids and edit masks of an edit in every view. */
import type { ProceduralCamera } from './cameras';
import { globalEditNames } from './edit-filters';
import type { ProceduralEdit } from './edits';
import { renderViews, type Raycast, type RenderedViews, type RenderSize } from './render';

export interface EditedViews extends RenderedViews {
  /** [V, H, W]: 1 where the picture changes, 0 where it must not. Shadows and reflected light count. */
  readonly mask: Uint8Array;
}

/** [V, H, W] from two pictures [V, 3, H, W]: 1 where any channel differs. Equal scenes give equal bytes, so no tolerance. */
export function changedPixels(before: Float32Array, after: Float32Array, pixelsPerView: number): Uint8Array {
  const mask = new Uint8Array(before.length / 3);
  for (let i = 0; i < mask.length; i++) {
    const at = i + 2 * pixelsPerView * Math.floor(i / pixelsPerView);
    const same = (c: number): boolean => before[at + c * pixelsPerView] === after[at + c * pixelsPerView];
    mask[i] = same(0) && same(1) && same(2) ? 0 : 1;
  }
  return mask;
}

/**
 * What every camera sees after the edit: one scene, one latent. `before` are the unedited views of the same cameras and
 * size. Ids follow the edited scene: after a removal the later objects move down by one.
 */
export function renderEdit(
  edit: ProceduralEdit,
  before: RenderedViews,
  cameras: readonly ProceduralCamera[],
  size: RenderSize,
  raycast: Raycast,
): EditedViews {
  const { width, height } = size;
  const pixels = width * height;
  let after = before;
  if ((globalEditNames as readonly string[]).includes(edit.family)) {
    const rgb = new Float32Array(before.rgb.length);
    cameras.forEach((_, v) => {
      const picture = before.rgb.subarray(3 * v * pixels, 3 * (v + 1) * pixels);
      rgb.set(edit.apply({ rgb: picture, width, height, shade: () => picture }), 3 * v * pixels);
    });
    after = { ...before, rgb };
  } else {
    after = renderViews(edit.scene, cameras, size, raycast);
  }
  return { ...after, mask: changedPixels(before.rgb, after.rgb, pixels) };
}
