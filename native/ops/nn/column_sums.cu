#include "native/backend/cuda/types.cuh"
#include "native/ops/nn/column_sums.h"

namespace rl {

namespace {

// One block per chunk and 128 columns: neighbouring threads read neighbouring columns.
template <class T>
__global__ void chunk_kernel(const T* __restrict__ x, float* __restrict__ partial, int64_t rows, int64_t dim) {
  const int64_t column = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (column >= dim) return;
  for (int64_t chunk = blockIdx.y; chunk < (rows + kRowsPerChunk - 1) / kRowsPerChunk; chunk += gridDim.y) {
    const int64_t first = chunk * kRowsPerChunk;
    const int64_t last = first + kRowsPerChunk < rows ? first + kRowsPerChunk : rows;
    float sum = 0;
#pragma unroll 8
    for (int64_t row = first; row < last; ++row) sum += to_f32(x[row * dim + column]);
    partial[chunk * dim + column] = sum;
  }
}

template <class T>
__global__ void sum_chunks_kernel(const float* __restrict__ partial, T* __restrict__ out, int64_t groups, int64_t chunks,
                                  int64_t dim) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < groups * dim; i += int64_t{gridDim.x} * blockDim.x) {
    const float* from = partial + i / dim * chunks * dim + i % dim;
    float sum = 0;
#pragma unroll 8
    for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += from[chunk * dim];
    out[i] = from_f32<T>(sum);
  }
}

}  // namespace

void sum_chunks_cuda(const float* partial, void* out, int64_t groups, int64_t chunks, int64_t dim, DType dtype,
                     cudaStream_t stream) {
  if (groups * dim == 0) return;
  RL_DISPATCH_CUDA(dtype, T, {
    sum_chunks_kernel<T><<<grid_for(groups * dim, 128), 128, 0, stream>>>(partial, static_cast<T*>(out), groups, chunks, dim);
  });
  RL_CUDA(cudaGetLastError());
}

void column_sums_cuda(const void* x, float* partial, void* out, int64_t rows, int64_t dim, DType dtype, cudaStream_t stream) {
  if (dim == 0) return;
  const int64_t chunks = chunks_of(rows);
  if (chunks > 0) {
    const dim3 grid(static_cast<unsigned>((dim + 127) / 128), static_cast<unsigned>(chunks < 65535 ? chunks : 65535));
    RL_DISPATCH_CUDA(dtype, T, { chunk_kernel<T><<<grid, 128, 0, stream>>>(static_cast<const T*>(x), partial, rows, dim); });
    RL_CUDA(cudaGetLastError());
  }
  sum_chunks_cuda(partial, out, 1, chunks, dim, dtype, stream);
}

}  // namespace rl
