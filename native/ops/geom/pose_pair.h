// The arithmetic of pose_error for one pair, shared by the CPU and CUDA code.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define RL_POSE_FN __host__ __device__ inline
#else
#define RL_POSE_FN inline
#endif

namespace rl {

struct RelativePose {
  double rotation[9];
  double translation[3];
  bool has_direction;
};

// `from` and `to` are 3x4 row-major.
RL_POSE_FN RelativePose relative_pose(const float* from, const float* to) {
  RelativePose out;
  double from_norm2 = 0, to_norm2 = 0, norm2 = 0;
  for (int r = 0; r < 3; ++r)
    for (int c = 0; c < 3; ++c) {
      double sum = 0;
      for (int k = 0; k < 3; ++k) sum += static_cast<double>(to[r * 4 + k]) * from[c * 4 + k];
      out.rotation[r * 3 + c] = sum;
    }
  for (int r = 0; r < 3; ++r) {
    double sum = to[r * 4 + 3];
    for (int k = 0; k < 3; ++k) sum -= out.rotation[r * 3 + k] * from[k * 4 + 3];
    out.translation[r] = sum;
    norm2 += sum * sum;
    from_norm2 += static_cast<double>(from[r * 4 + 3]) * from[r * 4 + 3];
    to_norm2 += static_cast<double>(to[r * 4 + 3]) * to[r * 4 + 3];
  }
  // Written so that NaN counts as a direction and reaches the result.
  out.has_direction = !(sqrt(norm2) <= 1e-6 * (sqrt(from_norm2) + sqrt(to_norm2)));
  return out;
}

// atan2 of sine and cosine keeps full precision near 0 and 180 degrees, where the arc cosine has none.
RL_POSE_FN double rotation_error_deg(const RelativePose& a, const RelativePose& b) {
  double d[9];
  for (int r = 0; r < 3; ++r)
    for (int c = 0; c < 3; ++c) {
      d[r * 3 + c] = 0;
      for (int k = 0; k < 3; ++k) d[r * 3 + c] += a.rotation[r * 3 + k] * b.rotation[c * 3 + k];
    }
  const double x = d[7] - d[5], y = d[2] - d[6], z = d[3] - d[1];
  return atan2(sqrt(x * x + y * y + z * z), d[0] + d[4] + d[8] - 1.0) * 57.29577951308232;
}

RL_POSE_FN double translation_error_deg(const RelativePose& estimate, const RelativePose& reference, bool ignore_sign) {
  if (!reference.has_direction) return 0;
  if (!estimate.has_direction) return 90;
  const double* a = estimate.translation;
  const double* b = reference.translation;
  const double x = a[1] * b[2] - a[2] * b[1], y = a[2] * b[0] - a[0] * b[2], z = a[0] * b[1] - a[1] * b[0];
  const double dot = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  return atan2(sqrt(x * x + y * y + z * z), ignore_sign ? fabs(dot) : dot) * 57.29577951308232;
}

}  // namespace rl
