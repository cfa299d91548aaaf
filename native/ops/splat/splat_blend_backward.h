// Gradient of splat_blend with respect to the projected Gaussians (Kerbl et al. 2023, appendix C), back to front:
//   T <- T / (1 - a), starting from the final transmittance      g = (d_image, d_depth, d_alpha) of the pixel
//   value = g_rgb c + g_depth z + g_alpha      behind = the same sum over what lies behind, at first g_rgb background
//   dL/da = T (value - behind)      behind <- behind + a (value - behind)
//   dL/dc += a T g_rgb      dL/dz += a T g_depth      q = a dL/da, 0 where a is clamped at 0.99
//   dL/dopacity += q / opacity      dL/d(A, B, C) -= q (dx^2 / 2, dx dy, dy^2 / 2)
//   dL/d(u, v) -= q (A dx + B dy, B dx + C dy)
// median_depth has no gradient.
//   projected, gaussians, tile_ranges, background as splat_blend · offsets i32 [N + 1] of splat_tile_counts · slots i32
//   [P] of
//   splat_bin · transmittance, last of splat_blend · d_image f32 [3, H, W] · d_alpha, d_depth f32 [H, W] or absent
//   -> d_projected f32 [N, 10]: u, v, A, B, C, opacity, r, g, b, z
// Deterministic: the tile that owns a pair sums its pixels in a fixed order into row slots[p] of a scratch [P, 10];
// then the
// rows of a Gaussian, which lie together, are added in order.
// Precision: f32. Tolerance against float64 (test/native/splat_blend.test.cc): 2.5e-6 of the largest value of each
// column.
// Bytes: 52 + 2 * 40 per pair, 28 per pixel. FLOPs: 50 per pair and pixel of it within reach.
#pragma once

#include <vector>

#include "native/core/tensor.h"
#include "native/ops/splat/pairs.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct SplatBlendBackwardArgs {
  PairArgs pairs;
  const int32_t* offsets;
  const int32_t* slots;
  const float* background;
  const float* transmittance;
  const int32_t* last;
  const float* d_image;
  const float* d_alpha;  // may be null, as d_depth
  const float* d_depth;
  float* moments;  // scratch [P, 10]
  float* d_projected;
};

void splat_blend_backward_cpu(const SplatBlendBackwardArgs& args);
#if RL_WITH_CUDA
void splat_blend_backward_cuda(const SplatBlendBackwardArgs& args, cudaStream_t stream);
#endif

Tensor splat_blend_backward(const Tensor& projected, const Tensor& offsets, const Tensor& gaussians,
                            const Tensor& slots,
                            const Tensor& tile_ranges, const Tensor& background, const Tensor& transmittance,
                            const Tensor& last, const Tensor& d_image, const Tensor& d_alpha, const Tensor& d_depth,
                            int64_t width, int64_t height);

}  // namespace rl
