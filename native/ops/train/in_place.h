// Updates of long-lived tensors, in place.
//   scale_in_place  y = factor y, zeros for factor 0 whatever y held (also uninitialised memory)
//   axpy_in_place   y = y + factor x
//   lerp_in_place   y = y + weight (x - y): exponential moving averages
// y f32 or bf16; x f32 or bf16 of the same shape, its dtype may differ. Arithmetic in f32. Bytes: x once, y twice.
#pragma once

#include <vector>

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

enum class InPlaceKind : int { scale, axpy, lerp };

struct InPlaceArgs {
  void* y;
  const void* x;  // null for scale
  int64_t count;
  float factor;
  InPlaceKind kind;
  DType y_dtype, x_dtype;
};

void in_place_cpu(const InPlaceArgs& args);
#if RL_WITH_CUDA
void in_place_cuda(const InPlaceArgs& args, cudaStream_t stream);
#endif

std::vector<Tensor> scale_in_place(const Tensor& y, double factor);
std::vector<Tensor> axpy_in_place(const Tensor& y, const Tensor& x, double factor);
std::vector<Tensor> lerp_in_place(const Tensor& y, const Tensor& x, double weight);

}  // namespace rl
