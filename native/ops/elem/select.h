// y = a where mask is not 0, else b: unlike mask * a + (1 - mask) * b it keeps NaN and infinity of the other side out.
// Shapes: mask, a and b are equal. dtype f32 or bf16, all the same. Bytes: three inputs and the output once.
#pragma once

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct SelectArgs {
  const void* mask;
  const void* a;
  const void* b;
  void* y;
  int64_t count;
  DType dtype;
};

void select_cpu(const SelectArgs& args);
#if RL_WITH_CUDA
void select_cuda(const SelectArgs& args, cudaStream_t stream);
#endif

Tensor select(const Tensor& mask, const Tensor& a, const Tensor& b);

}  // namespace rl
