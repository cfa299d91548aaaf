// One AdamW update (Loshchilov & Hutter 2019, "Decoupled weight decay regularization"), in place, one pass:
//   m = b1 m + (1 - b1) g          v = b2 v + (1 - b2) g^2
//   p = p (1 - lr decay) - lr (m / (1 - b1^step)) / (sqrt(v / (1 - b2^step)) + eps)
// param, grad, m, v: one shape, f32. step counts from 1. Precision: f32 (the scalars in f64).
// Tolerance against float64 (test/native/adamw.test.cc): 4.2e-7 of the largest parameter after 20 steps.
// Bytes: 7 words per parameter (4 read, 3 written). FLOPs: 14 per parameter.
#pragma once

#include <vector>

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct AdamwArgs {
  float* param;
  const float* grad;
  float* m;
  float* v;
  int64_t count;
  float beta1, beta2, eps;
  float fresh1, fresh2;  // 1 - beta, from f64: 1 - 0.98f is off by 1e-6
  float keep;        // 1 - lr * weight_decay
  float rate;        // lr / (1 - beta1^step)
  float correction;  // 1 / sqrt(1 - beta2^step)
};

void adamw_cpu(const AdamwArgs& args);
#if RL_WITH_CUDA
void adamw_cuda(const AdamwArgs& args, cudaStream_t stream);
#endif

std::vector<Tensor> adamw(const Tensor& param, const Tensor& grad, const Tensor& m, const Tensor& v, double lr, double beta1,
                          double beta2, double eps, double weight_decay, int64_t step);

}  // namespace rl
