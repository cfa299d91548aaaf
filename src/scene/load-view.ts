/** One view as a straightened image of a wanted size, with the camera that belongs to it. */
import { SceneError, ShapeError } from '../binding/errors';
import { Camera, centreCrop, cropCamera, scaleCamera } from './cameras';
import { cropImage, Image, readImage, ReadImageOptions, throwIfAborted } from './image';
import { Lens, remap, straightenedCamera, UndistortMap, undistortMap } from './lens';
import { resizeImage } from './resize';
import type { SceneView } from './scene';

export interface LoadViewOptions extends ReadImageOptions {
  /** Target size in pixels; default: the size of the photograph. */
  width?: number;
  height?: number;
}

export interface LoadedView {
  readonly image: Image;
  readonly camera: Camera;
}

interface CachedMap {
  readonly source: Camera;
  readonly lens: Lens;
  readonly map: UndistortMap;
}
/** Views of one scene mostly share a lens, so the last map serves the next view. */
let lastMap: CachedMap | undefined;

function mapFor(source: Camera, lens: Lens, target: Camera): UndistortMap {
  const same =
    lastMap !== undefined &&
    (['width', 'height', 'fx', 'fy', 'cx', 'cy'] as const).every((key) => lastMap!.source[key] === source[key]) &&
    (Object.keys(lens) as (keyof Lens)[]).every((key) => lastMap!.lens[key] === lens[key]);
  if (!same) lastMap = { source, lens, map: undistortMap(source, lens, target) };
  return lastMap!.map;
}

/**
 * The camera at the size of the image file; scenes are often shipped with images smaller than their file says.
 * @throws SceneError when the aspect differs by more than a pixel.
 */
export function atFileSize(
  camera: Camera,
  image: { readonly width: number; readonly height: number },
  view: Pick<SceneView, 'name' | 'imagePath'>,
): Camera {
  if (camera.width === image.width && camera.height === image.height) return camera;
  const sx = image.width / camera.width;
  const sy = image.height / camera.height;
  // One pixel of rounding per side is what an integer downscale can cost.
  if (Math.abs(camera.width * sy - image.width) > 1 && Math.abs(camera.height * sx - image.height) > 1) {
    throw new SceneError(
      `view ${view.name}: ${view.imagePath} is ${image.width}x${image.height}, but its camera is for ` +
        `${camera.width}x${camera.height} and the aspect differs; the intrinsics do not belong to this image`,
    );
  }
  return scaleCamera(camera, image.width, image.height);
}

/**
 * Decodes one view, removes its lens distortion (bilinear), cuts the centre to the target aspect and resizes (Lanczos);
 * never stretches except for the fraction of a pixel by which a whole-pixel crop misses the aspect, and the intrinsics
 * follow exactly.
 * @returns image [3, height, width] and its pinhole camera.
 * @throws SceneError (file), ShapeError (size), AbortError.
 */
export async function loadView(view: SceneView, options: LoadViewOptions = {}): Promise<LoadedView> {
  const { signal } = options;
  for (const side of [options.width, options.height]) {
    if (side !== undefined && (!Number.isInteger(side) || side < 1)) {
      throw new ShapeError(
        `view ${view.name}: expected a whole positive target size, got ${options.width}x${options.height}`,
      );
    }
  }
  throwIfAborted(signal);
  let image = await readImage(view.imagePath, options);
  throwIfAborted(signal);
  let camera = atFileSize(view.camera, image, view);
  if (view.photograph) {
    const source = atFileSize(view.photograph.camera, image, view);
    const { lens } = view.photograph;
    if (camera !== view.camera) camera = straightenedCamera(source, lens, `view ${view.name}`);
    image = remap(image, mapFor(source, lens, camera));
    throwIfAborted(signal);
  }
  const other = (side: number, ratio: number): number => Math.max(1, Math.round(side * ratio));
  const aspect = image.width / image.height;
  const width = options.width ?? (options.height === undefined ? image.width : other(options.height, aspect));
  const height = options.height ?? other(width, 1 / aspect);
  const rect = centreCrop(image.width, image.height, width, height);
  image = cropImage(image, rect);
  camera = scaleCamera(cropCamera(camera, rect), width, height);
  return { image: resizeImage(image, width, height, 'lanczos'), camera };
}
