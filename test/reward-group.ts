/** Groups for reward tests: views of a procedural scene, and a verifier that knows the true depth and cameras. */
import type { RewardGroup, SetReading, ViewCamera } from '../src/rewards';
import { createImage, type Image } from '../src/scene';
import { openEdit, pixelCamera, renderViews, sampleScene, seedOf, type ProceduralScene } from '../src/scene/procedural';
import { nativeRenderer } from '../src/scene/procedural/native';

export const side = 48;
export const views = 9;
const size = { width: side, height: side, spp: 4 };
const pixels = side * side;

export interface World {
  before: Image[];
  /** Two different valid edits, each consistent over all views. */
  edit: Image[];
  otherEdit: Image[];
  cameras: ViewCamera[];
  depth: Float32Array;
}

export function world(seed: number): World {
  const scene = sampleScene(seedOf('train', seed));
  const { raycast } = nativeRenderer();
  const cameras = scene.cameras.views;
  const pictures = (of: ProceduralScene): Image[] => {
    const { rgb } = renderViews(of, cameras, size, raycast);
    return cameras.map((_, v) => ({ width: side, height: side, data: rgb.slice(3 * pixels * v, 3 * pixels * (v + 1)) }));
  };
  const { answers } = openEdit(scene, 'floor-any');
  return {
    before: pictures(scene),
    edit: pictures(answers[0].scene),
    otherEdit: pictures(answers[answers.length - 1].scene),
    cameras: cameras.map((camera) => {
      const [fx, fy, cx, cy, ...worldToCam] = pixelCamera(camera, side, side);
      return { fx, fy, cx, cy, worldToCam };
    }),
    depth: renderViews(scene, cameras, size, raycast).depth,
  };
}

export function blurred(image: Image, times: number): Image {
  let from = image;
  for (let n = 0; n < times; n++) {
    const to = createImage(image.width, image.height);
    for (let i = 0; i < to.data.length; i++) {
      const [p, at] = [i % pixels, i - (i % pixels)];
      const [x, y] = [p % side, Math.floor(p / side)];
      let sum = 0;
      for (let dy = -1; dy <= 1; dy++) {
        for (let dx = -1; dx <= 1; dx++) {
          const row = Math.min(Math.max(y + dy, 0), side - 1);
          sum += from.data[at + row * side + Math.min(Math.max(x + dx, 0), side - 1)];
        }
      }
      to.data[i] = sum / 9;
    }
    from = to;
  }
  return from;
}

export function flat(value: number): Image {
  const image = createImage(side, side);
  image.data.fill(value);
  return image;
}

/**
 * True cameras and depth; the confidence of a view is 1 + exp(2 − 12 · mean colour difference to its neighbours, warped to the nearest
 * pixel with the true depth).
 */
export function toyReading(set: readonly Image[], { cameras, depth }: World): SetReading {
  const residual = set.map((_, v) => [v - 1, v + 1].filter((n) => n >= 0 && n < set.length).map((n) => difference(set, cameras, depth, v, n)));
  const log = residual.map((each) => 2 - (12 * each.reduce((a, b) => a + b, 0)) / each.length);
  const stats = { mean: log.map((x) => 1 + Math.exp(x)), meanLog: log.map((x) => Math.log1p(Math.exp(x))) };
  return { depth: stats, point: stats, worldToCam: cameras.map(({ worldToCam }) => Array.from(worldToCam)), depthMap: { data: depth, width: side, height: side } };
}

function difference(set: readonly Image[], cameras: readonly ViewCamera[], depth: Float32Array, from: number, to: number): number {
  const [a, b] = [cameras[from], cameras[to]];
  let [sum, count] = [0, 0];
  for (let i = 0; i < pixels; i++) {
    const z = depth[from * pixels + i];
    const p = [(((i % side) + 0.5 - a.cx) / a.fx) * z, ((Math.floor(i / side) + 0.5 - a.cy) / a.fy) * z, z].map((x, k) => x - a.worldToCam[4 * k + 3]);
    const point = [0, 1, 2].map((j) => a.worldToCam[j] * p[0] + a.worldToCam[4 + j] * p[1] + a.worldToCam[8 + j] * p[2]);
    const m = b.worldToCam;
    const q = [0, 1, 2].map((k) => m[4 * k] * point[0] + m[4 * k + 1] * point[1] + m[4 * k + 2] * point[2] + m[4 * k + 3]);
    const [x, y] = [Math.floor((b.fx * q[0]) / q[2] + b.cx), Math.floor((b.fy * q[1]) / q[2] + b.cy)];
    if (!(q[2] > 0) || x < 0 || y < 0 || x >= side || y >= side) continue;
    const there = depth[to * pixels + y * side + x];
    if (Math.abs(there - q[2]) > 0.05 * q[2]) continue;
    for (let c = 0; c < 3; c++) sum += Math.abs(set[from].data[c * pixels + i] - set[to].data[c * pixels + y * side + x]) / 3;
    count += 1;
  }
  return count === 0 ? 0 : sum / count;
}

/** The group of some rollouts, the anchor being the edit of view `anchorView`, put in its place before the verifier looks. */
export function groupOf(rollouts: Image[][], at: World, anchorView = 4): RewardGroup {
  const anchor = { view: anchorView, picture: at.edit[anchorView] };
  return {
    instruction: 'change the floor',
    before: at.before,
    cameras: at.cameras,
    rollouts,
    anchor,
    readings: rollouts.map((set) => toyReading(set.map((image, v) => (v === anchorView ? anchor.picture : image)), at)),
    readingBefore: toyReading(at.before, at),
  };
}
