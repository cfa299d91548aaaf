/** The tiny verifier: VGGT's architecture with few channels, trained on procedural scenes to know geometry and to doubt disagreement. */
import { decodePoses, parseVggtConfig, Vggt, vggtPresets } from '../../models/vggt';
import type { VggtOutput } from '../../models/vggt';
import { confidenceReward, poseReward } from '../../rewards';
import { Rng, seedOf, splits } from '../../scene/procedural';
import { nativeRenderer } from '../../scene/procedural/native';
import type { NativeRenderer } from '../../scene/procedural/native';
import type { Device } from '../../tensor/device';
import { add, addScalar, clamp, mean, mul, randn, scale, sub, sum, unary } from '../../tensor/ops';
import { RandomWeights } from '../../tensor/random-weights';
import type { Initialiser } from '../../tensor/random-weights';
import { scope } from '../../tensor/scope';
import type { Shape, Tensor } from '../../tensor/tensor';
import { Weights } from '../../tensor/weights';
import type { Recipe, TrainingTask } from './trainer';
import { drawSet, TraceCache } from './verifier-data';
import type { Disagreement, VerifierSet } from './verifier-data';

export const tinyVerifier = parseVggtConfig(vggtPresets.tinyVerifier);

export const verifierRecipe: Recipe = {
  steps: 4500,
  learningRate: 1.5e-3,
  muonLearningRate: 0.02,
  weightDecay: 0.01,
  warmup: 50,
  decayFrom: 0.4,
  emaDecay: 0.998,
  clipNorm: 1,
};

/** Views per step: as many sets as make up this number. */
export const verifierViewsPerStep = 64;
/** Views per set and how often; the paper's nine too, so that the verifier has seen what it will judge. */
const viewCounts = [3, 4, 5, 9] as const;
const viewFrequencies = [4, 4, 1, 1];

/** Weight of the camera loss, as VGGT. */
const cameraWeight = 5;
/** Weight of a round of the camera head falls by this from the last one back. */
const roundDecay = 0.6;
/**
 * Reward of confidence in c · error − α log c, where the best c is α / error: at first generous, as errors are large, then
 * VGGT's 0.2. With errors near α all confidences would stay at 1.
 */
const alphaStart = 0.5;
const alphaEnd = 0.2;
const alphaSteps = 600;

export interface VerifierTaskOptions {
  device: Device;
  seed: number;
  recipe: Recipe;
  /** Scenes of the training split to draw from. */
  scenes: number;
  /** Views per step. */
  batch?: number;
  /** Side of a view in pixels, a multiple of the patch. */
  size?: number;
  /** Held-out scenes of an evaluation. */
  evaluationScenes?: number;
}

/** The sets of one step on the device; B sets of S views. */
export interface VerifierBatch {
  /** [B, S, 3, H, W] */
  images: Tensor;
  /** [B, S, H, W], [B, S, H, W, 3] */
  depth: Tensor;
  points: Tensor;
  doubt: Tensor;
  weight: Tensor;
  /** [B, S, 9], and the weights of its numbers: 0 for views without a camera */
  poses: Tensor;
  poseWeight: Tensor;
}

