// The arithmetic of splat_project and its backward for one Gaussian, shared by the CPU and CUDA code. No branches: the
// CPU runs it for 16 Gaussians side by side, so what is culled is computed and then dropped by a selection.
//
// With W, T the rotation and translation of the camera and t1, t2 the rows of J W, the projected covariance is
// N N^T + 0.3 I for the 2x3 matrix N = J W R diag(s), rows n1 and n2. Two consequences are used throughout:
//   det = |n1 x n2|^2 + 0.3 (|n1|^2 + |n2|^2) + 0.09    ac - b^2 cancels for long thin splats, this does not
//   dL/dN = 2 G' N, G' the gradient by the covariance   the scales s_j then get n1_j dn1_j + n2_j dn2_j
#pragma once

#include <math.h>
#include <string.h>

#include <cstdint>

#include "native/ops/splat/spherical_harmonics.h"

namespace rl {

inline constexpr float kSplatDilation = 0.3f;      // px^2, added to both variances: a splat covers about a pixel at least
inline constexpr float kSplatMinAlpha = 1.0f / 255;
inline constexpr float kSplatJacobianMargin = 0.3f;  // of half the field of view, beyond the picture's edge
inline constexpr float kSplatMinQuat2 = 1e-30f, kSplatMaxQuat2 = 1e30f;  // |q|^2 outside has no f32 normalisation
inline constexpr int kProjectedColumns = 12, kProjectedGradientColumns = 10;

// 1 / sqrt(x) for x > 0 and normal: on the CPU Newton steps from an estimate of the exponent (Lomont 2003, "Fast inverse
// square root"), within 2 units of the last place. A call of sqrtf may set errno, which keeps loops around it from becoming
// vector instructions. 0 gives something finite; infinity and NaN give no number.
#if defined(__CUDA_ARCH__)
RL_SPLAT_FN float splat_rsqrt(float x) { return 1 / sqrtf(x); }
RL_SPLAT_FN double splat_rsqrt(double x) { return 1 / sqrt(x); }
#else
RL_SPLAT_FN float splat_rsqrt(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits = 0x5F3759DFu - (bits >> 1);
  float y;
  memcpy(&y, &bits, sizeof y);
  for (int i = 0; i < 3; ++i) y = y * (1.5f - (0.5f * x * y) * y);
  return y + 0.5f * y * (1.0f - (x * y) * y);
}
RL_SPLAT_FN double splat_rsqrt(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits = 0x5FE6EB50C7B537A9ull - (bits >> 1);
  double y;
  memcpy(&y, &bits, sizeof y);
  for (int i = 0; i < 4; ++i) y = y * (1.5 - (0.5 * x * y) * y);
  return y + 0.5 * y * (1.0 - (x * y) * y);
}
#endif

struct SplatCamera {
  double rotation[9];     // f64: a world far from its origin cancels in W mu + T
  double translation[3];
  double centre[3];       // -W^T T
  float fx, fy, cx, cy;
  float low_x, high_x, low_y, high_y;  // bounds of x/z, y/z in the Jacobian
  float near, width, height;
  float usable;  // 1, or 0 where a focal length is not positive and finite
};

// camera [16]: fx, fy, cx, cy, worldToCam 3x4 row-major.
RL_SPLAT_FN SplatCamera splat_camera(const float* camera, int64_t width, int64_t height, float near) {
  SplatCamera out;
  for (int r = 0; r < 3; ++r) {
    for (int c = 0; c < 3; ++c) out.rotation[r * 3 + c] = camera[4 + r * 4 + c];
    out.translation[r] = camera[4 + r * 4 + 3];
  }
  for (int c = 0; c < 3; ++c)
    out.centre[c] = -(out.rotation[c] * out.translation[0] + out.rotation[3 + c] * out.translation[1] +
                      out.rotation[6 + c] * out.translation[2]);
  out.fx = camera[0];
  out.fy = camera[1];
  out.cx = camera[2];
  out.cy = camera[3];
  out.near = near;
  out.width = static_cast<float>(width);
  out.height = static_cast<float>(height);
  const float margin_x = kSplatJacobianMargin * 0.5f * out.width, margin_y = kSplatJacobianMargin * 0.5f * out.height;
  out.low_x = -(out.cx + margin_x) / out.fx;
  out.high_x = (out.width - out.cx + margin_x) / out.fx;
  out.low_y = -(out.cy + margin_y) / out.fy;
  out.high_y = (out.height - out.cy + margin_y) / out.fy;
  out.usable = out.fx > 0 && out.fy > 0 && out.fx < 1e30f && out.fy < 1e30f ? 1.0f : 0.0f;
  return out;
}

// What the forward and the backward both need. T is float or double.
template <class T>
struct SplatShape {
  T x, y, z, inv_z;          // camera space
  T rx, ry;                  // x/z and y/z as the Jacobian sees them
  T free_x, free_y;          // 1 where the clamp is idle
  T qw, qx, qy, qz, inv_norm, norm2;  // unit quaternion, 1 / |q|, |q|^2
  T r[9];                    // R(q), row-major
  T t1[3], t2[3];            // rows of J W
  T n1[3], n2[3];            // rows of J W R diag(s)
  T a, b, c, det;            // dilated covariance [[a, b], [b, c]]
};

template <class T>
RL_SPLAT_FN T splat_dot(const T* a, const T* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

template <class T>
RL_SPLAT_FN SplatShape<T> splat_shape(const SplatCamera& cam, const float* mean, const float* quat, const float* scale) {
  SplatShape<T> g;
  const double mx = mean[0], my = mean[1], mz = mean[2];
  const double* w = cam.rotation;
  g.x = static_cast<T>(w[0] * mx + w[1] * my + w[2] * mz + cam.translation[0]);
  g.y = static_cast<T>(w[3] * mx + w[4] * my + w[5] * mz + cam.translation[1]);
  g.z = static_cast<T>(w[6] * mx + w[7] * my + w[8] * mz + cam.translation[2]);
  g.inv_z = T(1) / g.z;

  const T ux = g.x * g.inv_z, uy = g.y * g.inv_z;
  const T low_x = cam.low_x, high_x = cam.high_x, low_y = cam.low_y, high_y = cam.high_y;
  g.rx = ux < low_x ? low_x : ux;
  g.rx = g.rx > high_x ? high_x : g.rx;
  g.ry = uy < low_y ? low_y : uy;
  g.ry = g.ry > high_y ? high_y : g.ry;
  g.free_x = g.rx == ux ? T(1) : T(0);
  g.free_y = g.ry == uy ? T(1) : T(0);

  const T q0 = quat[0], q1 = quat[1], q2 = quat[2], q3 = quat[3];
  g.norm2 = q0 * q0 + q1 * q1 + q2 * q2 + q3 * q3;
  g.inv_norm = splat_rsqrt(g.norm2);
  g.qw = q0 * g.inv_norm;
  g.qx = q1 * g.inv_norm;
  g.qy = q2 * g.inv_norm;
  g.qz = q3 * g.inv_norm;
  g.r[0] = 1 - 2 * (g.qy * g.qy + g.qz * g.qz);
  g.r[1] = 2 * (g.qx * g.qy - g.qw * g.qz);
  g.r[2] = 2 * (g.qx * g.qz + g.qw * g.qy);
  g.r[3] = 2 * (g.qx * g.qy + g.qw * g.qz);
  g.r[4] = 1 - 2 * (g.qx * g.qx + g.qz * g.qz);
  g.r[5] = 2 * (g.qy * g.qz - g.qw * g.qx);
  g.r[6] = 2 * (g.qx * g.qz - g.qw * g.qy);
  g.r[7] = 2 * (g.qy * g.qz + g.qw * g.qx);
  g.r[8] = 1 - 2 * (g.qx * g.qx + g.qy * g.qy);

  const T jx = T(cam.fx) * g.inv_z, jy = T(cam.fy) * g.inv_z, kx = -jx * g.rx, ky = -jy * g.ry;
  for (int i = 0; i < 3; ++i) {
    g.t1[i] = jx * T(w[i]) + kx * T(w[6 + i]);
    g.t2[i] = jy * T(w[3 + i]) + ky * T(w[6 + i]);
  }
  for (int j = 0; j < 3; ++j) {
    g.n1[j] = T(scale[j]) * (g.t1[0] * g.r[j] + g.t1[1] * g.r[3 + j] + g.t1[2] * g.r[6 + j]);
    g.n2[j] = T(scale[j]) * (g.t2[0] * g.r[j] + g.t2[1] * g.r[3 + j] + g.t2[2] * g.r[6 + j]);
  }
  const T dilation = kSplatDilation, n11 = splat_dot(g.n1, g.n1), n22 = splat_dot(g.n2, g.n2);
  const T c0 = g.n1[1] * g.n2[2] - g.n1[2] * g.n2[1], c1 = g.n1[2] * g.n2[0] - g.n1[0] * g.n2[2],
          c2 = g.n1[0] * g.n2[1] - g.n1[1] * g.n2[0];
  g.a = n11 + dilation;
  g.b = splat_dot(g.n1, g.n2);
  g.c = n22 + dilation;
  g.det = c0 * c0 + c1 * c1 + c2 * c2 + dilation * (n11 + n22) + dilation * dilation;
  return g;
}

// Unit vector from the camera centre to the mean, and 1 / distance.
RL_SPLAT_FN float splat_direction(const SplatCamera& cam, const float* mean, float* direction) {
  const float x = static_cast<float>(mean[0] - cam.centre[0]), y = static_cast<float>(mean[1] - cam.centre[1]),
              z = static_cast<float>(mean[2] - cam.centre[2]);
  const float inv = splat_rsqrt(x * x + y * y + z * z);
  direction[0] = x * inv;
  direction[1] = y * inv;
  direction[2] = z * inv;
  return inv;
}

// `log_gain` is 2 ln(255 opacity), the squared extent in standard deviations at which alpha falls to 1/255; `colour` is
// the unclamped colour. Writes the 12 columns of splat_project.h and returns whether the Gaussian is visible. Where it is
// not, the columns are anything and the caller writes zeros.
RL_SPLAT_FN bool splat_project_one(const SplatCamera& cam, const float* mean, const float* quat, const float* scale,
                                   float opacity, float log_gain, const float* colour, float* out) {
  const SplatShape<float> g = splat_shape<float>(cam, mean, quat, scale);
  const float u = cam.fx * (g.x * g.inv_z) + cam.cx, v = cam.fy * (g.y * g.inv_z) + cam.cy, inv_det = 1 / g.det;
  const float ex2 = log_gain * g.a, ey2 = log_gain * g.c;
  const float ex = ceilf(ex2 * splat_rsqrt(ex2)), ey = ceilf(ey2 * splat_rsqrt(ey2));
  const float half_w = ex > 1 ? ex : 1.0f, half_h = ey > 1 ? ey : 1.0f;
  out[0] = u;
  out[1] = v;
  out[2] = g.c * inv_det;
  out[3] = -g.b * inv_det;
  out[4] = g.a * inv_det;
  out[5] = opacity;
  for (int c = 0; c < 3; ++c) out[6 + c] = colour[c] > 0 ? colour[c] : 0.0f;
  out[9] = g.z;
  out[10] = half_w;
  out[11] = half_h;
  // One figure that is finite only if every output is, and the determinant, which 1 / det would hide.
  const float sum = u + v + out[2] + out[3] + out[4] + opacity + colour[0] + colour[1] + colour[2] + g.z + ex + ey;
  const bool finite = (fabsf(sum) <= 3.0e38f) & (g.det <= 3.0e38f);
  const bool defined = (cam.usable > 0) & (g.norm2 >= kSplatMinQuat2) & (g.norm2 <= kSplatMaxQuat2);
  const bool inside = (u + half_w > 0) & (v + half_h > 0) & (u - half_w < cam.width) & (v - half_h < cam.height);
  return finite & defined & inside & (g.z > cam.near) & (opacity >= kSplatMinAlpha);
}

// The geometric part of the backward (Kerbl et al. 2023, appendix A; rederived). d [10]: gradient by columns 0-9.
// d_direction [3]: gradient by the view direction. T = double: see splat_project_backward.h. What comes out for a culled
// Gaussian is anything; the caller writes zeros.
template <class T>
RL_SPLAT_FN void splat_shape_backward(const SplatCamera& cam, const float* mean, const float* quat, const float* scale,
                                      const float* d, const float* d_direction, float* d_mean, float* d_quat,
                                      float* d_log_scale) {
  const SplatShape<T> g = splat_shape<T>(cam, mean, quat, scale);
  // G' = -Q G Q for the conic Q and G = [[dA, dB/2], [dB/2, dC]].
  const T inv_det = T(1) / g.det, qa = g.c * inv_det, qb = -g.b * inv_det, qc = g.a * inv_det;
  const T da = d[2], db = T(0.5) * T(d[3]), dc = d[4];
  const T h11 = da * qa + db * qb, h12 = da * qb + db * qc, h21 = db * qa + dc * qb, h22 = db * qb + dc * qc;
  const T g11 = -2 * (qa * h11 + qb * h21), g12 = -2 * (qa * h12 + qb * h22), g22 = -2 * (qb * h12 + qc * h22);

  T dt1[3] = {0, 0, 0}, dt2[3] = {0, 0, 0}, dr[9];
  for (int j = 0; j < 3; ++j) {
    const T dn1 = g11 * g.n1[j] + g12 * g.n2[j], dn2 = g12 * g.n1[j] + g22 * g.n2[j];
    const T d_scale = dn1 * g.n1[j] + dn2 * g.n2[j], e1 = T(scale[j]) * dn1, e2 = T(scale[j]) * dn2;
    d_log_scale[j] = static_cast<float>(d_scale);
    for (int i = 0; i < 3; ++i) {
      dt1[i] += e1 * g.r[i * 3 + j];
      dt2[i] += e2 * g.r[i * 3 + j];
      dr[i * 3 + j] = e1 * g.t1[i] + e2 * g.t2[i];
    }
  }

  const T m32 = dr[7] - dr[5], m13 = dr[2] - dr[6], m21 = dr[3] - dr[1];
  const T p12 = dr[1] + dr[3], p13 = dr[2] + dr[6], p23 = dr[5] + dr[7];
  const T w = g.qw, x = g.qx, y = g.qy, z = g.qz;
  const T dw = 2 * (x * m32 + y * m13 + z * m21);
  const T dx = 2 * (-2 * x * (dr[4] + dr[8]) + y * p12 + z * p13 + w * m32);
  const T dy = 2 * (x * p12 - 2 * y * (dr[0] + dr[8]) + z * p23 + w * m13);
  const T dz = 2 * (x * p13 + y * p23 - 2 * z * (dr[0] + dr[4]) + w * m21);
  const T along = w * dw + x * dx + y * dy + z * dz;
  d_quat[0] = static_cast<float>((dw - w * along) * g.inv_norm);
  d_quat[1] = static_cast<float>((dx - x * along) * g.inv_norm);
  d_quat[2] = static_cast<float>((dy - y * along) * g.inv_norm);
  d_quat[3] = static_cast<float>((dz - z * along) * g.inv_norm);

  T rows[9];
  for (int i = 0; i < 9; ++i) rows[i] = T(cam.rotation[i]);
  const T j00 = splat_dot(dt1, rows), j02 = splat_dot(dt1, rows + 6);
  const T j11 = splat_dot(dt2, rows + 3), j12 = splat_dot(dt2, rows + 6);
  const T jx = T(cam.fx) * g.inv_z, jy = T(cam.fy) * g.inv_z, du = d[0], dv = d[1];
  // J02 = -fx rx / z: rx is x/z, or a constant where the clamp holds it. Then only its 1/z moves.
  const T px = jx * (du - g.free_x * j02 * g.inv_z);
  const T py = jy * (dv - g.free_y * j12 * g.inv_z);
  const T pz = T(d[9]) - g.inv_z * (jx * (du * g.x + j00 - (1 + g.free_x) * g.rx * j02) +
                                    jy * (dv * g.y + j11 - (1 + g.free_y) * g.ry * j12));

  float direction[3];
  const float inv_distance = splat_direction(cam, mean, direction);
  const float radial = splat_dot(direction, d_direction);
  for (int i = 0; i < 3; ++i) {
    const T through = rows[i] * px + rows[3 + i] * py + rows[6 + i] * pz;
    d_mean[i] = static_cast<float>(through) + inv_distance * (d_direction[i] - direction[i] * radial);
  }
}

}  // namespace rl
