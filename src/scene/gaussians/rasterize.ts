/** Renders Gaussians and takes gradients back: project → bin → blend, and the same in reverse. */
import {
  splatBin,
  splatBlend,
  splatBlendBackward,
  splatLift,
  splatProject,
  splatProjectBackward,
  splatTileCounts,
} from '../../tensor/ops';
import type { Blended, BlendGradients, SplatBins, SplatParameters, SplatView } from '../../tensor/ops';
import { scope, unscoped } from '../../tensor/scope';
import type { Device } from '../../tensor/device';
import type { Tensor } from '../../tensor/tensor';
import type { Camera } from '../cameras';
import type { Gaussians } from './gaussians';

/** What is nearer than this is not drawn, in world units; gsplat's value. */
export const defaultNear = 0.01;

export interface RasterizeOptions {
  /** Display-referred RGB behind the scene; default black. */
  background?: readonly [number, number, number];
  /** Degree of the harmonics to evaluate; default all that are stored. */
  degree?: number;
  near?: number;
}

/** The camera as ops take it: f32 [16]. */
export function cameraTensor(device: Device, { fx, fy, cx, cy, worldToCam }: Camera): Tensor {
  return device.tensor(Float32Array.from([fx, fy, cx, cy, ...worldToCam.slice(0, 12)]), [16]);
}

/** A rendered view and what its gradients need. */
export class Rendering implements Disposable {
  constructor(
    private readonly parameters: SplatParameters,
    private readonly view: SplatView,
    private readonly background: Tensor,
    /** [N, 12], see splatProject. */
    readonly projected: Tensor,
    private readonly bins: SplatBins,
    private readonly blended: Blended,
    /** Pairs of tiles and Gaussians. */
    readonly pairs: number,
  ) {}

  /** [3, H, W] RGB. */
  get image(): Tensor {
    return this.blended.image;
  }

  /** [H, W] coverage. */
  get alpha(): Tensor {
    return this.blended.alpha;
  }

  /** [H, W] sum of weight times depth: divide by alpha for the expected depth. */
  get depth(): Tensor {
    return this.blended.depth;
  }

  /** [H, W] depth at which the transmittance falls below one half; 0 where it never does. */
  get medianDepth(): Tensor {
    return this.blended.medianDepth;
  }

  /** Gradients of the parameters and of the first ten projected columns; the caller owns them. */
  backward(gradients: BlendGradients): { parameters: SplatParameters; projected: Tensor } {
    const { projected, bins, background, blended, view } = this;
    return scope(() => {
      const dProjected = splatBlendBackward(projected, bins, background, blended, gradients, view.width, view.height);
      return { parameters: splatProjectBackward(this.parameters, view, projected, dProjected), projected: dProjected };
    });
  }

  /** See splatLift; [N, 2]. */
  lift(mask: Tensor, { nearSurface = true }: { nearSurface?: boolean } = {}): Tensor {
    const { width, height } = this.view;
    return splatLift(this.projected, this.bins, mask, nearSurface ? this.blended.medianDepth : undefined, width, height);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  dispose(): void {
    const { camera } = this.view;
    for (const tensor of [camera, this.background, this.projected, ...Object.values(this.bins), ...Object.values(this.blended)]) {
      (tensor as Tensor).dispose();
    }
  }
}

/** Renders a view at the size of its camera. */
export async function rasterize(
  gaussians: Pick<Gaussians, 'device' | 'parameters' | 'shDegree'>,
  camera: Camera,
  { background = [0, 0, 0], degree = gaussians.shDegree, near = defaultNear }: RasterizeOptions = {},
): Promise<Rendering> {
  const { device, parameters } = gaussians;
  const { width, height } = camera;
  const owned: Tensor[] = [];
  const own = <T extends Tensor>(tensor: T): T => {
    owned.push(tensor);
    return tensor;
  };
  try {
    const { view, behind, projected, counts } = unscoped(() => {
      const row = own(cameraTensor(device, camera));
      const at: SplatView = { camera: row, width, height, degree: Math.min(degree, gaussians.shDegree), near };
      const rows = own(splatProject(parameters, at));
      const touched = splatTileCounts(rows, width, height);
      own(touched.offsets);
      own(touched.total);
      return { view: at, behind: own(device.tensor(Float32Array.from(background), [3])), projected: rows, counts: touched };
    });
    const [pairs] = await counts.total.read();
    counts.total.dispose();
    return unscoped(() => {
      const bins = splatBin(projected, counts.offsets, Number(pairs), width, height);
      Object.values(bins).forEach((tensor) => own(tensor as Tensor));
      return new Rendering(parameters, view, behind, projected, bins, splatBlend(projected, bins, behind, width, height), Number(pairs));
    });
  } catch (error) {
    for (const tensor of owned) tensor.dispose();
    throw error;
  }
}

/** A rendered picture in host memory, cut to [0, 1]. */
export async function renderImage(gaussians: Gaussians, camera: Camera, options?: RasterizeOptions): Promise<{ width: number; height: number; data: Float32Array }> {
  using rendering = await rasterize(gaussians, camera, options);
  const data = await rendering.image.toFloat32();
  for (let i = 0; i < data.length; i++) data[i] = Math.min(1, Math.max(0, data[i]));
  return { width: camera.width, height: camera.height, data };
}
