/**
 * Where Gaussians live under 3DGS as MCMC (Kheradmand et al. 2024): faint ones move to where opaque ones are, the number grows to a cap,
 * and what is copied changes opacity and scale so that the picture stays.
 */
import { affine, clamp, div, exp, expand, log, mcmcNoise, mcmcRelocation, select, sigmoid } from '../../tensor/ops';
import { scope, unscoped } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import type { Rng } from '../procedural/rng';
import type { Gaussians } from './gaussians';
import type { SplatOptimizer } from './optimizer';
import type { McmcStrategy } from './recipe';

/** Copies of one Gaussian at most: the terms of the relocation formula alternate and grow. */
const mostCopies = 51;

/** Adds the exploration noise of one step. */
export function exploreMcmc(gaussians: Gaussians, { noise }: McmcStrategy, meansRate: number, at: { seed: number; offset: number }): void {
  mcmcNoise(gaussians.parameters, noise * meansRate, at);
}

/** Moves the faint and grows the rest. Returns how many were moved and how many are new. */
export async function refineMcmc(
  gaussians: Gaussians,
  optimizer: SplatOptimizer,
  { cap, growth, deadOpacity }: McmcStrategy,
  rng: Rng,
): Promise<{ moved: number; added: number }> {
  const opacityTensor = unscoped(() => sigmoid(gaussians.parameters.opacityLogits));
  const opacities = await opacityTensor.toFloat32();
  opacityTensor.dispose();
  const count = opacities.length;
  const alive: number[] = [];
  const dead: number[] = [];
  opacities.forEach((opacity, i) => (opacity > deadOpacity ? alive : dead).push(i));
  // By one at least: a share of few Gaussians rounds to none, and they would never become more.
  const grown = growth > 1 ? Math.max(count + 1, Math.floor(growth * count)) : count;
  const target = Math.max(count, Math.min(cap, grown));
  const added = target - count;
  if (alive.length === 0 || dead.length + added === 0) return { moved: 0, added: 0 };

  const draw = sampler(alive, (i) => opacities[i], rng);
  const source = Int32Array.from({ length: target }, (_, i) => i);
  const copies = new Int32Array(count).fill(1);
  for (const row of [...dead, ...Array.from({ length: added }, (_, k) => count + k)]) {
    const from = draw();
    source[row] = from;
    copies[from] += 1;
  }
  const copiesOf = Int32Array.from(source, (from) => Math.min(copies[from], mostCopies));
  gaussians.gather(source);
  optimizer.gather(source, (row) => copiesOf[row] > 1);
  share(gaussians, copiesOf);
  return { moved: dead.length, added };
}

/** Opacity and scale of Gaussians of which there are now several. */
function share(gaussians: Gaussians, copies: Int32Array): void {
  const { device, parameters } = gaussians;
  const { opacityLogits, logScales } = parameters;
  const [nextLogits, nextScales] = unscoped(() =>
    scope(() => {
      const many = device.tensor(copies, [copies.length]);
      const changed = Float32Array.from(copies, (n) => (n > 1 ? 1 : 0));
      const { opacities, scales } = mcmcRelocation(sigmoid(opacityLogits), exp(logScales), many);
      const o = clamp(opacities, 0.005, 1 - 1e-6);
      return [
        select(device.tensor(changed, [changed.length]), log(div(o, affine(o, -1, 1))), opacityLogits),
        select(expand(device.tensor(changed, [changed.length, 1]), logScales.shape), log(scales), logScales),
      ] as [Tensor, Tensor];
    }),
  );
  opacityLogits.dispose();
  logScales.dispose();
  gaussians.parameters = { ...parameters, opacityLogits: nextLogits, logScales: nextScales };
}

/** Draws one of `items` in proportion to its weight, with repetition. */
function sampler(items: readonly number[], weight: (item: number) => number, rng: Rng): () => number {
  const sums = new Float64Array(items.length);
  let total = 0;
  items.forEach((item, k) => (sums[k] = total += weight(item)));
  return () => {
    const wanted = rng.range(0, total);
    let [low, high] = [0, sums.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sums[middle] > wanted) high = middle;
      else low = middle + 1;
    }
    return items[low];
  };
}
