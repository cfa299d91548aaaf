/**
 * Gaussian splatting in float64 without tiles or shortcuts: each Gaussian is tried at each pixel, front to back. The
 * formulas are those of the 3DGS paper (Kerbl et al. 2023) with the constants of its code.
 */
import type { Camera } from '../src/scene';
import type { GaussianCloud } from '../src/scene/gaussians/cloud';

interface Footprint {
  u: number;
  v: number;
  conic: [number, number, number];
  opacity: number;
  rgb: [number, number, number];
  z: number;
}

/** Rows of the rotation of a quaternion (w, x, y, z) of any length. */
function rotationOf(q: ArrayLike<number>): number[][] {
  const norm = Math.hypot(q[0], q[1], q[2], q[3]);
  const [w, x, y, z] = [q[0] / norm, q[1] / norm, q[2] / norm, q[3] / norm];
  return [
    [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
    [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
    [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
  ];
}

function product(a: number[][], b: number[][]): number[][] {
  return a.map((row) => b[0].map((_, j) => row.reduce((sum, value, k) => sum + value * b[k][j], 0)));
}

function transposed(a: number[][]): number[][] {
  return a[0].map((_, j) => a.map((row) => row[j]));
}

/** Real spherical harmonics up to degree 1 of a unit direction, in the order of the files. */
function harmonics(degree: number, [x, y, z]: readonly number[]): number[] {
  const y1 = 0.4886025119029199;
  return [0.28209479177387814, ...(degree > 0 ? [-y1 * y, y1 * z, -y1 * x] : [])];
}

function project(cloud: GaussianCloud, i: number, camera: Camera): Footprint | undefined {
  const m = camera.worldToCam;
  const w = [0, 1, 2].map((row) => [m[4 * row], m[4 * row + 1], m[4 * row + 2]]);
  const t = [m[3], m[7], m[11]];
  const mean = Array.from(cloud.means.subarray(3 * i, 3 * i + 3));
  const [x, y, z] = w.map((row, k) => row[0] * mean[0] + row[1] * mean[1] + row[2] * mean[2] + t[k]);
  if (z <= 0.01) return undefined;
  const { fx, fy, cx, cy, width, height } = camera;
  const rotation = rotationOf(cloud.quats.subarray(4 * i, 4 * i + 4));
  const scaled = rotation.map((row) => row.map((value, k) => value * Math.exp(cloud.logScales[3 * i + k])));
  const clamp = (value: number, low: number, high: number): number => Math.min(Math.max(value, low), high);
  const [marginX, marginY] = [(0.3 * width) / (2 * fx), (0.3 * height) / (2 * fy)];
  const rx = clamp(x / z, -(cx / fx + marginX), (width - cx) / fx + marginX);
  const ry = clamp(y / z, -(cy / fy + marginY), (height - cy) / fy + marginY);
  const jacobian = [[fx / z, 0, (-fx * rx) / z], [0, fy / z, (-fy * ry) / z]];
  const root = product(product(jacobian, w), scaled);
  const covariance = product(root, transposed(root));
  const [a, b, c] = [covariance[0][0] + 0.3, covariance[0][1], covariance[1][1] + 0.3];
  const det = a * c - b * b;
  if (det <= 0) return undefined;
  const eye = [0, 1, 2].map((k) => -(w[0][k] * t[0] + w[1][k] * t[1] + w[2][k] * t[2]));
  const offset = mean.map((value, k) => value - eye[k]);
  const far = Math.hypot(...offset);
  const basis = harmonics(cloud.shDegree, offset.map((value) => value / far));
  const rest = basis.length - 1;
  const stored = (cloud.shDegree + 1) ** 2 - 1;
  const rgb = [0, 1, 2].map((channel) => {
    let value = 0.5 + basis[0] * cloud.sh0[3 * i + channel];
    for (let k = 0; k < rest; k++) value += basis[k + 1] * cloud.shRest[3 * (stored * i + k) + channel];
    return Math.max(0, value);
  }) as [number, number, number];
  const opacity = 1 / (1 + Math.exp(-cloud.opacityLogits[i]));
  return { u: (fx * x) / z + cx, v: (fy * y) / z + cy, conic: [c / det, -b / det, a / det], opacity, rgb, z };
}

/** RGB planes [3, height, width] of a cloud of degree 0 or 1 on black. */
export function renderReference(cloud: GaussianCloud, camera: Camera): Float64Array {
  const footprints = Array.from({ length: cloud.count }, (_, i) => project(cloud, i, camera))
    .filter((one) => one !== undefined)
    .sort((one, other) => one.z - other.z);
  const plane = camera.width * camera.height;
  const image = new Float64Array(3 * plane);
  for (let py = 0; py < camera.height; py++) {
    for (let px = 0; px < camera.width; px++) {
      const pixel = py * camera.width + px;
      let transmittance = 1;
      for (const { u, v, conic, opacity, rgb } of footprints) {
        const dx = u - (px + 0.5);
        const dy = v - (py + 0.5);
        const power = 0.5 * (conic[0] * dx * dx + conic[2] * dy * dy) + conic[1] * dx * dy;
        // Less than 1/255 whatever the opacity; without it most of the time would go into exponentials of nothing.
        if (power < 0 || power > 5.6) continue;
        const alpha = Math.min(0.99, opacity * Math.exp(-power));
        if (alpha < 1 / 255) continue;
        if (transmittance * (1 - alpha) < 1e-4) break;
        const weight = transmittance * alpha;
        image[pixel] += weight * rgb[0];
        image[plane + pixel] += weight * rgb[1];
        image[2 * plane + pixel] += weight * rgb[2];
        transmittance *= 1 - alpha;
      }
    }
  }
  return image;
}

/** Decibels against a peak of 1; values of either picture beyond it are cut, as in 8 bits. */
export function psnr(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (Math.min(a[i], 1) - Math.min(b[i], 1)) ** 2;
  return -10 * Math.log10(sum / a.length);
}
