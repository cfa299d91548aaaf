/**
 * Scenes that are splats alone: a .ply, .spz or .splat file, or an output folder of the first Gaussian splatting code. Their views are
 * rendered, from an arc of cameras or from those of the folder, and written as a dataset into the edit's folder; the edit goes on with that.
 */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { z } from 'zod';
import { AbortError, ConfigError, SceneError } from '../../binding/errors';
import { anchorProblem } from '../../config/edit';
import type { EditSettings } from '../../config/edit';
import { upAxis } from '../../scene/arc';
import { centreCrop, cropCamera, invertRigid, loadScene, planGrid, rigidMatrix, scaleCamera, selectViews, writeNerfstudio } from '../../scene';
import type { Camera, GridPlan, Scene } from '../../scene';
import { clearArc, splatArc, splatPoints } from '../../scene/gaussians/arc';
import type { UpAxis } from '../../scene/gaussians/arc';
import type { GaussianCloud } from '../../scene/gaussians/cloud';
import { readSplats, splatFormats } from '../../scene/gaussians/formats';
import { Gaussians } from '../../scene/gaussians/gaussians';
import { renderImage } from '../../scene/gaussians/rasterize';
import type { Device } from '../../tensor/device';
import type { AppEvent } from '../events';
import type { Editor } from '../model';
import type { OutputFolder } from '../output-folder';
import { backgroundColours, dataparserFile } from '../refit/source';

/** Where a scene of splats alone lies. */
export interface SplatScene {
  name: string;
  file: string;
  /** `cameras.json` of an output folder. */
  cameras?: string;
}

/** What the rendering of one needs, read and checked before anything is written. */
export interface OpenedSplats extends SplatScene {
  cloud: GaussianCloud;
  warnings: readonly string[];
  /** The cameras of the folder by picture name, at the size of its pictures. */
  given?: { name: string; camera: Camera }[];
}

/** Folder of the rendered views inside the edit's. */
export const sourceFolder = 'source';
const pointCloud = 'point_cloud';
const mostPoints = 5000;

/** The splats at that path; undefined where a scene with photographs may lie there. @throws SceneError */
export async function findSplatScene(scene: string): Promise<SplatScene | undefined> {
  const info = await fs.stat(scene).catch(() => undefined);
  if (info?.isFile() && splatFormats.some((format) => scene.toLowerCase().endsWith(`.${format}`))) {
    return { name: path.basename(scene), file: scene };
  }
  if (!info?.isDirectory()) return undefined;
  const names = await fs.readdir(scene);
  if (!names.includes('cameras.json') || !names.includes(pointCloud) || names.includes('transforms.json') || names.includes('sparse')) return undefined;
  const iterations = (await fs.readdir(path.join(scene, pointCloud)).catch(() => [])).flatMap((name) => /^iteration_(\d+)$/.exec(name)?.[1] ?? []);
  if (iterations.length === 0) throw new SceneError(`${scene}: ${pointCloud}/ has no folder iteration_N`);
  const last = Math.max(...iterations.map(Number));
  return {
    name: path.basename(path.resolve(scene)),
    file: path.join(scene, pointCloud, `iteration_${last}`, 'point_cloud.ply'),
    cameras: path.join(scene, 'cameras.json'),
  };
}

/** The scene of an edit: the views that were rendered from splats alone, or what the user gave. */
export async function sceneOfEdit(scene: string, dir: string): Promise<{ scene: Scene; splats?: string }> {
  const found = await findSplatScene(scene);
  return found ? { scene: await renderedScene(found, dir), splats: found.file } : { scene: await loadScene(scene) };
}

/** Whether the views were rendered already: they appear whole or not at all. */
export async function isRendered(dir: string): Promise<boolean> {
  return fs.access(path.join(dir, sourceFolder, 'transforms.json')).then(
    () => true,
    () => false,
  );
}

/** The rendered views as a scene. */
export async function renderedScene({ name }: SplatScene, dir: string): Promise<Scene> {
  return { ...(await loadScene(path.join(dir, sourceFolder))), name };
}

