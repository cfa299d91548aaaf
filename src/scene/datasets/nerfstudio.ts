/**
 * nerfstudio scenes: a folder with `transforms.json` (camera-to-world poses with OpenGL axes, intrinsics per file or
 * per frame, lens coefficients) and, mostly, `sparse_pc.ply`. Poses and points are in one frame as written:
 * `applied_transform` records what the exporter has done to both already and is not applied again.
 */
import { basename, join, resolve } from 'node:path';
import { z } from 'zod';
import { SceneError } from '../../binding/errors';
import { Camera, rigidMatrix, worldToCamFromOpenGl } from '../cameras';
import { readImageSize } from '../image';
import { parseJson, readText } from '../json';
import { lensFor, straightenedCamera } from '../lens';
import type { Scene, SceneFormat, SceneView } from '../scene';
import { compareText, exists, findImage, insideRoot, refuseMissing, viewNames } from './files';
import { readPointsPly } from './ply-points';

/** The file that marks this layout. */
export const transformsFileName = 'transforms.json';

const maxJsonBytes = 256 * 2 ** 20;
const maxFrames = 100_000;

const positive = z.number().positive();
const pixels = z.number().int().min(1).max(1 << 20);
const intrinsicsSchema = z.object({
  camera_model: z.string().optional(),
  w: pixels.optional(),
  h: pixels.optional(),
  fl_x: positive.optional(),
  fl_y: positive.optional(),
  cx: z.number().optional(),
  cy: z.number().optional(),
  camera_angle_x: positive.max(Math.PI).optional(),
  camera_angle_y: positive.max(Math.PI).optional(),
  k1: z.number().optional(),
  k2: z.number().optional(),
  k3: z.number().optional(),
  k4: z.number().optional(),
  k5: z.number().optional(),
  k6: z.number().optional(),
  p1: z.number().optional(),
  p2: z.number().optional(),
  sx1: z.number().optional(),
  sy1: z.number().optional(),
  omega: z.number().optional(),
});
type Intrinsics = z.infer<typeof intrinsicsSchema>;

const fileSchema = intrinsicsSchema.extend({
  ply_file_path: z.string().min(1).optional(),
  frames: z
    .array(
      intrinsicsSchema.extend({
        file_path: z.string().min(1),
        transform_matrix: z.array(z.array(z.number()).length(4)).min(3).max(4),
      }),
    )
    .min(1)
    .max(maxFrames),
});
/** A transforms file whose values have the right types. */
export type Transforms = z.infer<typeof fileSchema>;
type Frame = Transforms['frames'][number];

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Intrinsics of one frame: each value from the frame where given, else from the top of the file. */
function photographCamera(
  values: Intrinsics, { width, height }: Size, what: string, worldToCam: Float64Array,
): Camera {
  const fromAngle = (angle: number | undefined, side: number): number | undefined =>
    angle === undefined ? undefined : side / (2 * Math.tan(angle / 2));
  const horizontal = values.fl_x ?? fromAngle(values.camera_angle_x, width);
  const vertical = values.fl_y ?? fromAngle(values.camera_angle_y, height);
  const fx = horizontal ?? vertical;
  const fy = vertical ?? horizontal;
  if (fx === undefined || fy === undefined) {
    throw new SceneError(
      `${what}: no focal length; expected fl_x (and fl_y) or camera_angle_x in the frame or at the top of the file`,
    );
  }
  if (!Number.isFinite(fx) || !Number.isFinite(fy)) {
    throw new SceneError(`${what}: the focal lengths are ${fx} and ${fy} pixels; check the camera angles`);
  }
  return { width, height, fx, fy, cx: values.cx ?? width / 2, cy: values.cy ?? height / 2, worldToCam };
}

/**
 * Entries of the frame laid over those of the file; a focal length in the frame is not mixed with an angle of the
 * file's, or back.
 */
function mergeIntrinsics(top: Intrinsics, frame: Intrinsics): Intrinsics {
  const base = { ...top };
  if (frame.camera_angle_x !== undefined && frame.fl_x === undefined) base.fl_x = base.fl_y = undefined;
  const given = Object.fromEntries(Object.entries(frame).filter(([, value]) => value !== undefined));
  return { ...base, ...given };
}

/**
 * Cameras and lens of one frame whose image has a known size.
 * @throws SceneError for poses and lenses that make no sense.
 */
