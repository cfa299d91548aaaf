// Sinusoidal embedding of a scalar (Vaswani et al. 2017; FLUX spec 1.3: cosines first, divisor dim/2).
//
//   t  [B]        f32
//   y  [B, dim]   f32:  y[b] = [cos(t f_0) … cos(t f_{h−1}) | sin(t f_0) … sin(t f_{h−1})],  f_k = 10000^(−k/h),  h = dim/2
// No gradient: times are given.
//
// Precision: as the reference implementations compute it, since t f_k reaches the thousands: exponent −ln(10000) k / h
// rounded to f32 at every operation, f_k = its exponential rounded to f32, angle t f_k in f32; cos and sin of that angle
// to f32 accuracy.
// Tolerance: see test/native/sinusoidal_embedding.test.cc (measured worst × 1.05).
// Bytes: 4 · B · dim.   FLOPs: B · dim transcendental functions.
#pragma once

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct SinusoidalEmbeddingArgs {
  const float* t;  // [count]
  float* y;        // [count, dim]
  int64_t count, dim;
};

void sinusoidal_embedding_cpu(const SinusoidalEmbeddingArgs& a);
#if RL_WITH_CUDA
void sinusoidal_embedding_cuda(const SinusoidalEmbeddingArgs& a, cudaStream_t stream);
#endif

Tensor sinusoidal_embedding(const Tensor& t, int64_t dim);

}  // namespace rl
