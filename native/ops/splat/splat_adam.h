// One Adam update (Kingma & Ba 2015, algorithm 1) of one parameter group of the Gaussians, in place, one pass. The learning
// rate is scaled per Gaussian i, for seeds that learn faster and Gaussians outside an edit that stay where they are:
//   m = b1 m + (1 - b1) g          v = b2 v + (1 - b2) g^2
//   p = p - row_scale_i lr (m / (1 - b1^step)) / (sqrt(v / (1 - b2^step)) + eps)
// A row with row_scale 0 keeps its parameters, whatever its gradient (also NaN); its moments move on.
//   param, grad, m, v f32 [N, ...] of one shape · row_scale f32 [N] or absent (1) · step counts from 1
// Kerbl et al. 2023 use eps 1e-15. Precision: f32 (the scalars in f64). Tolerance against float64 after 50 steps
// (test/native/splat_adam.test.cc): 4.1e-7 of the largest parameter.
// Bytes: 7 words per parameter (4 read, 3 written) and row_scale once. FLOPs: 14 per parameter.
#pragma once

#include <vector>

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct SplatAdamArgs {
  float* param;
  const float* grad;
  float* m;
  float* v;
  const float* row_scale;  // may be null
  int64_t rows, dim;       // parameters per Gaussian
  float beta1, beta2, eps;
  float fresh1, fresh2;    // 1 - beta, from f64: 1 - 0.98f is off by 1e-6
  float rate;              // lr / (1 - beta1^step)
  float correction;        // 1 / sqrt(1 - beta2^step)
};

void splat_adam_cpu(const SplatAdamArgs& args);
#if RL_WITH_CUDA
void splat_adam_cuda(const SplatAdamArgs& args, cudaStream_t stream);
#endif

std::vector<Tensor> splat_adam(const Tensor& param, const Tensor& grad, const Tensor& m, const Tensor& v,
                               const Tensor& row_scale, double lr, double beta1, double beta2, double eps, int64_t step);

}  // namespace rl
