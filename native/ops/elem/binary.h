// Element-wise function of two tensors with NumPy broadcasting (sizes right-aligned, equal or 1, on either side).
//   add a+b · sub a-b · mul a*b · div a/b · maximum · minimum (NaN wins in both)
//   heaviside  1 where a > b, 1/2 where equal, 0 where a < b, NaN with NaN: the derivative of maximum(a, b) in a
//   equal  1 where a == b, else 0 (also for NaN)
// Shapes: any, up to 8 dimensions. dtype f32 or bf16, the same for both; arithmetic in f32, one rounding at the end.
// Results are exact (correctly rounded), hence equal on every backend. Bytes: both inputs and the output once.
#pragma once

#include <string>

#include "native/core/tensor.h"
#include "native/ops/elem/broadcast.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

enum class BinaryKind : int { add, sub, mul, div, maximum, minimum, heaviside, equal };

struct BinaryArgs {
  const void* a;
  const void* b;
  void* out;
  BroadcastPlan plan;
  BinaryKind kind;
  DType dtype;
};

void binary_cpu(const BinaryArgs& args);
#if RL_WITH_CUDA
void binary_cuda(const BinaryArgs& args, cudaStream_t stream);
#endif

// Throws ERR_SHAPE when the shapes do not broadcast or the dtypes differ, ERR_CONFIG for an unknown kind.
Tensor binary(const Tensor& a, const Tensor& b, const std::string& kind);

}  // namespace rl