/** @throws ConfigError for settings that belong to scenes with photographs, SceneError, AbortError */
export async function openSplatScene(found: SplatScene, settings: EditSettings, signal: AbortSignal): Promise<OpenedSplats> {
  const stray = (['splats', 'dataparser'] as const).find((name) => settings[name] !== undefined);
  if (stray) throw new ConfigError(`${stray}: the scene ${settings.scene} is splats already, in the frame of the views made of it`);
  const problem = anchorProblem(settings);
  if (problem) throw new ConfigError(`${problem.setting}: ${problem.message}`);
  const { cloud, warnings } = await readSplats(found.file, { signal });
  if (cloud.count === 0) throw new SceneError(`${found.file}: holds no Gaussians`);
  return { ...found, cloud, warnings, ...(found.cameras ? { given: await readCameras(found.cameras) } : {}) };
}

/**
 * Renders the views that an edit needs and writes them to `source/`.
 * @throws SceneError, ConfigError (both before the folder is opened), OutputError, AbortError
 */
export async function* renderSplatScene(
  device: Device,
  editor: Editor,
  splats: OpenedSplats,
  settings: EditSettings,
  { folder, signal }: { folder: () => Promise<OutputFolder>; signal: AbortSignal },
): AsyncGenerator<AppEvent, Scene> {
  for (const message of splats.warnings) yield { type: 'warning', message };
  const { cloud } = splats;
  using gaussians = Gaussians.fromCloud(device, cloud);
  const points = splatPoints(cloud, mostPoints);
  const chosen = splats.given ? chooseGiven(splats, splats.given, points, editor, settings) : yield* chooseArc(gaussians, splats, points, editor, settings);
  const background = backgroundColours[settings.background];
  const views = [];
  for (const [i, { name, camera }] of chosen.entries()) {
    if (signal.aborted) throw new AbortError();
    yield { type: 'step', stage: 'scene', step: i, steps: chosen.length };
    views.push({ name, camera, image: await renderImage(gaussians, camera, { background }) });
  }
  const output = await folder();
  const target = await output.claim(sourceFolder);
  await fs.rm(target, { recursive: true, force: true });
  await writeNerfstudio(target, { views, ...(points.count > 0 ? { points } : {}) }, { signal });
  yield { type: 'step', stage: 'scene', step: chosen.length, steps: chosen.length };
  return renderedScene(splats, output.dir);
}

interface NamedCamera {
  name: string;
  camera: Camera;
}

/** Cameras on an arc; the settings that name views are checked here, before anything is written. */
async function* chooseArc(
  gaussians: Gaussians, splats: OpenedSplats, points: Scene['points'], editor: Editor, settings: EditSettings,
): AsyncGenerator<AppEvent, NamedCamera[]> {
  const plan = planFor(editor, settings, 1);
  const up = settings.up === 'auto' ? await likelyUp(splats.file) : settings.up;
  const arc = splatArc(splats.cloud, {
    views: settings.views, width: plan.cellWidth, height: plan.cellHeight, up, azimuthDeg: settings.azimuth,
  });
  const { cameras, moved } = await clearArc(gaussians, arc);
  yield {
    type: 'note',
    message:
      `${splats.name} has no cameras: ${cameras.length} views from an arc around it, ${up} up` +
      `${settings.up === 'auto' ? ' (a guess: set --up where the views stand on their side)' : ''}` +
      (moved > 0 ? `; ${moved} stood inside of something and were moved out` : ''),
  };
  const named = cameras.map((camera, i) => ({ name: `view_${String(i).padStart(2, '0')}`, camera }));
  if (settings.viewNames) selectViews(sceneFor(splats, named, points), { choose: settings.viewNames, cells: settings.viewNames.length });
  return named;
}

/** Of the folder's cameras, those that would be chosen among its photographs, at the size of a cell. */
function chooseGiven(
  splats: OpenedSplats, given: readonly NamedCamera[], points: Scene['points'], editor: Editor, settings: EditSettings,
): NamedCamera[] {
  const count = Math.min(settings.views, given.length);
  const options = settings.viewNames ? { choose: settings.viewNames, cells: settings.viewNames.length } : { views: count, cells: count };
  const { indices } = selectViews(sceneFor(splats, given, points), options);
  const [{ camera: first }] = given;
  const { cellWidth, cellHeight } = planFor(editor, settings, first.width / first.height);
  return [...new Set(indices)].map((index) => {
    const { name, camera } = given[index];
    const rect = centreCrop(camera.width, camera.height, cellWidth, cellHeight);
    return { name, camera: scaleCamera(cropCamera(camera, rect), cellWidth, cellHeight) };
  });
}

