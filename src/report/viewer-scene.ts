/** Gaussians as a page carries them: SPZ, thinned where there are more than a browser without a good card draws at ease. */
import { createCloud, restCoefficients } from '../scene/gaussians/cloud';
import type { GaussianCloud } from '../scene/gaussians/cloud';
import { encodeSpz } from '../scene/gaussians/formats';
import type { EmbeddedScene } from './viewer-section';

/** Most Gaussians of an embedded scene: some 6 MB of page. */
export const mostEmbedded = 300_000;

/** @throws SceneError for values that are not finite */
export function embeddedScene(title: string, cloud: GaussianCloud, most = mostEmbedded): EmbeddedScene {
  return { title, format: 'spz', bytes: encodeSpz(thinned(cloud, most)) };
}

/** The `most` Gaussians that cover most: opacity times the area of the two larger axes. Their order stays. */
export function thinned(cloud: GaussianCloud, most: number): GaussianCloud {
  const { count, shDegree, logScales, opacityLogits } = cloud;
  if (count <= most) return cloud;
  const covers = Float64Array.from({ length: count }, (_, i) => {
    const [a, b, c] = logScales.subarray(3 * i, 3 * i + 3);
    return a + b + c - Math.min(a, b, c) - Math.log1p(Math.exp(-opacityLogits[i]));
  });
  const limit = Float64Array.from(covers).sort()[count - most];
  const kept: number[] = [];
  for (let i = 0; i < count && kept.length < most; i++) if (covers[i] >= limit) kept.push(i);
  const result = createCloud(kept.length, shDegree);
  const widths = {
    means: 3, quats: 4, logScales: 3, opacityLogits: 1, sh0: 3, shRest: 3 * restCoefficients(shDegree),
  } as const;
  for (const [field, width] of Object.entries(widths) as [keyof typeof widths, number][]) {
    kept.forEach((from, to) => result[field].set(cloud[field].subarray(from * width, (from + 1) * width), to * width));
  }
  return result;
}
