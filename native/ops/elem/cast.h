// Converts element types: f32, bf16, i32 or u8 to f32 or bf16 (round to nearest, ties to even). Bytes: x and y once.
#pragma once

#include <string>

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct CastArgs {
  const void* x;
  void* y;
  int64_t count;
  DType from, to;
};

void cast_cpu(const CastArgs& args);
#if RL_WITH_CUDA
void cast_cuda(const CastArgs& args, cudaStream_t stream);
#endif

// Throws ERR_SHAPE for another pair of types.
Tensor cast(const Tensor& x, const std::string& dtype);

}  // namespace rl
