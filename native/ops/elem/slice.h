// Copies along one dimension. Any dtype; bytes: what is copied, twice.
//   slice  y = x[..., start : start + length, ...]
//   place  out[..., start : start + size(x, dim), ...] = x, in place: the building block of concatenation
#pragma once

#include <vector>

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

// `outer` runs of `run` bytes, `source_step` and `target_step` bytes apart.
struct SliceArgs {
  const void* source;
  void* target;
  int64_t outer, run, source_step, target_step;
};

void slice_cpu(const SliceArgs& args);
#if RL_WITH_CUDA
void slice_cuda(const SliceArgs& args, cudaStream_t stream);
#endif

// Throw ERR_SHAPE when the range does not fit or, for place, when the other sizes or the dtypes differ.
Tensor slice(const Tensor& x, int64_t dim, int64_t start, int64_t length);
std::vector<Tensor> place(const Tensor& out, const Tensor& x, int64_t dim, int64_t start);

}  // namespace rl
