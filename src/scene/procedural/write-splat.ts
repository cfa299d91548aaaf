/** Ground-truth Gaussian splats in the PLY layout of the original 3DGS code (degree-0 harmonics). */
import { quaternionOf } from '../quaternion';
import { cross, scale, unit, type Vec3 } from './math';
import type { SurfaceSample } from './surface-samples';

/** Zeroth spherical harmonic: colour = 0.5 + sh0 f_dc. */
const sh0 = 0.28209479177387814;

export const splatProperties = [
  'x', 'y', 'z', 'nx', 'ny', 'nz', 'f_dc_0', 'f_dc_1', 'f_dc_2', 'opacity',
  'scale_0', 'scale_1', 'scale_2', 'rot_0', 'rot_1', 'rot_2', 'rot_3',
] as const;

const opacity = 0.95;
/** Standard deviation over the spacing of the samples: neighbours overlap without a visible gap. */
const spread = 0.6;
/** Thickness over the smaller width. */
const flatness = 0.1;
/** Widest stretch of a Gaussian whose pixel sees the surface at a low angle. */
const widest = 4;

/** Row-major rotation whose third column is `normal` and whose first lies across the vertical. */
function frameOf(normal: Vec3): number[] {
  const across = unit(cross(Math.abs(normal[2]) < 0.9 ? [0, 0, 1] : [1, 0, 0], normal));
  const along = cross(normal, across);
  return [0, 1, 2].flatMap((k) => [across[k], along[k], normal[k]]);
}

/**
 * Binary little-endian PLY: one thin Gaussian per sample, its third axis along the normal, as wide as its pixel is on the
 * surface. Opacity is stored as a logit, scales as natural logarithms, rotations as (w, x, y, z).
 */
export function encodeSplat(samples: readonly SurfaceSample[]): Buffer {
  const header = [
    'ply', 'format binary_little_endian 1.0', `element vertex ${samples.length}`,
    ...splatProperties.map((name) => `property float ${name}`), 'end_header', '',
  ].join('\n');
  const values = new Float32Array(splatProperties.length * samples.length);
  samples.forEach(({ position, normal, colour, footprint, slant }, i) => {
    const width = spread * footprint * Math.min(widest, 1 / Math.sqrt(Math.max(slant, 1e-6)));
    const scales = [width, width, flatness * width].map(Math.log);
    values.set(
      [
        ...position, ...normal, ...scale([colour[0] - 0.5, colour[1] - 0.5, colour[2] - 0.5], 1 / sh0),
        Math.log(opacity / (1 - opacity)), ...scales, ...quaternionOf(frameOf(normal)),
      ],
      i * splatProperties.length,
    );
  });
  const body = Buffer.alloc(4 * values.length);
  values.forEach((value, i) => body.writeFloatLE(value, 4 * i));
  return Buffer.concat([Buffer.from(header, 'latin1'), body]);
}
