/**
 * Photometric (warp) loss, RL3DEdit's Ph-Loss (arXiv 2603.03143, supplement S7–S9; specs: method 4): adjacent views warped into each
 * other with the verifier's depth and the given cameras. As a reward it is a negative control: blur minimises it.
 */
import { ShapeError } from '../binding/errors';
import type { Image } from '../scene';
import { ssimPlane } from './ssim';
import type { SetReading, ViewCamera } from './term';
import { centreScale, project, sampleAt, unproject } from './view-geometry';

/** Depths that differ by more than this share of the pixel's own depth see different surfaces. */
const depthTolerance = 0.05;
/** A pair with fewer valid pixels says nothing. */
const leastCoverage = 0.01;
const [l1Share, ssimShare] = [0.15, 0.85];

export interface PhotometricLoss {
  /** Mean over pairs of the mean over valid pixels; NaN when no pair has enough of them. */
  loss: number;
  /** Share of valid pixels of every adjacent pair. */
  coverage: number[];
}

/** Depths of one view in the given cameras' unit, [height, width], at the verifier's size. */
interface DepthPlane {
  data: Float32Array;
  at: number;
  width: number;
  height: number;
  scale: number;
}

/**
 * Ph-Loss of one set of views. The depth map's scale is aligned by the spread of the camera centres.
 * @throws ShapeError when the reading has no depth map or one of another size, or pictures differ in size
 */
export function photometricLoss(views: readonly Image[], cameras: readonly ViewCamera[], reading: SetReading): PhotometricLoss {
  const { depthMap } = reading;
  if (!depthMap) throw new ShapeError('warp reward: the reading has no depth map; the verifier must be asked for depth');
  const { data, width, height } = depthMap;
  if (data.length !== views.length * width * height) {
    throw new ShapeError(`warp reward: ${data.length} depths, expected ${views.length} views of ${width}x${height}`);
  }
  const odd = views.findIndex((view) => view.width !== views[0].width || view.height !== views[0].height);
  if (odd >= 0) throw new ShapeError(`warp reward: view ${odd} is ${views[odd].width}x${views[odd].height}, view 0 ${views[0].width}x${views[0].height}`);
  const scale = centreScale(reading.worldToCam, cameras.map((camera) => camera.worldToCam));
  const plane = (v: number): DepthPlane => ({ data, at: v * width * height, width, height, scale });
  let [sum, pairs] = [0, 0];
  const coverage: number[] = [];
  for (let b = 1; b < views.length; b++) {
    const { loss, share } = warpedLoss([views[b - 1], cameras[b - 1], plane(b - 1)], [views[b], cameras[b], plane(b)]);
    coverage.push(share);
    if (share < leastCoverage) continue;
    sum += loss;
    pairs += 1;
  }
  return { loss: pairs === 0 ? NaN : sum / pairs, coverage };
}

type View = readonly [Image, ViewCamera, DepthPlane];

/** A warped into B: every pixel of B finds its place in A through its own depth. */
function warpedLoss([imageA, cameraA, depthA]: View, [imageB, cameraB, depthB]: View): { loss: number; share: number } {
  const { width, height } = imageB;
  const pixels = width * height;
  const warped = new Float64Array(3 * pixels);
  const valid = new Uint8Array(pixels);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      const z = depthAt(depthB, imageB, x + 0.5, y + 0.5);
      const { u, v, z: zA } = project(cameraA, unproject(cameraB, x + 0.5, y + 0.5, z));
      // Behind A, or of no depth, nothing is sampled: the pixel itself stands in, so that its neighbours' windows stay finite.
      const seen = z > 0 && zA > 0 && Number.isFinite(u) && Number.isFinite(v);
      for (let c = 0; c < 3; c++) {
        warped[c * pixels + i] = seen ? sampleAt(imageA.data, c * pixels, width, height, u, v) : imageB.data[c * pixels + i];
      }
      if (!seen || u < 0.5 || v < 0.5 || u > width - 0.5 || v > height - 0.5) continue;
      const other = project(cameraB, unproject(cameraA, u, v, depthAt(depthA, imageA, u, v))).z;
      if (Math.abs(other - z) < depthTolerance * z) valid[i] = 1;
    }
  }
  let [sum, count] = [0, 0];
  for (let i = 0; i < pixels; i++) count += valid[i];
  for (let c = 0; c < 3; c++) {
    const target = imageB.data.subarray(c * pixels, (c + 1) * pixels);
    const source = warped.subarray(c * pixels, (c + 1) * pixels);
    const ssim = ssimPlane(target, source, width, height);
    for (let i = 0; i < pixels; i++) {
      if (valid[i] === 0) continue;
      const structure = Math.min(Math.max((1 - ssim[i]) / 2, 0), 1);
      sum += l1Share * Math.abs(target[i] - source[i]) + ssimShare * structure;
    }
  }
  return { loss: sum / (3 * count), share: count / pixels };
}

/** Depth at a position of the picture, in the given cameras' unit. */
function depthAt({ data, at, width, height, scale }: DepthPlane, image: Image, u: number, v: number): number {
  return scale * sampleAt(data, at, width, height, (u * width) / image.width, (v * height) / image.height);
}