export function verifierTask(options: VerifierTaskOptions): TrainingTask<VerifierBatch> & { model: Vggt } {
  const { device, seed, recipe, scenes, batch = verifierViewsPerStep, size = tinyVerifier.img_size, evaluationScenes = 48 } = options;
  const config = parseVggtConfig({ ...tinyVerifier, img_size: size }, 'verifier');
  const weights = new Weights(new RandomWeights(device, { seed, dtype: 'f32', rule: initialiser }));
  const model = new Vggt(weights, config);
  startHeads(weights.parameters);
  const renderer = nativeRenderer();
  const available = Math.min(scenes, splits.train.count);
  // A megabyte each.
  const traces = available <= MOST_TRACED ? new TraceCache() : undefined;
  const draw = (step: number): VerifierSet[] => {
    const rng = new Rng(seed, stream.step, step);
    const views = viewCounts[rng.weighted(viewFrequencies)];
    return Array.from({ length: Math.max(1, Math.floor(batch / views)) }, (_, i) =>
      drawSet(seedOf('train', rng.int(available)), new Rng(seed, stream.set + i, step), { renderer, size, views, augment: true, traces }),
    );
  };
  /** The next step's sets, drawn while the device works on this one's. */
  let ahead: { step: number; sets: Promise<VerifierSet[]> } | undefined;
  const drawAhead = (step: number): void => {
    const sets = new Promise((resolve) => setImmediate(resolve)).then(() => draw(step));
    // Whoever awaits them gets the error; nobody may.
    sets.catch(() => undefined);
    ahead = { step, sets };
  };
  return {
    name: 'verifier',
    model,
    parameters: weights.parameters,
    recipe,
    usesMuon: (name, { rank }) => rank === 2 && /blocks\.\d+\.(attn|mlp)\./.test(name),
    prepare: async (step) => {
      const sets = ahead?.step === step ? await ahead.sets : draw(step);
      ahead = undefined;
      return upload(device, sets, size, { seed, step });
    },
    loss: (data, step) => {
      const alpha = alphaEnd + (alphaStart - alphaEnd) * Math.max(0, 1 - step / alphaSteps);
      const output = model.forward(data.images);
      const depth = denseLoss(unary(sub(output.depth, data.depth), 'abs'), output.depthConf, data, alpha);
      const distance = unary(addScalar(sum(unary(sub(output.worldPoints, data.points), 'square'), [4]), 1e-8), 'sqrt');
      const points = denseLoss(distance, output.worldPointsConf, data, alpha);
      const camera = cameraLoss(output, data);
      const loss = add(add(depth.loss, points.loss), scale(camera, cameraWeight));
      for (const tensor of Object.values(data)) (tensor as Tensor).dispose();
      drawAhead(step + 1);
      return { loss, metrics: { depthError: depth.error, pointError: points.error, camera } };
    },
    evaluate: () => evaluateVerifier(model, device, { scenes: evaluationScenes, renderer }),
  };
}

/** Scenes kept traced in memory. */
const MOST_TRACED = 4000;

const stream = { step: 101, evaluation: 102, set: 1000 } as const;

/**
 * mean(w (c (err + doubt · depth) − α log c)) + mean(w err): the confidence-weighted regression of VGGT, with the error that
 * disagreement would add on average, and the plain error beside it.
 */
function denseLoss(error: Tensor, confidence: Tensor, { weight, doubt, depth }: VerifierBatch, alpha: number): { loss: Tensor; error: Tensor } {
  const plain = mean(mul(weight, error));
  const expected = mul(weight, add(error, mul(doubt, depth)));
  const doubted = mean(sub(mul(expected, confidence), scale(mul(weight, unary(confidence, 'log')), alpha)));
  return { loss: add(doubted, plain), error: plain };
}

/** Of each number of a pose encoding: the mean over the translation, over the quaternion, and half that over the fields of view. */
const poseShares = [1 / 3, 1 / 3, 1 / 3, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25];

/** Mean absolute errors of translation, quaternion and (half) field of view over all rounds, later rounds weighing more. */
function cameraLoss({ poseRounds }: VggtOutput, { poses, poseWeight }: VerifierBatch): Tensor {
  const views = poses.size / poses.dim(-1);
  const losses = poseRounds.map((pose, round) => {
    const error = sum(mul(poseWeight, unary(sub(pose, poses), 'abs')));
    return scale(error, roundDecay ** (poseRounds.length - 1 - round) / (views * poseRounds.length));
  });
  return losses.reduce((total, loss) => add(total, loss));
}

