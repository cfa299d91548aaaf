/** A start for splats where there are no points: depths that the verifier sees, in the space of the given cameras. */
import { ConfigError } from '../../binding/errors';
import { resizeImage, scaleCamera, unproject } from '../../scene';
import { centreScale } from '../../rewards/view-geometry';
import type { Image } from '../../scene';
import type { FitView } from '../../scene/gaussians/fit';
import type { ScenePoints } from '../../scene';
import type { Verifier } from '../model';

/** Views that the verifier reads together, as in training. */
const mostViews = 9;

/**
 * Points with colours: every pixel of up to nine views at the depth the verifier sees there. Its scale is arbitrary; it is set by the
 * distances between the given cameras over those between its own.
 * @throws ConfigError where all cameras stand in one place
 */
export async function verifierPoints(verifier: Verifier, views: readonly FitView[], signal: AbortSignal): Promise<ScenePoints> {
  const count = Math.min(mostViews, views.length);
  const chosen = Array.from({ length: count }, (_, i) => views[Math.round((i * (views.length - 1)) / Math.max(1, count - 1))]);
  const [{ depthMap, worldToCam }] = await verifier.readSets([chosen.map(({ image }) => image)], { depth: true, signal });
  const { data, width, height } = depthMap!;
  const unit = centreScale(worldToCam, chosen.map(({ camera }) => [...camera.worldToCam]));
  if (!(unit > 0)) throw new ConfigError('init: the cameras all stand in one place, so what the verifier sees has no scale; use --init random');
  const positions = new Float32Array(3 * data.length);
  const colors = new Uint8Array(3 * data.length);
  chosen.forEach(({ image, camera }, v) => {
    const small: Image = resizeImage(image, width, height, 'lanczos');
    const at = scaleCamera(camera, width, height);
    for (let p = 0; p < width * height; p++) {
      const i = v * width * height + p;
      positions.set(unproject(at, (p % width) + 0.5, Math.floor(p / width) + 0.5, unit * data[i]), 3 * i);
      for (let c = 0; c < 3; c++) colors[3 * i + c] = Math.round(255 * Math.min(1, Math.max(0, small.data[c * width * height + p])));
    }
  });
  return { count: data.length, positions, colors };
}
