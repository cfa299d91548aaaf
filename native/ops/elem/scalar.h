// Element-wise function of one tensor and two numbers.
//   affine  x p + q        clamp  min(max(x, p), q)        power  x^p        within  1 where p <= x <= q, else 0
// `within` is the derivative of clamp (the bounds belong to the inside). NaN propagates (also through `within`).
// Shapes: any. dtype f32 or bf16; arithmetic in f32, one rounding at the end. Bytes: x and y once.
#pragma once

#include <string>

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

enum class ScalarKind : int { affine, clamp, power, within };

struct ScalarArgs {
  const void* x;
  void* y;
  int64_t count;
  float p, q;
  ScalarKind kind;
  DType dtype;
};

void scalar_cpu(const ScalarArgs& args);
#if RL_WITH_CUDA
void scalar_cuda(const ScalarArgs& args, cudaStream_t stream);
#endif

// Throws ERR_CONFIG for an unknown kind or a clamp whose bounds are reversed.
Tensor scalar(const Tensor& x, const std::string& kind, double p, double q);

}  // namespace rl
