/** How a splat scene is fitted to pictures: learning rates, losses, and where Gaussians come from and go to. */
import type { Rates } from './optimizer';
import type { ParameterName } from './gaussians';

/** Weight of 1 − SSIM beside L1 (Kerbl et al. 2023, eq. 7). */
export const ssimWeight = 0.2;

/** Relocates faint Gaussians and grows to a hard cap (Kheradmand et al. 2024, arXiv 2404.09591). */
export interface McmcStrategy {
  kind: 'mcmc';
  /** Gaussians at most. */
  cap: number;
  from: number;
  until: number;
  every: number;
  /** Growth per refinement. */
  growth: number;
  /** Gaussians of less opacity are moved. */
  deadOpacity: number;
  /** Noise on the centres over their learning rate. */
  noise: number;
}

/** Clones, splits and prunes by picture-plane gradients (Kerbl et al. 2023, section 5.2). */
export interface DensifyStrategy {
  kind: 'densify';
  cap: number;
  from: number;
  until: number;
  every: number;
  /** Mean gradient norm, NDC units, from which a Gaussian is cloned or split. */
  gradient: number;
  /** Largest standard deviation over the scene's extent up to which it is cloned, not split. */
  cloneSize: number;
  pruneOpacity: number;
  /** Largest standard deviation over the extent, once opacities were reset. */
  pruneSize: number;
  resetEvery: number;
}

export type Strategy = McmcStrategy | DensifyStrategy | { kind: 'fixed' };

export interface FitRecipe {
  iterations: number;
  /** Rates at the start; of the centres in units of the scene's extent. */
  rates: Rates;
  /** Factor on a rate at the end, reached exponentially; 1 where absent. */
  decay?: Partial<Rates>;
  ssimWeight: number;
  /** Iterations after which the harmonics gain a degree; 0: all from the start. */
  degreeEvery: number;
  strategy: Strategy;
  /** Weights of the mean opacity and of the mean standard deviation. */
  regularise: { opacity: number; scale: number };
  /** Weights of the mean squared distance of parameters to where they started. */
  anchor?: Partial<Record<ParameterName, number>>;
  /**
   * Bounds of the standard deviations, for a fixed number of Gaussians: the largest over the extent, and the share of its own first size that
   * one may shrink to. What shrinks below the pixels it was seen at leaves holes in nearer views (Yu et al. 2024, Mip-Splatting, section 5).
   */
  sizes?: { largest: number; shrink: number };
  /**
   * Every second step renders at twice the resolution and compares the mean of its 2×2 pixels. A splat is drawn at least about a pixel wide:
   * fitted at one resolution, it is too thin and too bright in views from nearer by (Yu et al. 2024, Mip-Splatting, section 4).
   */
  twoScales?: boolean;
  background: readonly [number, number, number];
}

/** Rates of 3D Gaussian splatting. */
export const defaultRates: Rates = { means: 1.6e-4, quats: 1e-3, logScales: 5e-3, opacityLogits: 0.05, sh0: 2.5e-3, shRest: 1.25e-4 };

/** Gaussians for a view of that size: more than its pixels can tell are only noise. */
export function usualCap(width: number, height: number): number {
  return Math.round(1.2 * width * height);
}

/** Iterations of the published schedules; ours are scaled to the length of the run. */
const published = 30_000;

export interface ReconstructOptions {
  iterations: number;
  cap: number;
  strategy: 'mcmc' | 'densify';
}

/** Fit from photographs: the published schedule, shortened in proportion. */
export function reconstructRecipe({ iterations, cap, strategy }: ReconstructOptions): FitRecipe {
  const at = (iteration: number): number => Math.round((iteration / published) * iterations);
  // Refinement every 100 iterations whatever the length: shorter runs have to grow faster, not rarer.
  const every = Math.max(10, Math.min(100, Math.round(iterations / 60)));
  return {
    iterations,
    rates: defaultRates,
    decay: { means: 0.01 },
    ssimWeight,
    degreeEvery: Math.round(iterations / 8),
    regularise: strategy === 'mcmc' ? { opacity: 0.01, scale: 0.01 } : { opacity: 0, scale: 0 },
    strategy:
      strategy === 'mcmc'
        ? { kind: 'mcmc', cap, from: at(500), until: at(25_000), every, growth: 1.05, deadOpacity: 0.005, noise: 5e5 }
        : {
            kind: 'densify', cap, from: at(500), until: at(15_000), every,
            gradient: 2e-4, cloneSize: 0.01, pruneOpacity: 0.005, pruneSize: 0.1, resetEvery: at(3000),
          },
    background: [0, 0, 0],
  };
}
