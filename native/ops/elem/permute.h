// Reorders dimensions: y's dimension i is x's dimension order[i]. Any dtype; the result is contiguous.
// Bytes: x and y once.
#pragma once

#include <vector>

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

// Dimensions of y that stay together are merged and those of size 1 dropped; rank >= 1.
struct PermuteArgs {
  const void* x;
  void* y;
  int rank;
  int64_t size[Shape::kMaxRank];    // of y
  int64_t step_x[Shape::kMaxRank];  // elements of x per step of that dimension of y
  int64_t step_y[Shape::kMaxRank];
  int64_t count;
  int element_bytes;
};

void permute_cpu(const PermuteArgs& args);
#if RL_WITH_CUDA
void permute_cuda(const PermuteArgs& args, cudaStream_t stream);
#endif

// Throws ERR_SHAPE when `order` is not a permutation of x's dimensions.
Tensor permute(const Tensor& x, const std::vector<int64_t>& order);

}  // namespace rl
