/** Pictures for training: crops of photographs and views of procedural scenes, as bytes [count, 3, size, size]. */
import { sampleScene, seedOf, renderViews, Rng } from '../../scene/procedural';
import type { SplitName } from '../../scene/procedural';
import { nativeRenderer } from '../../scene/procedural/native';
import { PhotoCrops } from './photos';

export interface PicturePool {
  /** [count, 3, size, size] RGB bytes. */
  data: Uint8Array;
  count: number;
  size: number;
}

/** Views of procedural scenes, `perScene` of each. */
export function proceduralPool(split: SplitName, count: number, size: number, perScene = 3): PicturePool {
  const { raycast } = nativeRenderer();
  const view = 3 * size * size;
  const data = new Uint8Array(count * view);
  for (let first = 0, i = 0; first < count; first += perScene, i++) {
    const scene = sampleScene(seedOf(split, i));
    const cameras = scene.cameras.views.filter((_, v) => v % 3 === i % 3).slice(0, Math.min(perScene, count - first));
    const { rgb } = renderViews(scene, cameras, { width: size, height: size, spp: 4 }, raycast);
    for (let k = 0; k < rgb.length; k++) data[first * view + k] = Math.round(rgb[k] * 255);
  }
  return { data, count, size };
}

/** Crops of the photographs below `folder`. */
export async function photoPool(folder: string, seed: number, count: number, size: number, signal: AbortSignal): Promise<PicturePool> {
  const photos = await PhotoCrops.load(folder, signal);
  return { data: await photos.pool(seed, count, size, signal), count, size };
}

/** Pools one after the other. */
export function joinPools(pools: PicturePool[]): PicturePool {
  const [{ size }] = pools;
  const data = new Uint8Array(pools.reduce((bytes, pool) => bytes + pool.data.length, 0));
  let offset = 0;
  for (const pool of pools) {
    data.set(pool.data, offset);
    offset += pool.data.length;
  }
  return { data, size, count: pools.reduce((count, pool) => count + pool.count, 0) };
}

/** `batch` random pictures of a pool in [-1, 1], [batch, 3, size, size]; brightness and channel gains jittered. */
export function drawBatch(pool: PicturePool, rng: Rng, batch: number, jitter: number): Float32Array {
  const pixels = pool.size * pool.size;
  const out = new Float32Array(batch * 3 * pixels);
  for (let b = 0; b < batch; b++) {
    const at = rng.int(pool.count) * 3 * pixels;
    const overall = rng.range(1 - jitter, 1 + jitter);
    for (let c = 0; c < 3; c++) {
      const gain = (overall * rng.range(1 - jitter / 2, 1 + jitter / 2)) / 127.5;
      for (let p = 0; p < pixels; p++) {
        out[(b * 3 + c) * pixels + p] = Math.min(1, pool.data[at + c * pixels + p] * gain - 1);
      }
    }
  }
  return out;
}
