/**
 * Anchor reward r_a = exp(−λ · distance(I'_a, Ĩ_a)) (RL3DEdit, arXiv 2603.03143, §3.4): the rollout's own view a against the pre-edit of
 * that view. It keeps the 2D edit: the unedited views are perfectly consistent, geometry alone would reward doing nothing.
 */
import { ShapeError, WeightsError } from '../binding/errors';
import { OnnxModule } from '../models/onnx';
import { resizeImage, throwIfAborted, type Image } from '../scene';
import { ssimPlane } from './ssim';
import { absoluteFloor, checkGroup } from './terms';
import type { RewardTerm } from './term';

/** How far apart two pictures of one size look: 0 for the same picture, larger is farther. */
export interface PictureDistance {
  /** `lpips` from a network file, or the `surrogate` formula: results must say which. */
  readonly kind: 'lpips' | 'surrogate';
  measure(a: Image, b: Image, signal?: AbortSignal): number | Promise<number>;
  dispose?(): Promise<void>;
}

/** The anchor reward; `distance` says what it was measured with. */
export interface AnchorTerm extends RewardTerm {
  readonly distance: PictureDistance['kind'];
}

/** @throws ShapeError when the anchor has not the size of the rollouts' views (the caller resizes it) */
export function anchorTerm(weight: number, scale: number, distance: PictureDistance): AnchorTerm {
  return {
    name: 'anchor',
    weight,
    distance: distance.kind,
    floor: () => absoluteFloor,
    score: async (group) => {
      checkGroup(group, 'anchor');
      const { view, picture } = group.anchor;
      const values: number[] = [];
      for (const rollout of group.rollouts) {
        throwIfAborted(group.signal);
        // Some networks end an ulp below 0 on equal pictures; r_a stays in (0, 1].
        const apart = Math.max(0, await distance.measure(rollout[view], picture, group.signal));
        values.push(Math.exp(-scale * apart));
      }
      return values;
    },
    dispose: () => distance.dispose?.(),
  };
}

function checkSizes(a: Image, b: Image, what: string): void {
  if (a.width !== b.width || a.height !== b.height) {
    throw new ShapeError(`${what}: a picture of ${a.width}x${a.height} against one of ${b.width}x${b.height}; resize one first`);
  }
}

/** Scales of the surrogate: full size and halves, down to this side. */
const surrogateScales = 4;
const smallestSide = 4;

/**
 * A stand-in for LPIPS that needs no weights: the mean over scales (full size, then halved up to three times) of
 * (1 − SSIM) / 2 + mean |∇a − ∇b|, over pixels and RGB, with 3x3 windows and forward differences. 0 for equal pictures; sees blur and
 * lost texture at fine scales, changed colour at coarse ones. Its values are not LPIPS values.
 * @throws ShapeError for pictures of different sizes
 */
export function surrogateDistance(): PictureDistance {
  return {
    kind: 'surrogate',
    measure: (a, b) => {
      checkSizes(a, b, 'surrogate distance');
      let [sum, scales] = [0, 0];
      for (let [p, q] = [a, b]; ; [p, q] = [halved(p), halved(q)]) {
        sum += dissimilarity(p, q);
        scales += 1;
        if (scales === surrogateScales || Math.min(p.width, p.height) < 2 * smallestSide) return sum / scales;
      }
    },
  };
}

function halved(image: Image): Image {
  return resizeImage(image, image.width >> 1, image.height >> 1, 'box');
}

function dissimilarity(a: Image, b: Image): number {
  const { width, height } = a;
  const plane = width * height;
  let [structure, gradient] = [0, 0];
  for (let c = 0; c < 3; c++) {
    const at = c * plane;
    for (const value of ssimPlane(a.data, b.data, width, height, at)) structure += (1 - value) / 2;
    const apart = (i: number, j: number): number => Math.abs(a.data[at + j] - a.data[at + i] - (b.data[at + j] - b.data[at + i]));
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const i = y * width + x;
        if (x + 1 < width) gradient += apart(i, i + 1);
        if (y + 1 < height) gradient += apart(i, i + width);
      }
    }
  }
  return (structure + gradient) / (3 * plane);
}

/**
 * LPIPS from an ONNX file: two float32 inputs [1, 3, H, W] in [−1, 1], one output of one number. The file's input order does not
 * matter: the distance is symmetric.
 * @throws WeightsError for a file that is missing or of another form, ShapeError in `measure` for sizes it does not take
 */
export async function openLpips(file: string, signal?: AbortSignal): Promise<PictureDistance> {
  const module = await OnnxModule.open(file, { signal });
  const problem = lpipsProblem(module);
  if (problem !== undefined) {
    await module.dispose();
    throw new WeightsError(`${file}: ${problem}; LPIPS takes two float32 pictures [1, 3, H, W] in [-1, 1] and gives one number`);
  }
  return {
    kind: 'lpips',
    measure: async (a, b, abort) => {
      checkSizes(a, b, `${file}`);
      const [first, second] = module.inputs;
      const feed = (image: Image) => ({ data: image.data.map((x) => 2 * x - 1), shape: [1, 3, image.height, image.width] });
      const outputs = await module.run({ [first.name]: feed(a), [second.name]: feed(b) }, { signal: abort });
      const { data } = outputs[module.outputs[0].name];
      if (data.length !== 1) throw new WeightsError(`${file}: gave ${data.length} numbers for a pair of pictures, expected one`);
      return Number(data[0]);
    },
    dispose: () => module.dispose(),
  };
}

function lpipsProblem({ inputs, outputs }: OnnxModule): string | undefined {
  if (inputs.length !== 2) return `has ${inputs.length} inputs`;
  if (outputs.length !== 1) return `has ${outputs.length} outputs`;
  for (const { name, dtype, shape } of inputs) {
    const fits = dtype === 'float32' && shape.length === 4 && accepts(shape[0], 1) && accepts(shape[1], 3);
    if (!fits) return `input '${name}' is ${dtype} [${shape}]`;
  }
  return undefined;
}

/** Whether a dimension of an ONNX port takes a size: it has that size, or is left open. */
export function accepts(dimension: number | string, size: number): boolean {
  return typeof dimension === 'string' || dimension < 0 || dimension === size;
}
