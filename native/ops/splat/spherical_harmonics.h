// Real spherical harmonics of degree 0 to 3 with the signs of 3D Gaussian splatting (Kerbl et al. 2023; the constants
// are those of Sloan 2008, "Stupid spherical harmonics tricks", with the Condon-Shortley phase), and the gradient of a
// sum of them by the direction. Shared by the CPU and CUDA code.
#pragma once

#if defined(__CUDACC__)
#define RL_SPLAT_FN __host__ __device__ __forceinline__
#else
#define RL_SPLAT_FN inline __attribute__((always_inline))
#endif

namespace rl {

// Coefficients up to and including `degree`.
RL_SPLAT_FN constexpr int sh_count(int degree) { return (degree + 1) * (degree + 1); }

inline constexpr float kSh0 = 0.28209479177387814f;
inline constexpr float kSh1 = 0.4886025119029199f;
inline constexpr float kSh2[3] = {1.0925484305920792f, 0.31539156525252005f, 0.5462742152960396f};
inline constexpr float kSh3[5] = {0.5900435899266435f, 2.890611442640554f, 0.4570457994644658f, 0.3731763325901154f,
                                  1.445305721320277f};

// basis [(degree + 1)^2] at the unit vector (x, y, z).
template <int degree>
RL_SPLAT_FN void sh_basis(float x, float y, float z, float* basis) {
  basis[0] = kSh0;
  if constexpr (degree >= 1) {
    basis[1] = -kSh1 * y;
    basis[2] = kSh1 * z;
    basis[3] = -kSh1 * x;
  }
  if constexpr (degree >= 2) {
    constexpr float a = kSh2[0], b = kSh2[1], c = kSh2[2];
    const float xx = x * x, yy = y * y, zz = z * z;
    basis[4] = a * (x * y);
    basis[5] = -a * (y * z);
    basis[6] = b * (2 * zz - xx - yy);
    basis[7] = -a * (x * z);
    basis[8] = c * (xx - yy);
    if constexpr (degree >= 3) {
      constexpr float d = kSh3[0], e = kSh3[1], f = kSh3[2], g = kSh3[3], h = kSh3[4];
      basis[9] = -d * y * (3 * xx - yy);
      basis[10] = e * (x * y) * z;
      basis[11] = -f * y * (4 * zz - xx - yy);
      basis[12] = g * z * (2 * zz - 3 * xx - 3 * yy);
      basis[13] = -f * x * (4 * zz - xx - yy);
      basis[14] = h * z * (xx - yy);
      basis[15] = -d * x * (xx - 3 * yy);
    }
  }
}

// gradient [3] = sum over k >= 1 of weight[k] dY_k / d(x, y, z), the polynomials taken as functions on all of R^3.
template <int degree>
RL_SPLAT_FN void sh_direction_gradient(float x, float y, float z, const float* weight, float* gradient) {
  float gx = 0, gy = 0, gz = 0;
  if constexpr (degree >= 1) {
    gx = -kSh1 * weight[3];
    gy = -kSh1 * weight[1];
    gz = kSh1 * weight[2];
  }
  if constexpr (degree >= 2) {
    constexpr float a = kSh2[0], b = 2 * kSh2[1], c = 2 * kSh2[2];
    gx += a * (y * weight[4] - z * weight[7]) - x * (b * weight[6] - c * weight[8]);
    gy += a * (x * weight[4] - z * weight[5]) - y * (b * weight[6] + c * weight[8]);
    gz += 2 * b * z * weight[6] - a * (y * weight[5] + x * weight[7]);
  }
  if constexpr (degree >= 3) {
    constexpr float d = kSh3[0], e = kSh3[1], f = kSh3[2], g = kSh3[3], h = kSh3[4];
    const float xx = x * x, yy = y * y, zz = z * z, xy = x * y, yz = y * z, xz = x * z;
    gx += -6 * d * xy * weight[9] + e * yz * weight[10] + 2 * f * xy * weight[11] - 6 * g * xz * weight[12] -
          f * (4 * zz - 3 * xx - yy) * weight[13] + 2 * h * xz * weight[14] - 3 * d * (xx - yy) * weight[15];
    gy += -3 * d * (xx - yy) * weight[9] + e * xz * weight[10] - f * (4 * zz - xx - 3 * yy) * weight[11] -
          6 * g * yz * weight[12] + 2 * f * xy * weight[13] - 2 * h * yz * weight[14] + 6 * d * xy * weight[15];
    gz += e * xy * weight[10] - 8 * f * yz * weight[11] + 3 * g * (2 * zz - xx - yy) * weight[12] -
          8 * f * xz * weight[13] + h * (xx - yy) * weight[14];
  }
  gradient[0] = gx;
  gradient[1] = gy;
  gradient[2] = gz;
}

}  // namespace rl
