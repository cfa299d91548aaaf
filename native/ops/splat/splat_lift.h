// Lifts a mask of the picture to the Gaussians: how much of what each Gaussian shows lies inside (Chen et al. 2024,
// "GaussianEditor", semantic tracing; weights a T as in splat_blend). Per Gaussian, over all pixels that count:
//   out[i] = (sum w_i m, sum w_i)      w_i = a_i T_i of splat_blend
// With median_depth a pixel counts for a Gaussian only where |z - median_depth| < 0.05 median_depth: what lies in front
// of or
// behind the visible surface is left out.
//   projected, gaussians, tile_ranges as splat_blend · offsets i32 [N + 1] of splat_tile_counts · slots i32 [P] of
//   splat_bin
//   mask f32 [H, W] · median_depth f32 [H, W] of splat_blend, or absent -> f32 [N, 2]
// Deterministic like splat_blend_backward. Precision: f32.
// Tolerance against float64 (test/native/splat_lift.test.cc): 1.44e-7 of the largest value of each column.
// Bytes: 52 + 2 * 8 per pair, 8 per pixel. FLOPs: 35 per pair and pixel of it within reach.
#pragma once

#include <vector>

#include "native/core/tensor.h"
#include "native/ops/splat/pairs.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct SplatLiftArgs {
  PairArgs pairs;
  const int32_t* offsets;
  const int32_t* slots;
  const float* mask;
  const float* median_depth;  // may be null
  float* sums;                // scratch [P, 2]
  float* out;                 // [N, 2]
};

inline constexpr float kLiftDepthShare = 0.05f;

void splat_lift_cpu(const SplatLiftArgs& args);
#if RL_WITH_CUDA
void splat_lift_cuda(const SplatLiftArgs& args, cudaStream_t stream);
#endif

Tensor splat_lift(const Tensor& projected, const Tensor& gaussians, const Tensor& tile_ranges, const Tensor& offsets,
                  const Tensor& slots, const Tensor& mask, const Tensor& median_depth, int64_t width, int64_t height);

}  // namespace rl
