/** Small splat scenes with cameras around them, for the tests of fitting and refitting. */
import { worldToCamFromOpenGl } from '../../src/scene/cameras';
import type { Camera } from '../../src/scene/cameras';
import type { FitView } from '../../src/scene/gaussians/fit';
import { createCloud } from '../../src/scene/gaussians/cloud';
import type { GaussianCloud } from '../../src/scene/gaussians/cloud';
import { Gaussians, mapParameters, parameterNames } from '../../src/scene/gaussians/gaussians';
import type { Rates, SplatOptimizer } from '../../src/scene/gaussians/optimizer';
import { rasterize, renderImage } from '../../src/scene/gaussians/rasterize';
import type { FitRecipe } from '../../src/scene/gaussians/recipe';
import { defaultRates, ssimWeight } from '../../src/scene/gaussians/recipe';
import type { Image } from '../../src/scene/image';
import type { Device } from '../../src/tensor/device';
import { zerosLike } from '../../src/tensor/ops';
import { orbitPose } from '../scene-fixtures';
import { randomOf } from './splat-fixtures';

/** A square camera on a circle about the origin, z up. */
export function orbitCamera(azimuthDeg: number, size = 32, elevationDeg = 20, distance = 4): Camera {
  const worldToCam = worldToCamFromOpenGl(orbitPose(azimuthDeg, elevationDeg, distance).flat());
  return { width: size, height: size, fx: 1.2 * size, fy: 1.2 * size, cx: size / 2, cy: size / 2, worldToCam };
}

/** `count` cameras around the origin, high and low in turn. */
export function orbitCameras(count: number, size = 32): Camera[] {
  return Array.from({ length: count }, (_, i) => orbitCamera((360 * i) / count, size, i % 2 === 0 ? 15 : 35));
}

/** Clearly visible Gaussians of all shapes in a cube of side 1.6 about the origin. */
export function solidCloud(count: number, seed: number, shDegree = 0): GaussianCloud {
  const random = randomOf(seed);
  const cloud = createCloud(count, shDegree);
  const fill = (values: Float32Array, low: number, high: number): void => values.forEach((_, i) => (values[i] = low + (high - low) * random()));
  fill(cloud.means, -0.8, 0.8);
  fill(cloud.quats, -1, 1);
  fill(cloud.logScales, -2.6, -1.5);
  fill(cloud.opacityLogits, 0.5, 3);
  fill(cloud.sh0, -1.5, 1.5);
  fill(cloud.shRest, -0.2, 0.2);
  return cloud;
}

/** A copy whose parameters differ by up to those amounts. */
export function perturbed(cloud: GaussianCloud, seed: number, by: Partial<Record<(typeof parameterNames)[number], number>>): GaussianCloud {
  const random = randomOf(seed);
  const copy = copyOf(cloud);
  for (const name of parameterNames) copy[name].forEach((value, i) => (copy[name][i] = value + (by[name] ?? 0) * (2 * random() - 1)));
  return copy;
}

export function copyOf(cloud: GaussianCloud): GaussianCloud {
  const copy = createCloud(cloud.count, cloud.shDegree);
  for (const name of parameterNames) copy[name].set(cloud[name]);
  return copy;
}

/** The cloud as cameras see it. */
export async function viewsOf(device: Device, cloud: GaussianCloud, cameras: readonly Camera[]): Promise<(FitView & { camera: Camera })[]> {
  using gaussians = Gaussians.fromCloud(device, cloud);
  const views = [];
  for (const camera of cameras) views.push({ image: await renderImage(gaussians, camera), camera });
  return views;
}

/** A recipe that moves what is there. */
export function fixedRecipe(iterations: number, given: Partial<FitRecipe> = {}): FitRecipe {
  return {
    iterations,
    rates: { ...defaultRates, means: 2e-3, sh0: 0.02 },
    ssimWeight,
    degreeEvery: 0,
    strategy: { kind: 'fixed' },
    regularise: { opacity: 0, scale: 0 },
    background: [0, 0, 0],
    ...given,
  };
}

/** Tensors that live once all that was enqueued has run. */
export async function tensorsOf(device: Device): Promise<number> {
  await device.sync();
  return device.memory().liveTensors;
}

/** The bits of all parameters. */
export function bytesOf(cloud: GaussianCloud): Buffer {
  return Buffer.concat(parameterNames.map((name) => Buffer.from(cloud[name].buffer, cloud[name].byteOffset, cloud[name].byteLength)));
}

export const logit = (opacity: number): number => Math.log(opacity / (1 - opacity));
export const rowOf = (values: Float32Array, i: number, width = 3): number[] => [...values.subarray(width * i, width * (i + 1))];
const ratesOf = (rate: number): Rates => Object.fromEntries(parameterNames.map((name) => [name, rate])) as Rates;

/** One step of equal gradients, too short to change a value, so that every row has moments. */
export function warmUp(gaussians: Gaussians, optimizer: SplatOptimizer): void {
  const gradients = mapParameters(gaussians.parameters, (tensor) => gaussians.device.tensor(new Float32Array(tensor.size).fill(1), [...tensor.shape]));
  optimizer.step(gaussians.parameters, gradients, ratesOf(1e-30));
  mapParameters(gradients, (tensor) => tensor.dispose());
}

/** Which rows still move without a gradient: those that kept their moments. */
export async function remembering(gaussians: Gaussians, optimizer: SplatOptimizer): Promise<boolean[]> {
  const before = await gaussians.parameters.sh0.toFloat32();
  const none = mapParameters(gaussians.parameters, zerosLike);
  optimizer.step(gaussians.parameters, none, { ...ratesOf(1e-3), sh0: 0.1 });
  mapParameters(none, (tensor) => tensor.dispose());
  const after = await gaussians.parameters.sh0.toFloat32();
  return Array.from({ length: gaussians.count }, (_, i) => after[3 * i] !== before[3 * i]);
}

/** A ball of opaque Gaussians. */
export function ball(centre: readonly number[], radius: number, seed: number, colour?: readonly number[]): GaussianCloud {
  const cloud = solidCloud(60, seed);
  for (let i = 0; i < cloud.count; i++) {
    const at = cloud.means.subarray(3 * i, 3 * i + 3);
    const length = Math.hypot(...at);
    at.forEach((x, k) => (cloud.means[3 * i + k] = centre[k] + (radius * x) / length));
    cloud.logScales.fill(Math.log(radius / 3), 3 * i, 3 * i + 3);
    cloud.opacityLogits[i] = 4;
    colour?.forEach((c, k) => (cloud.sh0[3 * i + k] = c));
  }
  return cloud;
}

/** Pictures of a cloud with median depths. */
export async function seen(device: Device, cloud: GaussianCloud, of: readonly Camera[]): Promise<{ image: Image; depth: Float32Array }[]> {
  const views = await viewsOf(device, cloud, of);
  using gaussians = Gaussians.fromCloud(device, cloud);
  const shown = [];
  for (const { image, camera } of views) {
    using rendering = await rasterize(gaussians, camera);
    shown.push({ image, depth: await rendering.medianDepth.toFloat32() });
  }
  return shown;
}
