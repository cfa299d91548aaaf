// Reduction over any dimensions: sum, mean, max, sum_squares.
//   sum_squares is Σx² and gives f32 whatever the input; the others give x's dtype. mean of nothing is NaN, max of nothing -inf.
// A dimension list is cut into runs of adjacent dimensions; each run is one pass over [outer, count, inner]. A pass sums
// fixed chunks of `count` and then the chunks in order, so the bits depend on the shape alone, not on the thread count.
// Precision: CPU sums in f64; CUDA in f32 within a chunk (at most 2048 rows) and in f64 over chunks. NaN propagates.
// Tolerance against float64 (test/native/reduce.test.cc): 1.3e-7 of the largest result on the CPU, 1.3e-6 on CUDA.
// Bytes: x once. FLOPs: 1 per element (2 for sum_squares).
#pragma once

#include <string>
#include <vector>

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

enum class ReduceKind : int { sum, mean, max, sum_squares };

// One pass: out[o, i] = scale * reduction over r of x[o, r, i].
struct ReduceArgs {
  const void* x;
  void* out;
  double* partial;  // [outer, chunks, inner]
  int64_t outer, count, inner;
  int64_t chunks, chunk_rows;
  double scale;
  ReduceKind kind;
  DType in_dtype, out_dtype;
};

void reduce_cpu(const ReduceArgs& args);
#if RL_WITH_CUDA
void reduce_cuda(const ReduceArgs& args, cudaStream_t stream);
#endif

// `dims` may be negative; empty means all. Kept dimensions have size 1 when `keep`. Throws ERR_SHAPE for a dimension that
// does not exist or comes twice, ERR_CONFIG for an unknown kind.
Tensor reduce(const Tensor& x, const std::string& kind, const std::vector<int64_t>& dims, bool keep);

}  // namespace rl
