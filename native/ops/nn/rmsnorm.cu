#include "native/backend/cuda/reduce.cuh"
#include "native/backend/cuda/types.cuh"
#include "native/ops/nn/rmsnorm.h"

namespace rl {

namespace {

// One block per row: the row is read once for the statistics (kept in L1 for the second read), once for the result.
template <class T>
__global__ void rmsnorm_kernel(const T* __restrict__ x, const T* __restrict__ weight, T* __restrict__ y, int64_t dim, float eps) {
  const T* xr = x + blockIdx.x * dim;  // [dim]
  float square = 0;
  for (int64_t i = threadIdx.x; i < dim; i += blockDim.x) square += to_f32(xr[i]) * to_f32(xr[i]);
  const float r = rsqrtf(block_sum(square) / static_cast<float>(dim) + eps);
  T* yr = y + blockIdx.x * dim;
  for (int64_t i = threadIdx.x; i < dim; i += blockDim.x) yr[i] = from_f32<T>(to_f32(xr[i]) * r * to_f32(weight[i]));
}

// One block per group of rows; each thread owns columns, so dweight of the group is summed in row order without atomics.
template <class T>
__global__ void rmsnorm_bwd_kernel(const T* __restrict__ dy, const T* __restrict__ x, const T* __restrict__ weight,
                                   T* __restrict__ dx, float* __restrict__ partial, int64_t rows, int64_t dim, float eps) {
  const int64_t first = blockIdx.x * rows / gridDim.x, last = (blockIdx.x + 1) * rows / gridDim.x;
  float* sums = partial == nullptr ? nullptr : partial + blockIdx.x * dim;
  if (sums != nullptr)
    for (int64_t i = threadIdx.x; i < dim; i += blockDim.x) sums[i] = 0;
  for (int64_t row = first; row < last; ++row) {
    const T* xr = x + row * dim;
    const T* dyr = dy + row * dim;
    float square = 0, product = 0;
    for (int64_t i = threadIdx.x; i < dim; i += blockDim.x) {
      const float v = to_f32(xr[i]);
      square += v * v;
      product += to_f32(dyr[i]) * to_f32(weight[i]) * v;
    }
    const float r = rsqrtf(block_sum(square) / static_cast<float>(dim) + eps);
    const float along = block_sum(product) * r * r / static_cast<float>(dim);
    T* dxr = dx + row * dim;
    for (int64_t i = threadIdx.x; i < dim; i += blockDim.x) {
      dxr[i] = from_f32<T>(r * (to_f32(dyr[i]) * to_f32(weight[i]) - to_f32(xr[i]) * along));
      if (sums != nullptr) sums[i] += to_f32(dyr[i]) * to_f32(xr[i]) * r;
    }
  }
}

}  // namespace

void rmsnorm_cuda(const RmsnormArgs& a, cudaStream_t stream) {
  if (a.rows == 0 || a.dim == 0) return;
  RL_DISPATCH_CUDA(a.dtype, T, {
    rmsnorm_kernel<T><<<static_cast<unsigned>(a.rows), row_threads(a.dim), 0, stream>>>(
        static_cast<const T*>(a.x), static_cast<const T*>(a.weight), static_cast<T*>(a.y), a.dim, a.eps);
  });
  RL_CUDA(cudaGetLastError());
}

void rmsnorm_bwd_cuda(const RmsnormBwdArgs& a, cudaStream_t stream) {
  if (a.dim == 0) return;
  RL_DISPATCH_CUDA(a.dtype, T, {
    rmsnorm_bwd_kernel<T><<<static_cast<unsigned>(a.blocks), row_threads(a.dim), 0, stream>>>(
        static_cast<const T*>(a.dy), static_cast<const T*>(a.x), static_cast<const T*>(a.weight), static_cast<T*>(a.dx),
        a.dweight == nullptr ? nullptr : a.partial, a.rows, a.dim, a.eps);
    RL_CUDA(cudaGetLastError());
    if (a.dweight != nullptr) sum_partials<T>(a.partial, static_cast<T*>(a.dweight), a.blocks, a.dim, stream);
  });
}

}  // namespace rl
