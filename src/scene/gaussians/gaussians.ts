/** A splat scene on a device. */
import { ShapeError } from '../../binding/errors';
import type { Device } from '../../tensor/device';
import { indexRows } from '../../tensor/ops';
import type { SplatParameters } from '../../tensor/ops';
import { unscoped } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { createCloud, restCoefficients } from './cloud';
import type { GaussianCloud } from './cloud';

export const parameterNames = ['means', 'quats', 'logScales', 'opacityLogits', 'sh0', 'shRest'] as const;
export type ParameterName = (typeof parameterNames)[number];

/** Applies `make` to each parameter. */
export function mapParameters<A, B>(parameters: SplatParameters<A>, make: (value: A, name: ParameterName) => B): SplatParameters<B> {
  const { means, quats, logScales, opacityLogits, sh0, shRest } = parameters;
  return {
    means: make(means, 'means'),
    quats: make(quats, 'quats'),
    logScales: make(logScales, 'logScales'),
    opacityLogits: make(opacityLogits, 'opacityLogits'),
    sh0: make(sh0, 'sh0'),
    shRest: make(shRest, 'shRest'),
  };
}

/** Shape of a parameter of `count` Gaussians. */
function shapeOf(name: ParameterName, count: number, shDegree: number): number[] {
  const shapes = {
    means: [count, 3],
    quats: [count, 4],
    logScales: [count, 3],
    opacityLogits: [count],
    sh0: [count, 3],
    shRest: [count, restCoefficients(shDegree), 3],
  };
  return shapes[name];
}

/** N Gaussians whose parameters the caller owns and may change in place; dispose when done. */
export class Gaussians implements Disposable {
  constructor(
    readonly device: Device,
    /** Replaced when Gaussians are added or removed. */
    public parameters: SplatParameters,
    readonly shDegree: number,
  ) {}

  static fromCloud(device: Device, cloud: GaussianCloud): Gaussians {
    const parameters = unscoped(() =>
      mapParameters(cloud as SplatParameters<Float32Array>, (data, name) => device.tensor(data, shapeOf(name, cloud.count, cloud.shDegree))),
    );
    return new Gaussians(device, parameters, cloud.shDegree);
  }

  get count(): number {
    return this.parameters.means.dim(0);
  }

  async toCloud(): Promise<GaussianCloud> {
    const cloud = createCloud(this.count, this.shDegree);
    for (const name of parameterNames) cloud[name].set(await this.parameters[name].toFloat32());
    return cloud;
  }

  /** Keeps the Gaussians of those indices, in that order; an index may come twice. */
  gather(indices: Int32Array): void {
    if (indices.length === 0) throw new ShapeError('Gaussians: none would be left');
    const ids = this.device.tensor(indices, [indices.length]);
    const old = this.parameters;
    this.parameters = unscoped(() => mapParameters(old, (tensor) => indexRows(tensor, ids)));
    ids.dispose();
    mapParameters(old, (tensor) => tensor.dispose());
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  dispose(): void {
    mapParameters(this.parameters, (tensor: Tensor) => tensor.dispose());
  }
}

/** One cloud after the other; degrees are brought to the larger one. */
export function joinClouds(a: GaussianCloud, b: GaussianCloud): GaussianCloud {
  const shDegree = Math.max(a.shDegree, b.shDegree);
  const [first, second] = [withDegree(a, shDegree), withDegree(b, shDegree)];
  const joined = createCloud(a.count + b.count, shDegree);
  for (const name of parameterNames) {
    joined[name].set(first[name]);
    joined[name].set(second[name], first[name].length);
  }
  return joined;
}

/** The cloud with harmonics of another degree: cut, or filled with zeros. */
export function withDegree(cloud: GaussianCloud, shDegree: number): GaussianCloud {
  if (shDegree === cloud.shDegree) return cloud;
  const [from, to] = [3 * restCoefficients(cloud.shDegree), 3 * restCoefficients(shDegree)];
  const { shRest } = createCloud(cloud.count, shDegree);
  for (let i = 0; i < cloud.count; i++) shRest.set(cloud.shRest.subarray(i * from, i * from + Math.min(from, to)), i * to);
  return { ...cloud, shDegree, shRest };
}

/** The Gaussians of those indices. */
export function selectCloud(cloud: GaussianCloud, indices: ArrayLike<number>): GaussianCloud {
  const chosen = createCloud(indices.length, cloud.shDegree);
  for (const name of parameterNames) {
    const width = cloud.count === 0 ? 0 : cloud[name].length / cloud.count;
    for (let i = 0; i < indices.length; i++) {
      chosen[name].set(cloud[name].subarray(indices[i] * width, (indices[i] + 1) * width), i * width);
    }
  }
  return chosen;
}
