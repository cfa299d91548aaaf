// Element-wise function of one tensor, y = f(x), and its backward dx = dy f'(x).
//   gelu_tanh gelu_erf quick_gelu silu relu   as in native/backend/cpu/vec_math.h
//   softplus log(1 + e^x) · exp · expm1 · log · sqrt · square x^2 · abs · sigmoid · tanh · sign · neg · reciprocal 1/x
// At kinks the derivative is 0: relu'(0) = abs'(0) = 0, and sign' = 0 everywhere. sqrt'(0) and log'(0) are infinite.
// Shapes: any. dtype f32 or bf16; arithmetic in f32, one rounding at the end. NaN in gives NaN out.
// Tolerance against float64 (test/native/unary.test.cc): 1e-6 forward, 1.1e-6 backward, relative to single values.
// Bytes: x and y once forward; dy, x and dx once backward.
#pragma once

#include <string>

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

enum class UnaryKind : int {
  gelu_tanh, gelu_erf, quick_gelu, silu, relu, softplus, exp, expm1, log, sqrt, square, abs, sigmoid, tanh, sign, neg,
  reciprocal
};

struct UnaryArgs {
  const void* dy;  // null forward
  const void* x;
  void* out;       // y forward, dx backward
  int64_t count;
  UnaryKind kind;
  DType dtype;
};

void unary_cpu(const UnaryArgs& args);
#if RL_WITH_CUDA
void unary_cuda(const UnaryArgs& args, cudaStream_t stream);
#endif

// Throw ERR_CONFIG for an unknown kind, ERR_SHAPE when dy and x differ.
Tensor unary(const Tensor& x, const std::string& kind);
Tensor unary_bwd(const Tensor& dy, const Tensor& x, const std::string& kind);

}  // namespace rl
