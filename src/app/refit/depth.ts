/** Depth of edited views as the verifier sees it, in the units of the scene. */
import { sampleAt } from '../../rewards/view-geometry';
import type { Image } from '../../scene';
import type { Verifier } from '../model';

export interface SeenDepth {
  /** [V][H W] before and after the edit, in world units. */
  before: Float32Array[];
  after: Float32Array[];
}

/**
 * Reads depth before and after. Each view's scale is set where the edit changed nothing (anywhere, for an edit of whole pictures), by the
 * median ratio of the source splats' depth to the verifier's.
 * @param sourceDepth [V][H W], 0 where there is none
 */
export async function seenDepth(
  verifier: Verifier, before: readonly Image[], after: readonly Image[], sourceDepth: readonly Float32Array[],
  masks: readonly Float32Array[] | undefined, signal: AbortSignal,
): Promise<SeenDepth> {
  const [first, second] = await verifier.readSets([before, after], { depth: true, signal });
  const planes = ({ depthMap }: typeof first): Float32Array[] => {
    const { data, width, height } = depthMap!;
    return before.map((image, v) => {
      const plane = data.subarray(v * width * height, (v + 1) * width * height);
      return enlarged(plane, width, height, image.width, image.height);
    });
  };
  const [raw, edited] = [planes(first), planes(second)];
  const scaleOf = (plane: Float32Array, v: number): number => {
    const ratios: number[] = [];
    plane.forEach((z, i) => {
      if (z > 0 && sourceDepth[v][i] > 0 && !(masks && masks[v][i] > 0)) ratios.push(sourceDepth[v][i] / z);
    });
    return ratios.length > 0 ? ratios.sort((a, b) => a - b)[ratios.length >> 1] : 0;
  };
  const scaled = (all: Float32Array[]): Float32Array[] =>
    all.map((plane, v) => {
      const factor = scaleOf(plane, v);
      return plane.map((z) => z * factor);
    });
  return { before: scaled(raw), after: scaled(edited) };
}

/** Relative change of depth from which a pixel's surface counts as moved: above what the verifier's own error makes. */
const movedBy = 0.1;
/** Share of edited pixels whose surface moved, from which an edit is one of shape. */
const shapeShare = 0.25;

/** Whether the edit moved surfaces: as the verifier sees it before and after. */
export function changesShape({ before, after }: SeenDepth, masks: readonly Float32Array[] | undefined): boolean {
  let [moved, edited] = [0, 0];
  after.forEach((plane, v) =>
    plane.forEach((z, i) => {
      if (masks && masks[v][i] === 0) return;
      edited += 1;
      if (Math.abs(z - before[v][i]) > movedBy * before[v][i]) moved += 1;
    }),
  );
  return edited > 0 && moved / edited > shapeShare;
}

/** Bilinear; depths know no range that an image resize would clamp to. */
function enlarged(plane: Float32Array, width: number, height: number, toWidth: number, toHeight: number): Float32Array {
  return Float32Array.from({ length: toWidth * toHeight }, (_, i) => {
    const [x, y] = [(i % toWidth) + 0.5, Math.floor(i / toWidth) + 0.5];
    return sampleAt(plane, 0, width, height, (x * width) / toWidth, (y * height) / toHeight);
  });
}
