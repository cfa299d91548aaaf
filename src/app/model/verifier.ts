/** The 3D verifier behind one interface: VGGT run natively, or a network of the same outputs from an ONNX file. */
import { statSync } from 'node:fs';
import { AbortError, ConfigError, ShapeError, WeightsError } from '../../binding/errors';
import { OnnxModule } from '../../models/onnx';
import type { OnnxArray, OnnxPort } from '../../models/onnx';
import { decodePoses, loadVggt, parseVggtConfig, Vggt } from '../../models/vggt';
import { confidenceReward } from '../../rewards';
import type { SetReading } from '../../rewards';
import { bitsOf, resizeImage } from '../../scene';
import type { Image } from '../../scene';
import type { Device } from '../../tensor/device';
import { cast, mean } from '../../tensor/ops';
import { scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { Weights } from '../../tensor/weights';
import type { NetworkFiles } from './files';
import { networkSource } from './source';

/** What the verifier says about a set of views. */
export interface VerifierReading {
  /** Mean depth confidence of each view, >= 1. */
  depthConfidence: number[];
  /** Mean point confidence of each view, >= 1. */
  pointConfidence: number[];
  /** Estimated cameras: 3x4 row-major camera-from-world per view; the scale is arbitrary. */
  worldToCam: number[][];
  /** Where they were asked for. */
  maps?: VerifierMaps;
}

/** [V, H, W] at the verifier's size. */
export interface VerifierMaps {
  width: number;
  height: number;
  /** Depth confidence of every pixel, >= 1. */
  confidence: Float32Array;
  /** z-depth of every pixel, of arbitrary scale; absent where the network does not say. */
  depth?: Float32Array;
}

export interface Verifier {
  /** Reads V views of one size, in order. `maps` asks for the maps as well. @throws AbortError */
  read(views: readonly Image[], signal?: AbortSignal, options?: { maps?: boolean }): Promise<VerifierReading>;
  /** Reads several sets of as many views. `depth` asks for the depth maps as well. @throws AbortError */
  readSets(sets: readonly (readonly Image[])[], options?: { depth?: boolean; signal?: AbortSignal }): Promise<SetReading[]>;
  dispose(): void;
}

/** @throws WeightsError, ConfigError, AbortError */
export async function openVerifier(
  device: Device,
  files: NetworkFiles,
  { dtype, signal, seed = 0 }: { dtype: 'f32' | 'bf16'; signal?: AbortSignal; seed?: number },
): Promise<Verifier> {
  const { weights } = files;
  if (weights?.endsWith('.onnx') && statSync(weights).isFile()) return OnnxVerifier.open(weights, signal);
  const source = networkSource(device, files, { dtype, seed });
  try {
    // The published config.json says less than the shapes; only one with all dimensions is believed.
    const complete = typeof files.config === 'object' && files.config !== null && 'dpt' in files.config;
    const config = complete ? parseVggtConfig(files.config, files.where) : undefined;
    if (!source.random) return new VggtVerifier(loadVggt(source, config), device, dtype);
    if (!config) throw new ConfigError(`${files.where}: random weights need a config`);
    return new VggtVerifier(new Vggt(new Weights(source), config), device, dtype);
  } finally {
    source.dispose();
  }
}

class VggtVerifier implements Verifier {
  constructor(
    private readonly model: Vggt,
    private readonly device: Device,
    private readonly dtype: 'f32' | 'bf16',
  ) {}

  async read(views: readonly Image[], signal?: AbortSignal, { maps: wantsMaps = false }: { maps?: boolean } = {}): Promise<VerifierReading> {
    const { img_size: size, patch_size: patch } = this.model.config;
    const input = networkInput(views, size, patch);
    const [, , height, width] = input.shape;
    const { means, shown } = scope(() => {
      const images = cast(this.device.tensor(input.data as Float32Array, input.shape), this.dtype);
      const output = this.model.forward(images);
      return {
        means: [mean(output.depthConf, [1, 2]), mean(output.worldPointsConf, [1, 2]), output.poseEnc],
        shown: wantsMaps ? [output.depthConf, output.depth] : [],
      };
    });
    try {
      const numbers = async (tensor: Tensor): Promise<number[]> => Array.from(await tensor.toFloat32());
      const [depthConfidence, pointConfidence, encodings] = await Promise.all(means.map(numbers));
      const [confidence, depth] = await Promise.all(shown.map((tensor) => tensor.toFloat32()));
      if (signal?.aborted) throw new AbortError();
      return {
        depthConfidence,
        pointConfidence,
        worldToCam: decodePoses(encodings, height, width).map(({ extrinsics }) => extrinsics),
        ...(wantsMaps ? { maps: { width, height, confidence, depth } } : {}),
      };
    } finally {
      for (const tensor of [...means, ...shown]) tensor.dispose();
    }
  }

  async readSets(
    sets: readonly (readonly Image[])[],
    { depth: wantsDepth = false, signal }: { depth?: boolean; signal?: AbortSignal } = {},
  ): Promise<SetReading[]> {
    const { img_size: size, patch_size: patch } = this.model.config;
    const [{ length: views }] = sets;
    const input = networkInput(sets.flat(), size, patch);
    const [, , height, width] = input.shape;
    const tensors = scope(() => {
      const images = cast(this.device.tensor(input.data as Float32Array, [sets.length, views, 3, height, width]), this.dtype);
      const { depth, depthConf, worldPointsConf, poseEnc } = this.model.forward(images);
      return wantsDepth ? [depthConf, worldPointsConf, poseEnc, depth] : [depthConf, worldPointsConf, poseEnc];
    });
    try {
      const [depthConf, pointConf, poses, depth] = await Promise.all(tensors.map((tensor) => tensor.toFloat32()));
      if (signal?.aborted) throw new AbortError();
      const perSet = depthConf.length / sets.length;
      return sets.map((_, s) => {
        const part = (values: Float32Array): Float32Array => values.subarray(s * perSet, (s + 1) * perSet);
        return {
          depth: perView(part(depthConf), views),
          point: perView(part(pointConf), views),
          worldToCam: decodePoses(poses.subarray(9 * views * s, 9 * views * (s + 1)), height, width).map(({ extrinsics }) => extrinsics),
          depthMap: depth ? { data: part(depth), width, height } : undefined,
        };
      });
    } finally {
      for (const tensor of tensors) tensor.dispose();
    }
  }

  dispose(): void {
    this.model.dispose();
  }
}

function perView(confidences: ArrayLike<number>, views: number): { mean: number[]; meanLog: number[] } {
  const each = confidenceReward(confidences, views).views;
  return { mean: each.map((view) => view.mean), meanLog: each.map((view) => view.meanLog) };
}

const onnxOutputs = ['depth_conf', 'world_points_conf', 'pose_enc'] as const;

/**
 * An ONNX export of VGGT: one input [V, 3, H, W] or [1, V, 3, H, W], outputs `depth_conf`, `world_points_conf`,
 * `pose_enc`.
 */
class OnnxVerifier implements Verifier {
  private constructor(
    private readonly module: OnnxModule,
    private readonly input: OnnxPort,
  ) {}

  static async open(file: string, signal?: AbortSignal): Promise<OnnxVerifier> {
    const module = await OnnxModule.open(file, { signal });
    const names = module.outputs.map((port) => port.name);
    const missing = onnxOutputs.filter((name) => !names.includes(name));
    const [input] = module.inputs;
    if (module.inputs.length === 1 && missing.length === 0 && [4, 5].includes(input.shape.length))
      return new OnnxVerifier(module, input);
    await module.dispose();
    throw new WeightsError(
      `${file}: a verifier has one input [V, 3, H, W] and the outputs ${onnxOutputs.join(', ')}; ` +
        `this file has inputs ${module.inputs.map((port) => `${port.name} [${port.shape}]`).join(', ')} ` +
        `and outputs ${names.join(', ')}`,
    );
  }

  private async run(
    views: readonly Image[],
    signal?: AbortSignal,
  ): Promise<{ outputs: Record<string, OnnxArray>; height: number; width: number }> {
    const { name, shape } = this.input;
    const fixed = shape.slice(-2).map((side) => (typeof side === 'number' && side > 0 ? side : undefined));
    const images = networkInput(views, 518, 14, fixed);
    const [, , height, width] = images.shape;
    const feed = shape.length === 5 ? { ...images, shape: [1, ...images.shape] } : images;
    return { outputs: await this.module.run({ [name]: feed }, { signal }), height, width };
  }

  async read(views: readonly Image[], signal?: AbortSignal, { maps = false }: { maps?: boolean } = {}): Promise<VerifierReading> {
    const { outputs, height, width } = await this.run(views, signal);
    const count = views.length;
    const means = (output: OnnxArray): number[] => {
      const pixels = output.data.length / count;
      if (!Number.isInteger(pixels))
        throw new ShapeError(`${this.module.file}: [${output.shape}] does not divide into ${count} views`);
      const values = Float64Array.from(output.data, Number);
      return Array.from(
        { length: count },
        (_, v) => values.subarray(v * pixels, (v + 1) * pixels).reduce((sum, x) => sum + x, 0) / pixels,
      );
    };
    const [confidence, depth] = ['depth_conf', 'depth'].map((name) => outputs[name] && Float32Array.from(outputs[name].data, Number));
    // An export may give its confidences at another size than its input; such maps cannot be shown.
    const drawable = (map?: Float32Array): boolean => map?.length === count * width * height;
    return {
      depthConfidence: means(outputs['depth_conf']),
      pointConfidence: means(outputs['world_points_conf']),
      worldToCam: decodePoses(Array.from(outputs['pose_enc'].data, Number), height, width).map(
        ({ extrinsics }) => extrinsics,
      ),
      ...(maps && drawable(confidence) ? { maps: { width, height, confidence, depth: drawable(depth) ? depth : undefined } } : {}),
    };
  }

  async readSets(
    sets: readonly (readonly Image[])[],
    { depth: wantsDepth = false, signal }: { depth?: boolean; signal?: AbortSignal } = {},
  ): Promise<SetReading[]> {
    const readings: SetReading[] = [];
    for (const views of sets) {
      const { outputs, height, width } = await this.run(views, signal);
      const depth = outputs['depth'];
      if (wantsDepth && !depth) throw new WeightsError(`${this.module.file}: has no output 'depth', which the warp reward needs`);
      const floats = (name: string): Float32Array => Float32Array.from(outputs[name].data, Number);
      readings.push({
        depth: perView(floats('depth_conf'), views.length),
        point: perView(floats('world_points_conf'), views.length),
        worldToCam: decodePoses(Array.from(outputs['pose_enc'].data, Number), height, width).map(({ extrinsics }) => extrinsics),
        depthMap: wantsDepth ? { data: floats('depth'), width, height } : undefined,
      });
    }
    return readings;
  }

  dispose(): void {
    // Ending the worker needs no wait.
    void this.module.dispose();
  }
}

/**
 * Views [V, 3, H, W] resized to whole patches, the long side at most `size`; `fixed` is [H, W] where the network fixes
 * them.
 */
function networkInput(
  views: readonly Image[],
  size: number,
  patch: number,
  fixed: readonly (number | undefined)[] = [],
): OnnxArray {
  const [{ width, height }] = views;
  const factor = Math.min(1, size / Math.max(width, height));
  const whole = (side: number): number => Math.max(1, Math.round((side * factor) / patch)) * patch;
  const [h, w] = [fixed[0] ?? whole(height), fixed[1] ?? whole(width)];
  const data = new Float32Array(views.length * 3 * h * w);
  for (let v = 0; v < views.length; v++) data.set(resizeImage(views[v], w, h, 'lanczos').data, v * 3 * h * w);
  clampUnit(data);
  return { data, shape: [views.length, 3, h, w] };
}

/** Clamps to [0, 1], what the network expects, in place. */
function clampUnit(data: Float32Array): void {
  const bits = bitsOf(data);
  // The floats from 0 to 1 are the bit patterns from 0 to that of 1: pictures hold hardly any others.
  const one = 0x3f800000;
  for (let i = 0; i < bits.length; i++) {
    if (bits[i] < 0 || bits[i] > one) data[i] = Math.min(1, Math.max(0, data[i]));
  }
}