function planFor(editor: Editor, settings: EditSettings, aspect: number): GridPlan {
  const { view_size: modelSize, view_aspect: modelAspect } = editor.settings;
  return planGrid({ viewAspect: modelAspect ?? aspect, tokenPx: editor.tokenPx, cellLongSide: settings.resolution ?? modelSize });
}

/** A scene of pictures that are not there yet, for the choice among its cameras. */
function sceneFor({ name, file }: SplatScene, cameras: readonly NamedCamera[], points: Scene['points']): Scene {
  return { name, root: path.dirname(file), format: 'nerfstudio', views: cameras.map((view) => ({ ...view, imagePath: '' })), points, warnings: [] };
}

/**
 * What `rl3dedit reconstruct` leaves beside its splats names the scene, whose cameras say; nerfstudio turns its scenes z up and leaves a
 * file that says how; what comes from COLMAP has -y up.
 */
async function likelyUp(file: string): Promise<UpAxis> {
  const ours = await sceneBehind(file);
  if (ours) {
    const up = upAxis(ours.views.map(({ camera }) => camera));
    const k = [0, 1, 2].reduce((best, i) => (Math.abs(up[i]) > Math.abs(up[best]) ? i : best), 0);
    return `${up[k] < 0 ? '-' : ''}${(['x', 'y', 'z'] as const)[k]}`;
  }
  return (await dataparserFile(file)) === undefined ? '-y' : 'z';
}

/** The scene that splats were reconstructed from, where it is known and still there. */
async function sceneBehind(file: string): Promise<Scene | undefined> {
  const record = path.join(path.dirname(file), 'reconstruct.json');
  try {
    const { scene } = z.object({ scene: z.object({ path: z.string() }) }).parse(JSON.parse(await fs.readFile(record, 'utf8')));
    return await loadScene(scene.path);
  } catch {
    // Only a guess hangs on it, and the note says that it is one.
    return undefined;
  }
}

const number = z.number().refine(Number.isFinite);
const triple = z.tuple([number, number, number]);
const camerasSchema = z
  .array(
    z.object({
      img_name: z.string().min(1),
      width: z.number().int().min(1).max(65536),
      height: z.number().int().min(1).max(65536),
      position: triple,
      rotation: z.tuple([triple, triple, triple]),
      fx: z.number().positive(),
      fy: z.number().positive(),
    }),
  )
  .min(1, 'holds no camera');

/** `cameras.json` of the first Gaussian splatting code: camera-to-world, OpenCV axes, centred principal point. @throws SceneError */
async function readCameras(file: string): Promise<NamedCamera[]> {
  let json: unknown;
  try {
    json = JSON.parse(await fs.readFile(file, 'utf8'));
  } catch (error) {
    throw new SceneError(`${file}: cannot be read as JSON (${(error as Error).message})`, { cause: error });
  }
  const parsed = camerasSchema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new SceneError(`${file}: ${issue.path.join('.') || 'the file'}: ${issue.message}`);
  }
  const cameras = parsed.data.map(({ img_name, width, height, position, rotation, fx, fy }) => {
    const name = path.parse(path.basename(img_name)).name;
    const camToWorld = rigidMatrix(rotation.flatMap((row, i) => [...row, position[i]]), `${file}: ${img_name}`);
    return { name, camera: { width, height, fx, fy, cx: width / 2, cy: height / 2, worldToCam: invertRigid(camToWorld) } };
  });
  const names = cameras.map(({ name }) => name).sort();
  const repeated = names.find((name, i) => name === names[i + 1]);
  if (repeated !== undefined) throw new SceneError(`${file}: two cameras have the name ${repeated}`);
  return cameras.sort((a, b) => (a.name < b.name ? -1 : 1));
}
