import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { SceneError } from '../../binding/errors';
import { Rng } from '../../scene/procedural';

/** Photographs are kept at most this large: a training crop is never wider. */
const MAX_SIDE = 900;
const EXTENSIONS = /\.(jpe?g|png|webp)$/i;

interface Photo {
  data: Buffer;
  width: number;
  height: number;
}

/** Random square crops of the photographs below a folder, for training. */
export class PhotoCrops {
  private constructor(private readonly photos: Photo[]) {}

  get count(): number {
    return this.photos.length;
  }

  /** Loads every photograph below `folder`; throws SceneError when there is none. */
  static async load(folder: string, signal: AbortSignal): Promise<PhotoCrops> {
    const photos: Photo[] = [];
    for (const path of imagePaths(folder)) {
      signal.throwIfAborted();
      const { data, info } = await sharp(path)
        .rotate()
        .flatten({ background: '#ffffff' })
        .resize(MAX_SIDE, MAX_SIDE, { fit: 'inside', withoutEnlargement: true })
        .toColourspace('srgb')
        .raw()
        .toBuffer({ resolveWithObject: true });
      if (info.channels === 3) photos.push({ data, width: info.width, height: info.height });
    }
    if (photos.length === 0) throw new SceneError(`${folder}: no photographs (jpg, png, webp) below this folder`);
    return new PhotoCrops(photos);
  }

  /** One crop as RGB bytes, HWC: side between `size` and the whole photograph (log-uniform), mirrored half the time. */
  async crop(rng: Rng, size: number): Promise<Buffer> {
    const photo = rng.pick(this.photos);
    const longest = Math.min(photo.width, photo.height);
    const side = Math.min(longest, Math.round(size * (longest / size) ** rng.range()));
    const left = rng.int(photo.width - side + 1);
    const top = rng.int(photo.height - side + 1);
    let image = sharp(photo.data, { raw: { width: photo.width, height: photo.height, channels: 3 } })
      .extract({ left, top, width: side, height: side })
      .resize(size, size, { kernel: 'lanczos3' });
    if (rng.chance(0.5)) image = image.flop();
    return image.raw().toBuffer();
  }

  /**
   * `count` crops [count, 3, size, size] in [0, 1] along a straight path over one photograph, each overlapping the next: what a
   * camera that slides past would see.
   */
  async path(rng: Rng, size: number, count: number): Promise<Float32Array> {
    const photo = rng.pick(this.photos);
    const longest = Math.min(photo.width, photo.height);
    const side = Math.min(longest, Math.round(longest * rng.range(0.35, 0.85)));
    const [freeX, freeY] = [photo.width - side, photo.height - side];
    const from = [rng.range(0, freeX), rng.range(0, freeY)];
    const to = [rng.range(0, freeX), rng.range(0, freeY)];
    const flop = rng.chance(0.5);
    const pixels = size * size;
    const views = new Float32Array(count * 3 * pixels);
    for (let v = 0; v < count; v++) {
      const at = v / Math.max(1, count - 1);
      const left = Math.round(from[0] + (to[0] - from[0]) * at);
      const top = Math.round(from[1] + (to[1] - from[1]) * at);
      const crop = await sharp(photo.data, { raw: { width: photo.width, height: photo.height, channels: 3 } })
        .extract({ left, top, width: side, height: side })
        .resize(size, size, { kernel: 'lanczos3' })
        .flop(flop)
        .raw()
        .toBuffer();
      for (let p = 0; p < pixels; p++) for (let c = 0; c < 3; c++) views[(v * 3 + c) * pixels + p] = crop[3 * p + c] / 255;
    }
    return views;
  }

  /** `count` crops packed [count, 3, size, size] bytes. */
  async pool(seed: number, count: number, size: number, signal: AbortSignal): Promise<Uint8Array> {
    const pixels = size * size;
    const packed = new Uint8Array(count * 3 * pixels);
    const batch = 16;
    for (let first = 0; first < count; first += batch) {
      signal.throwIfAborted();
      const ids = Array.from({ length: Math.min(batch, count - first) }, (_, i) => first + i);
      const crops = await Promise.all(ids.map((id) => this.crop(new Rng(seed, 0, id), size)));
      for (const [i, crop] of crops.entries()) planar(crop, packed, (first + i) * 3 * pixels, pixels);
    }
    return packed;
  }
}

/** HWC bytes -> CHW bytes at `offset`. */
function planar(hwc: Uint8Array, chw: Uint8Array, offset: number, pixels: number): void {
  for (let p = 0; p < pixels; p++) {
    for (let c = 0; c < 3; c++) chw[offset + c * pixels + p] = hwc[3 * p + c];
  }
}

/** Every picture below a folder, in a fixed order; desktop previews ("screenshot") are copies of others and left out. */
function imagePaths(folder: string): string[] {
  return readdirSync(folder)
    .sort()
    .flatMap((name) => {
      const path = join(folder, name);
      if (statSync(path).isDirectory()) return imagePaths(path);
      return EXTENSIONS.test(name) && !/screenshot/i.test(name) ? [path] : [];
    });
}
