// Errors of relative camera poses, the metric of pose evaluation (VGGT's test_co3d; Jin et al. 2021).
// For a pair (i, j) the relative pose is T_j T_i^{-1}: R = R_j R_i^T, t = t_j - R t_i. With * the reference:
//   rotation_deg     the angle of R R*^T
//   translation_deg  the angle between t and t*: a in [0, 180], or min(a, 180 - a) when
//                    `ignore_sign`, as VGGT's evaluation has it
// Both are invariant to the world frame; the second also to scale.
// A baseline |t| <= 1e-6 (|t_i| + |t_j|) is within the rounding of f32 extrinsics and has no direction. If the reference
// has none, translation_deg is 0 (nothing to compare); if only the estimate has none, it is 90.
//   estimate, reference [V, 3, 4] f32, camera-from-world [R|t], R orthonormal · pairs i32 [P, 2] · results f32 [P]
// An index outside [0, V) fails with ERR_SHAPE when the command runs on the CPU; on CUDA its results are NaN.
// Precision: f64 inside. Tolerance (test/native/pose_error.test.cc): 2e-5 degrees, from the rounding of f32 extrinsics.
#pragma once

#include <vector>

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct PoseErrorArgs {
  const float* estimate;
  const float* reference;
  const int32_t* pairs;
  float* rotation_deg;
  float* translation_deg;
  int64_t views, count;
  bool ignore_sign;
};

void pose_error_cpu(const PoseErrorArgs& args);
#if RL_WITH_CUDA
void pose_error_cuda(const PoseErrorArgs& args, cudaStream_t stream);
#endif

// -> [rotation_deg, translation_deg]
std::vector<Tensor> pose_error(const Tensor& estimate, const Tensor& reference, const Tensor& pairs,
                               bool ignore_sign);

}  // namespace rl
