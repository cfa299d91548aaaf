#include "native/backend/cuda/types.cuh"
#include "native/ops/elem/index_rows.h"

namespace rl {

namespace {

template <class T>
__global__ void index_rows_kernel(const T* __restrict__ x, const int32_t* __restrict__ ids, T* __restrict__ y, int64_t rows,
                                  int64_t total, int64_t width) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < total; i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t id = ids[i / width];
    y[i] = id >= 0 && id < rows ? x[id * width + i % width] : from_f32<T>(nanf(""));
  }
}

// A block owns a row of dx and a stretch of its columns; its threads walk all ids in order and add the rows that match.
template <class T>
__global__ void index_rows_bwd_kernel(const T* __restrict__ dy, const int32_t* __restrict__ ids, T* __restrict__ dx,
                                      int64_t rows, int64_t picked, int64_t width) {
  const int64_t column = blockIdx.y * int64_t{blockDim.x} + threadIdx.x;
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    float sum = 0;
    for (int64_t m = 0; m < picked; ++m)
      if (ids[m] == row && column < width) sum += to_f32(dy[m * width + column]);
    if (column < width) dx[row * width + column] = from_f32<T>(sum);
  }
}

}  // namespace

void index_rows_cuda(const IndexRowsArgs& a, cudaStream_t stream) {
  const int64_t total = a.picked * a.width;
  RL_DISPATCH_CUDA(a.dtype, T, {
    index_rows_kernel<T><<<grid_for(total, 256), 256, 0, stream>>>(static_cast<const T*>(a.source), a.ids,
                                                                   static_cast<T*>(a.out), a.rows, total, a.width);
  });
  RL_CUDA(cudaGetLastError());
}

void index_rows_bwd_cuda(const IndexRowsArgs& a, cudaStream_t stream) {
  RL_CHECK(a.width <= 65535 * 128, code::kShape, "index_rows_bwd: rows of ", a.width, " elements are too long for CUDA");
  const dim3 grid(grid_for(a.rows, 1), static_cast<unsigned>((a.width + 127) / 128));
  RL_DISPATCH_CUDA(a.dtype, T, {
    index_rows_bwd_kernel<T><<<grid, 128, 0, stream>>>(static_cast<const T*>(a.source), a.ids, static_cast<T*>(a.out), a.rows,
                                                       a.picked, a.width);
  });
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
