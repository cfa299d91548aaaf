/**
 * nerfstudio scenes: a folder with `transforms.json` (camera-to-world poses with OpenGL axes, intrinsics per file or
 * per frame, lens coefficients) and, mostly, `sparse_pc.ply`. Poses and points are in one frame as written:
 * `applied_transform` records what the exporter has done to both already and is not applied again.
 */
import { access } from 'node:fs/promises';
import { basename, extname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { z } from 'zod';
import { SceneError } from '../../binding/errors';
import { Camera, rigidMatrix, worldToCamFromOpenGl } from '../cameras';
import { readImageSize } from '../image';
import { parseJson, readText } from '../json';
import { lensFor, straightenedCamera } from '../lens';
import type { Scene, SceneView } from '../scene';
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
type Frame = z.infer<typeof fileSchema>['frames'][number];

/** `file` relative to `root`, refused when it leaves the folder. */
function insideRoot(root: string, file: string, what: string): string {
  const full = resolve(root, file);
  const inside = relative(root, full);
  const outside = inside === '' || inside === '..' || inside.startsWith(`..${sep}`) || isAbsolute(inside);
  if (file.includes('\0') || outside) {
    throw new SceneError(`${what}: "${file}" does not lie inside the scene folder ${root}`);
  }
  return full;
}

const exists = (path: string): Promise<boolean> => access(path).then(() => true, () => false);

/** Blender-style files leave the ending away. */
async function findImage(path: string): Promise<string | undefined> {
  if (await exists(path)) return path;
  if (extname(path) !== '') return undefined;
  for (const ending of ['.png', '.jpg', '.jpeg']) if (await exists(path + ending)) return path + ending;
  return undefined;
}

/** Intrinsics of one frame: each value from the frame where given, else from the top of the file. */
async function photographCamera(
  values: Intrinsics, imagePath: string, what: string, worldToCam: Float64Array,
): Promise<Camera> {
  const size = values.w !== undefined && values.h !== undefined ? undefined : await readImageSize(imagePath);
  const width = values.w ?? size!.width;
  const height = values.h ?? size!.height;
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

async function viewOf(
  frame: Frame, top: Intrinsics, imagePath: string, name: string, file: string,
): Promise<SceneView> {
  const what = `${file}: frame "${frame.file_path}"`;
  const pose = rigidMatrix(frame.transform_matrix.flat(), `${what}, transform_matrix`);
  const values = mergeIntrinsics(top, frame);
  const camera = await photographCamera(values, imagePath, what, worldToCamFromOpenGl(pose));
  const { k1, k2, k3, k4, k5, k6, p1, p2 } = values;
  const lens = lensFor(values.camera_model ?? 'OPENCV', { k1, k2, k3, k4, k5, k6, p1, p2 }, what);
  if (!lens) return { name, imagePath, camera };
  return { name, imagePath, camera: straightenedCamera(camera, lens, what), photograph: { camera, lens } };
}

function validated(json: unknown, file: string): z.infer<typeof fileSchema> {
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
 * Unique short names: the file name without its ending where that is unambiguous, else the whole path for every view.
 */
function viewNames(paths: readonly string[]): readonly string[] {
  const short = paths.map((path) => basename(path, extname(path)));
  return new Set(short).size === paths.length ? short : paths;
}

/**
 * Loads a nerfstudio scene; `root` is the folder. Decodes no image, but checks that all of them exist.
 * @throws SceneError for broken JSON (with line and column), missing or doubled images, poses that are no rigid motion,
 *   unknown camera models and damaged point files.
 */
export async function loadNerfstudio(root: string): Promise<Scene> {
  const file = join(root, transformsFileName);
  const top = validated(parseJson(await readText(file, maxJsonBytes), file), file);
  const frames = [...top.frames].sort((a, b) => (a.file_path < b.file_path ? -1 : a.file_path > b.file_path ? 1 : 0));
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
  if (missing.length > 0) {
    const more = missing.length > 5 ? ` and ${missing.length - 5} more` : '';
    throw new SceneError(
      `${file}: ${missing.length} of ${frames.length} images are missing: ${missing.slice(0, 5).join(', ')}${more}`,
    );
  }
  const names = viewNames(frames.map((frame) => frame.file_path));
  const views: SceneView[] = [];
  for (let i = 0; i < frames.length; i++) views.push(await viewOf(frames[i], top, images[i], names[i], file));

  const warnings: string[] = [];
  const pointsFile = insideRoot(root, top.ply_file_path ?? 'sparse_pc.ply', file);
  const hasPoints = await exists(pointsFile);
  if (!hasPoints && top.ply_file_path !== undefined) {
    warnings.push(`the point file ${top.ply_file_path} is missing; going on without points`);
  }
  const points = hasPoints ? await readPointsPly(pointsFile) : undefined;
  return { name: basename(resolve(root)), root, format: 'nerfstudio', views, points, warnings };
}