function upload(device: Device, sets: readonly VerifierSet[], size: number, noise?: { seed: number; step: number }): VerifierBatch {
  const views = sets[0].noise.length;
  const shape = [sets.length, views];
  const joined = (pick: (set: VerifierSet) => Float32Array): Float32Array => {
    const parts = sets.map(pick);
    const out = new Float32Array(parts.reduce((length, part) => length + part.length, 0));
    let at = 0;
    for (const part of parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  };
  const poseWeight = joined((set) => Float32Array.from({ length: 9 * views }, (_, i) => set.poseWeight[Math.floor(i / 9)] * poseShares[i % 9]));
  return scope(() => {
    const plain = device.tensor(joined((set) => set.images), [...shape, 3, size, size]);
    return {
      images: noise ? noisy(plain, device.tensor(joined((set) => set.noise), [...shape, 1, 1, 1]), noise) : plain,
      depth: device.tensor(joined((set) => set.depth), [...shape, size, size]),
      points: device.tensor(joined((set) => set.points), [...shape, size, size, 3]),
      doubt: device.tensor(joined((set) => set.doubt), [...shape, size, size]),
      weight: device.tensor(joined((set) => set.weight), [...shape, size, size]),
      poses: device.tensor(joined((set) => set.poses), [...shape, 9]),
      poseWeight: device.tensor(poseWeight, [...shape, 9]),
    };
  });
}

function noisy(images: Tensor, std: Tensor, { seed, step }: { seed: number; step: number }): Tensor {
  const noise = images.device.empty(images.shape);
  randn(noise, { seed, stream: stream.step, offset: step * noise.size });
  return clamp(add(images, mul(noise, std)), 0, 1);
}

/** Starts where training is stable: residual branches small, tokens and positions near zero, read-outs near their bias. */
function initialiser(name: string, shape: Shape): Initialiser | undefined {
  if (/\.ls\d\.gamma$/.test(name)) return { kind: 'constant', value: name.includes('patch_embed') ? 1 : 0.5 };
  if (/token|pos_embed/.test(name) && !/norm/.test(name)) return { kind: 'normal', std: 0.02 };
  if (/output_conv2\.2\.weight$|pose_branch\.fc2\.weight$/.test(name)) return { kind: 'normal', std: 0.02 };
  // Residual units start near the identity: seven of them in a row would multiply the maps.
  if (/resConfUnit\d\.conv2\.weight$/.test(name)) return { kind: 'normal', std: 0.2 / Math.sqrt(9 * shape[1]) };
  if (/out_conv\.weight$/.test(name)) return { kind: 'normal', std: 1 / Math.sqrt(shape[1]) };
  // Before a rectifier half the variance is lost.
  if (shape.length === 4) return { kind: 'normal', std: Math.sqrt(2 / (shape[1] * shape[2] * shape[3])) };
  return undefined;
}

/** Confidences start near 1.05; the four rounds of the camera head add up to no rotation and a usual field of view. */
function startHeads(parameters: ReadonlyMap<string, Tensor>): void {
  const set = (name: string, values: number[]): void => parameters.get(name)!.write(Float32Array.from(values));
  set('depth_head.scratch.output_conv2.2.bias', [0, -3]);
  set('point_head.scratch.output_conv2.2.bias', [0, 0, 0, -3]);
  set('camera_head.pose_branch.fc2.bias', [0, 0, 0, 0, 0, 0, 0.25, 0.22, 0.22]);
}

const judged = ['floor', 'object', 'sky', 'global', 'tint', 'foreign'] as const;

/**
 * Figures on held-out scenes: depth error and rotation error of sets that agree, and per disagreement the share of scenes where the
 * same views under one of the looks have the higher mean log depth confidence than under several (0.5 is chance). That is what a
 * group of edits of one scene compares.
 */
export async function evaluateVerifier(
  model: Vggt,
  device: Device,
  { scenes, views = 4, renderer = nativeRenderer() }: { scenes: number; views?: number; renderer?: NativeRenderer },
): Promise<Record<string, number>> {
  const { img_size: size } = model.config;
  const wins = new Map<string, number>(judged.map((kind) => [kind, 0]));
  let [depthError, pixels, rotation, translation, direction] = [0, 0, 0, 0, 0];
  let [logDepth, logPoints] = [0, 0];
  for (let i = 0; i < scenes; i++) {
    const drawn = (disagreement: Disagreement | 'none', agree: boolean): VerifierSet =>
      // The same draw picks the same views and looks.
      drawSet(seedOf('val', i), new Rng(i, stream.evaluation), { renderer, size, views, disagreement, agree, augment: false });
    const sets = [drawn('none', true), ...judged.flatMap((kind) => [drawn(kind === 'foreign' ? 'none' : kind, true), drawn(kind, false)])];
    const reading = await read(model, upload(device, sets, size));
    const perSet = reading.depthConf.length / sets.length;
    const scores = sets.map((_, s) => confidenceReward(reading.depthConf.subarray(s * perSet, (s + 1) * perSet), views).meanLog);
    judged.forEach((kind, k) => {
      const [agreeing, disagreeing] = [scores[2 * k + 1], scores[2 * k + 2]];
      wins.set(kind, wins.get(kind)! + (agreeing > disagreeing ? 1 : agreeing === disagreeing ? 0.5 : 0));
    });
    logDepth += scores[0];
    logPoints += confidenceReward(reading.pointConf.subarray(0, perSet), views).meanLog;
    const [agreeing] = sets;
    for (let p = 0; p < perSet; p++) {
      if (agreeing.weight[p] < 1) continue;
      depthError += Math.abs(reading.depth[p] - agreeing.depth[p]) / agreeing.depth[p];
      pixels += 1;
    }
    const cameras = (encodings: Float32Array): number[][] =>
      decodePoses(encodings.subarray(0, 9 * views), size, size).map(({ extrinsics }) => extrinsics);
    const pose = poseReward(cameras(reading.poses), cameras(agreeing.poses));
    rotation += pose.all.reduce((total, pair) => total + pair.rotationDeg, 0) / pose.all.length;
    const directed = pose.all.filter((pair) => pair.translationDeg !== null);
    translation += directed.reduce((total, pair) => total + pair.translationDeg!, 0);
    direction += directed.length;
  }
  const figures: Record<string, number> = {
    depthAbsRel: depthError / pixels,
    rotationDeg: rotation / scenes,
    translationDeg: translation / Math.max(1, direction),
    logDepthConfidence: logDepth / scenes,
    logPointConfidence: logPoints / scenes,
  };
  for (const [kind, won] of wins) figures[`auc.${kind}`] = won / scenes;
  return figures;
}

/**
 * Mean log depth confidence of nine views of which 0 … 9 were edited independently, over held-out scenes: RL3DEdit's acceptance test
 * of a verifier (its figure 5). It must fall.
 */
export async function confidenceByIndependent(
  model: Vggt,
  device: Device,
  { scenes, kind, views = 9, renderer = nativeRenderer() }: { scenes: number; kind: 'floor' | 'object'; views?: number; renderer?: NativeRenderer },
): Promise<number[]> {
  const { img_size: size } = model.config;
  const totals = new Array<number>(views + 1).fill(0);
  for (let i = 0; i < scenes; i++) {
    const sets = totals.map((_, independent) =>
      drawSet(seedOf('val', i), new Rng(i, stream.evaluation), { renderer, size, views, disagreement: kind, independent, augment: false }),
    );
    const { depthConf } = await read(model, upload(device, sets, size));
    const perSet = depthConf.length / sets.length;
    totals.forEach((_, k) => (totals[k] += confidenceReward(depthConf.subarray(k * perSet, (k + 1) * perSet), views).meanLog / scenes));
  }
  return totals;
}

interface Reading {
  depth: Float32Array;
  depthConf: Float32Array;
  pointConf: Float32Array;
  poses: Float32Array;
}

async function read(model: Vggt, batch: VerifierBatch): Promise<Reading> {
  const output = scope(() => {
    const { depth, depthConf, worldPointsConf, poseEnc } = model.forward(batch.images);
    return { depth, depthConf, worldPointsConf, poseEnc };
  });
  const tensors = [output.depth, output.depthConf, output.worldPointsConf, output.poseEnc];
  try {
    const [depth, depthConf, pointConf, poses] = await Promise.all(tensors.map((tensor) => tensor.toFloat32()));
    return { depth, depthConf, pointConf, poses };
  } finally {
    for (const tensor of [...tensors, ...Object.values(batch)]) (tensor as Tensor).dispose();
  }
}
