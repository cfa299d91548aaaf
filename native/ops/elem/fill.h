// Sets every element to `value`, in place. dtype f32, bf16, i32 or u8 (integers must be representable). Bytes: x once.
#pragma once

#include <vector>

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct FillArgs {
  void* x;
  int64_t count;
  double value;
  DType dtype;
};

void fill_cpu(const FillArgs& args);
#if RL_WITH_CUDA
void fill_cuda(const FillArgs& args, cudaStream_t stream);
#endif

// Throws ERR_SHAPE for another dtype, ERR_CONFIG for a value an integer tensor cannot hold.
std::vector<Tensor> fill(const Tensor& x, double value);

}  // namespace rl
