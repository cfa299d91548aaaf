// RMSNorm (Zhang & Sennrich 2019): y = x / sqrt(mean(x²) + eps) * weight, over the last dimension.
//
//   x       [..., D]   f32 or bf16
//   weight  [D]        same dtype as x
//   y       [..., D]
// Backward, with r = 1/sqrt(mean(x²) + eps), x̂ = x r, g = dy * weight:
//   dx = r (g − x̂ mean(g x̂)),   dweight = Σ_rows dy * x̂      (specs: FLUX query/key norm, T5 layer norm)
//
// Precision: statistics and products in f32, one rounding to the output type.
// Tolerance: see test/native/rmsnorm.test.cc (measured worst × 1.05).
// Bytes: 2 · rows · D · size + D · size.   FLOPs: 4 · rows · D forward, 11 · rows · D backward.
#pragma once

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct RmsnormArgs {
  const void* x;       // [rows, dim]
  const void* weight;  // [dim]
  void* y;             // [rows, dim]
  int64_t rows, dim;
  float eps;
  DType dtype;
};

struct RmsnormBwdArgs {
  const void* dy;      // [rows, dim]
  const void* x;       // [rows, dim]
  const void* weight;  // [dim]
  void* dx;            // [rows, dim]
  void* dweight;       // [dim], null when not wanted
  float* partial;      // [blocks, dim] scratch for dweight
  int64_t rows, dim, blocks;
  float eps;
  DType dtype;
};

void rmsnorm_cpu(const RmsnormArgs& a);
void rmsnorm_bwd_cpu(const RmsnormBwdArgs& a);
#if RL_WITH_CUDA
void rmsnorm_cuda(const RmsnormArgs& a, cudaStream_t stream);
void rmsnorm_bwd_cuda(const RmsnormBwdArgs& a, cudaStream_t stream);
#endif

Tensor rmsnorm(const Tensor& x, const Tensor& weight, double eps);
// -> [dx, dweight or absent]
std::vector<Tensor> rmsnorm_bwd(const Tensor& dy, const Tensor& x, const Tensor& weight, double eps, bool need_dweight);

}  // namespace rl
