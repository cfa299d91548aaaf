// Sums over rows in two stages of fixed order, for the gradients of parameters that many rows share: rows are summed in
// chunks, then the chunks in rising order. The result does not depend on the number of threads.
#pragma once

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

inline constexpr int64_t kRowsPerChunk = 32;
inline int64_t chunks_of(int64_t rows) { return (rows + kRowsPerChunk - 1) / kRowsPerChunk; }

// out[dim] = Σ_rows x[rows, dim]; `partial` is scratch of [chunks_of(rows), dim].
void column_sums_cpu(const void* x, float* partial, void* out, int64_t rows, int64_t dim, DType dtype);
// out[groups, dim] = Σ_chunks partial[groups, chunks, dim].
void sum_chunks_cpu(const float* partial, void* out, int64_t groups, int64_t chunks, int64_t dim, DType dtype);
#if RL_WITH_CUDA
void column_sums_cuda(const void* x, float* partial, void* out, int64_t rows, int64_t dim, DType dtype, cudaStream_t stream);
void sum_chunks_cuda(const float* partial, void* out, int64_t groups, int64_t chunks, int64_t dim, DType dtype,
                     cudaStream_t stream);
#endif

}  // namespace rl
