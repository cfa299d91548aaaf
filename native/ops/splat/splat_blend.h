// Alpha blending of projected Gaussians, front to back (Kerbl et al. 2023, equation 3). Per pixel, over the pairs of
// its tile:
//   a_i by the rule of tiles.h      w_i = a_i T_i      T_{i+1} = T_i (1 - a_i)      until T_i (1 - a_i) < 1e-4
//   image = sum w_i c_i + T_end background      alpha = 1 - T_end      depth = sum w_i z_i
//   median_depth = z of the Gaussian at which T falls below 1/2, 0 where it never does
//   projected f32 [N, 12] of splat_project · gaussians i32 [P], tile_ranges i32 [tiles + 1] of splat_bin · background
//   f32 [3]
//   -> image f32 [3, H, W], alpha, depth, median_depth, transmittance f32 [H, W],
//      last i32 [H, W]: one past the last pair that counted, as an index into `gaussians`
// Deterministic: a pixel belongs to one tile, which walks its pairs in order; the same bits for every thread count.
// Precision: f32. Tolerance against float64 (test/native/splat_blend.test.cc): 1.1e-6 of the largest value of each
// plane.
// A pixel at an edge of the rule (1/255, 1e-4, 1/2) may fall to the other side of it in f32.
// Bytes: 52 per pair, 36 per pixel. FLOPs: 38 per pair and pixel of it within reach.
#pragma once

#include <vector>

#include "native/core/tensor.h"
#include "native/ops/splat/pairs.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct SplatBlendArgs {
  PairArgs pairs;
  const float* background;
  float* image;
  float* alpha;
  float* depth;
  float* median_depth;
  float* transmittance;
  int32_t* last;
};

void splat_blend_cpu(const SplatBlendArgs& args);
#if RL_WITH_CUDA
void splat_blend_cuda(const SplatBlendArgs& args, cudaStream_t stream);
#endif

// -> [image, alpha, depth, median_depth, transmittance, last]
std::vector<Tensor> splat_blend(const Tensor& projected, const Tensor& gaussians, const Tensor& tile_ranges,
                                const Tensor& background, int64_t width, int64_t height);

}  // namespace rl
