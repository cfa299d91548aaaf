// Statistics of one rendered view for adaptive density control, in place (Kerbl et al. 2023, "3D Gaussian Splatting for
// Real-Time Radiance Field Rendering", section 5.2): for every Gaussian that the view shows,
//   gradient_sums += |(dL/du * width / 2, dL/dv * height / 2)|     the positional gradient in NDC units
//   view_counts   += 1
// Mean gradient over the views = gradient_sums / view_counts; the paper densifies above 2e-4.
//   projected f32 [N, 12] and d_projected f32 [N, 10] of native/ops/splat/splat_project.h (columns 0, 1: u, v; columns 10, 11
//   of projected: half sizes in pixels, 0 for a Gaussian that the view does not show) · gradient_sums, view_counts f32 [N]
// Gaussians that are not shown keep their sums, whatever d_projected holds. NaN of a shown one reaches its sum.
// Precision: f32. Tolerance (test/native/densify_stats.test.cc): 7.8e-8 of the largest sum.
// Bytes: 8 words per Gaussian (4 read of rows of 12 and 10, 4 of the sums). FLOPs: 7 per Gaussian.
#pragma once

#include <vector>

#include "native/core/rng.h"
#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct DensifyStatsArgs {
  const float* projected;
  const float* d_projected;
  float* gradient_sums;
  float* view_counts;
  int64_t count;
  float half_width, half_height;
};

RL_HOST_DEVICE inline void add_densify_stats(const DensifyStatsArgs& a, int64_t i) {
  const float* p = a.projected + 12 * i;
  if (!(p[10] > 0 && p[11] > 0)) return;
  const float u = a.d_projected[10 * i] * a.half_width, v = a.d_projected[10 * i + 1] * a.half_height;
  a.gradient_sums[i] += sqrtf(u * u + v * v);
  a.view_counts[i] += 1;
}

void densify_stats_cpu(const DensifyStatsArgs& args);
#if RL_WITH_CUDA
void densify_stats_cuda(const DensifyStatsArgs& args, cudaStream_t stream);
#endif

std::vector<Tensor> densify_stats(const Tensor& projected, const Tensor& d_projected, const Tensor& gradient_sums,
                                  const Tensor& view_counts, int64_t width, int64_t height);

}  // namespace rl
