// How many 16x16 tiles each projected Gaussian touches (the "duplication" of Kerbl et al. 2023, section 6): the
// rectangle of tiles with a pixel centre inside (u +- half width, v +- half height).
//   projected f32 [N, 12] of splat_project -> offsets i32 [N + 1], the exclusive prefix sums of the counts, and
//   total i32 [1] = offsets[N]; total is -1 where the sum does not fit 2^31 - 1, which splat_bin refuses.
// Exact. Bytes: 56 per Gaussian. FLOPs: 12 per Gaussian.
#pragma once

#include <vector>

#include "native/core/tensor.h"
#include "native/ops/splat/tiles.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct SplatTileCountsArgs {
  const float* projected;
  int32_t* offsets;
  int32_t* total;
  int64_t count;
  int32_t tiles_x, tiles_y;
  int64_t* sums;        // CUDA scratch [N + 1]
  void* scratch;        // CUDA scratch of the scan
  size_t scratch_bytes;
};

void splat_tile_counts_cpu(const SplatTileCountsArgs& args);
#if RL_WITH_CUDA
size_t splat_tile_counts_scratch(int64_t count);
void splat_tile_counts_cuda(const SplatTileCountsArgs& args, cudaStream_t stream);
#endif

// -> [offsets, total]
std::vector<Tensor> splat_tile_counts(const Tensor& projected, int64_t width, int64_t height);

}  // namespace rl
