// Picks rows: y[m, ...] = x[ids[m], ...]. Backward adds dy's rows in the order of m, so its bits are fixed.
//   x [N, ...] f32 or bf16 · ids i32 [M], values in [0, N) · y [M, ...] · dx [N, ...] = Σ_{m: ids[m] = n} dy[m]
// An id outside [0, N) fails with ERR_SHAPE when the command runs on the CPU; on CUDA its row of y is NaN and it adds
// nothing to dx. Sums in f32. Bytes: y twice and ids forward; dy and dx backward.
#pragma once

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct IndexRowsArgs {
  const void* source;   // x forward, dy backward
  const int32_t* ids;   // [picked]
  void* out;            // y forward, dx backward
  int64_t rows, picked, width;  // N, M, elements per row
  DType dtype;
};

void index_rows_cpu(const IndexRowsArgs& args);
void index_rows_bwd_cpu(const IndexRowsArgs& args);
#if RL_WITH_CUDA
void index_rows_cuda(const IndexRowsArgs& args, cudaStream_t stream);
void index_rows_bwd_cuda(const IndexRowsArgs& args, cudaStream_t stream);
#endif

Tensor index_rows(const Tensor& x, const Tensor& ids);
Tensor index_rows_bwd(const Tensor& dy, const Tensor& ids, int64_t rows);

}  // namespace rl
