// Softmax over the last dimension, y_i = e^{x_i - m} / Σ_j e^{x_j - m} with m = max x, or its logarithm.
// Backward:  softmax dx = y (dy - Σ dy y)      logarithm dx = dy - e^y Σ dy
// Shapes: x [..., C]. dtype f32 or bf16; arithmetic in f32, sums in f64. NaN in a row gives a NaN row, and so does a row of -inf.
// Tolerance against float64 (test/native/softmax.test.cc): 8e-8 of the largest value.
// Bytes: x and y once (the row stays in cache).
#pragma once

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct SoftmaxArgs {
  const void* dy;  // null forward
  const void* x;   // x forward, y backward
  void* out;       // y forward, dx backward
  int64_t rows, dim;
  bool log;
  DType dtype;
};

void softmax_cpu(const SoftmaxArgs& args);
#if RL_WITH_CUDA
void softmax_cuda(const SoftmaxArgs& args, cudaStream_t stream);
#endif

Tensor softmax(const Tensor& x, bool log);
Tensor softmax_bwd(const Tensor& dy, const Tensor& y, bool log);

}  // namespace rl