export function transformsCamera(
  top: Transforms, frame: Frame, size: Size, file: string,
): Pick<SceneView, 'camera' | 'photograph'> {
  const what = `${file}: frame "${frame.file_path}"`;
  const pose = rigidMatrix(frame.transform_matrix.flat(), `${what}, transform_matrix`);
  const values = mergeIntrinsics(top, frame);
  const camera = photographCamera(values, size, what, worldToCamFromOpenGl(pose));
  const { k1, k2, k3, k4, k5, k6, p1, p2, sx1, sy1, omega } = values;
  const parameters = { k1, k2, k3, k4, k5, k6, p1, p2, sx1, sy1, omega };
  const lens = lensFor(values.camera_model ?? 'OPENCV', parameters, what);
  return lens ? { camera: straightenedCamera(camera, lens, what), photograph: { camera, lens } } : { camera };
}

/** The size that the file gives, else that of the image itself. */
async function imageSize(top: Transforms, frame: Frame, imagePath: string): Promise<Size> {
  const [width, height] = [frame.w ?? top.w, frame.h ?? top.h];
  if (width !== undefined && height !== undefined) return { width, height };
  const size = await readImageSize(imagePath);
  return { width: width ?? size.width, height: height ?? size.height };
}

/** Parses the text of a transforms file. @throws SceneError with line and column, or the names of the wrong entries. */
export function parseTransforms(text: string, file: string): Transforms {
  const json = parseJson(text, file);
  const parsed = fileSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const frames = (json as { frames?: { file_path?: unknown }[] } | null)?.frames;
  const issues = parsed.error.issues.slice(0, 5).map((issue) => {
    const [head, index] = issue.path;
    const frameName = head === 'frames' && typeof index === 'number' ? frames?.[index]?.file_path : undefined;
    const at = issue.path.length ? issue.path.join('.') : 'the file';
    return `${at}${typeof frameName === 'string' ? ` ("${frameName}")` : ''}: ${issue.message}`;
  });
  const more = parsed.error.issues.length - issues.length;
  throw new SceneError(`${file}: not a nerfstudio scene: ${issues.join('; ')}${more > 0 ? `; and ${more} more` : ''}`);
}

/**
 * Loads a nerfstudio scene; `root` is the folder. Decodes no image, but checks that all of them exist.
 * @throws SceneError for broken JSON (with line and column), missing or doubled images, poses that are no rigid motion,
 *   unknown camera models and damaged point files.
 */
export function loadNerfstudio(root: string): Promise<Scene> {
  return loadTransforms(root, transformsFileName, 'nerfstudio');
}

/** The same for a file of another name with the same contents. */
export async function loadTransforms(root: string, fileName: string, format: SceneFormat): Promise<Scene> {
  const file = join(root, fileName);
  const top = parseTransforms(await readText(file, maxJsonBytes), file);
  const frames = [...top.frames].sort((a, b) => compareText(a.file_path, b.file_path));
  const seen = new Map<string, string>();
  const missing: string[] = [];
  const images: string[] = [];
  for (const frame of frames) {
    const wanted = insideRoot(root, frame.file_path, file);
    const twin = seen.get(wanted);
    if (twin !== undefined) {
      throw new SceneError(`${file}: two frames name the same image ("${twin}" and "${frame.file_path}")`);
    }
    seen.set(wanted, frame.file_path);
    const found = await findImage(wanted);
    if (found === undefined) missing.push(frame.file_path);
    else images.push(found);
  }
  refuseMissing(missing, frames.length, file);
  const names = viewNames(frames.map((frame) => frame.file_path));
  const views: SceneView[] = [];
  for (const [i, frame] of frames.entries()) {
    const size = await imageSize(top, frame, images[i]);
    views.push({ name: names[i], imagePath: images[i], ...transformsCamera(top, frame, size, file) });
  }

  const warnings: string[] = [];
  const pointsFile = insideRoot(root, top.ply_file_path ?? 'sparse_pc.ply', file);
  const hasPoints = await exists(pointsFile);
  if (!hasPoints && top.ply_file_path !== undefined) {
    warnings.push(`the point file ${top.ply_file_path} is missing; going on without points`);
  }
  const points = hasPoints ? await readPointsPly(pointsFile) : undefined;
  return { name: basename(resolve(root)), root, format, views, points, warnings };
}
