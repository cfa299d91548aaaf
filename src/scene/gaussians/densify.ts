/** Adaptive density control of 3D Gaussian splatting (Kerbl et al. 2023, section 5.2): clone, split, prune, reset opacities. */
import { densifyStats, full, minimum } from '../../tensor/ops';
import { scope, unscoped } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import type { Rng } from '../procedural/rng';
import type { Gaussians } from './gaussians';
import type { SplatOptimizer } from './optimizer';
import type { DensifyStrategy } from './recipe';
import type { Rendering } from './rasterize';

/** Both halves of a split are smaller by this factor. */
const splitShrink = 1.6;
/** Opacity after a reset. */
const resetOpacity = 0.01;

const logit = (opacity: number): number => Math.log(opacity / (1 - opacity));

/** Gradient norms on the picture plane, summed over the visits of each Gaussian. */
export class DensityStatistics {
  private sums: Tensor;
  private visits: Tensor;

  constructor(private readonly gaussians: Gaussians) {
    [this.sums, this.visits] = this.zeros();
  }

  add(rendering: Rendering, dProjected: Tensor, width: number, height: number): void {
    densifyStats(rendering.projected, dProjected, this.sums, this.visits, width, height);
  }

  /** Mean norm per Gaussian; starts anew. */
  async take(): Promise<Float32Array> {
    const [sums, visits] = [await this.sums.toFloat32(), await this.visits.toFloat32()];
    this.dispose();
    [this.sums, this.visits] = this.zeros();
    return sums.map((sum, i) => sum / Math.max(1, visits[i]));
  }

  /** After the number of Gaussians changed. */
  restart(): void {
    this.dispose();
    [this.sums, this.visits] = this.zeros();
  }

  dispose(): void {
    this.sums.dispose();
    this.visits.dispose();
  }

  private zeros(): [Tensor, Tensor] {
    const { device, count } = this.gaussians;
    return unscoped(() => [full(device, [count], 0), full(device, [count], 0)]);
  }
}

/** Clones small and splits large Gaussians of a large gradient, and drops the faint and (after a reset) the huge. */
export async function refineDensity(
  gaussians: Gaussians,
  optimizer: SplatOptimizer,
  statistics: DensityStatistics,
  { cap, gradient, cloneSize, pruneOpacity, pruneSize }: DensifyStrategy,
  { extent, pruneHuge, rng }: { extent: number; pruneHuge: boolean; rng: Rng },
): Promise<void> {
  const norms = await statistics.take();
  const { logScales, opacityLogits, quats } = gaussians.parameters;
  const [scales, logits, rotations] = [await logScales.toFloat32(), await opacityLogits.toFloat32(), await quats.toFloat32()];
  const largest = (i: number): number => Math.exp(Math.max(scales[3 * i], scales[3 * i + 1], scales[3 * i + 2]));
  const { count } = gaussians;
  let room = cap - count;
  const rows: { from: number; split: boolean; fresh: boolean }[] = [];
  for (let i = 0; i < count; i++) {
    if (logits[i] < logit(pruneOpacity) || (pruneHuge && largest(i) > pruneSize * extent)) continue;
    const grows = norms[i] > gradient && room > 0;
    const split = grows && largest(i) > cloneSize * extent;
    rows.push({ from: i, split, fresh: split });
    if (!grows) continue;
    rows.push({ from: i, split, fresh: true });
    room -= 1;
  }
  if (rows.length === 0) return;
  const source = Int32Array.from(rows, ({ from }) => from);
  gaussians.gather(source);
  optimizer.gather(source, (row) => rows[row].fresh);
  statistics.restart();
  if (rows.every(({ split }) => !split)) return;
  const means = await gaussians.parameters.means.toFloat32();
  const shrunk = await gaussians.parameters.logScales.toFloat32();
  rows.forEach(({ from, split }, row) => {
    if (!split) return;
    const offset = drawOffset(rotations.subarray(4 * from, 4 * from + 4), scales.subarray(3 * from, 3 * from + 3), rng);
    for (let k = 0; k < 3; k++) {
      means[3 * row + k] += offset[k];
      shrunk[3 * row + k] -= Math.log(splitShrink);
    }
  });
  gaussians.parameters.means.write(means);
  gaussians.parameters.logScales.write(shrunk);
}

/** Cuts all opacities to 0.01: what is needed comes back, what floats in the air does not. */
export function resetOpacities(gaussians: Gaussians, optimizer: SplatOptimizer): void {
  const { device, parameters } = gaussians;
  const old = parameters.opacityLogits;
  const next = unscoped(() => scope(() => minimum(old, full(device, [1], logit(resetOpacity)))));
  old.dispose();
  gaussians.parameters = { ...parameters, opacityLogits: next };
  optimizer.reset('opacityLogits');
}

/** A point of the Gaussian N(0, Σ). */
function drawOffset([w, x, y, z]: Float32Array, logScales: Float32Array, rng: Rng): [number, number, number] {
  const s = 2 / (w * w + x * x + y * y + z * z);
  const [a, b, c] = Array.from(logScales, (l) => Math.exp(l) * rng.normal());
  return [
    (1 - s * (y * y + z * z)) * a + s * (x * y - z * w) * b + s * (x * z + y * w) * c,
    s * (x * y + z * w) * a + (1 - s * (x * x + z * z)) * b + s * (y * z - x * w) * c,
    s * (x * z - y * w) * a + s * (y * z + x * w) * b + (1 - s * (x * x + y * y)) * c,
  ];
}
