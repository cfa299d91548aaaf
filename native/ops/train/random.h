// Fills a tensor with random numbers, in place. Element i is number offset + i of the sequence (seed, stream) of
// native/core/rng.h, so any cut of a sequence into calls, threads or devices gives the same numbers.
//   randn  mean + std * normal      randu  low + (high - low) * uniform in (0, 1]
// x f32 or bf16 of any shape. Integers seed, stream and offset lie in [0, 2^53].
// Precision: f64 before one rounding; only basic arithmetic is used, hence the same bits on every backend. Bytes: x once.
#pragma once

#include <vector>

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct RandomArgs {
  void* x;
  int64_t count;
  uint64_t seed, stream, offset;
  double shift, factor;  // x = shift + factor * draw
  bool normal;
  DType dtype;
};

void random_cpu(const RandomArgs& args);
#if RL_WITH_CUDA
void random_cuda(const RandomArgs& args, cudaStream_t stream);
#endif

std::vector<Tensor> randn(const Tensor& x, int64_t seed, int64_t stream, int64_t offset, double mean, double std);
std::vector<Tensor> randu(const Tensor& x, int64_t seed, int64_t stream, int64_t offset, double low, double high);

}  // namespace rl
