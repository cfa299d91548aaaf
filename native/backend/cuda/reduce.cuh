// Reductions with a fixed order: the same run gives the same bits.
#pragma once

#include "native/backend/cuda/types.cuh"

namespace rl {

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, offset);
  return value;
}

__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFFu, value, offset));
  return value;
}

// Sum over the block, returned to every thread. blockDim.x must be a multiple of 32.
__device__ __forceinline__ float block_sum(float value) {
  __shared__ float sums[32];
  const unsigned lane = threadIdx.x & 31u, warp = threadIdx.x / 32;
  value = warp_sum(value);
  __syncthreads();  // an earlier call may still be reading sums
  if (lane == 0) sums[warp] = value;
  __syncthreads();
  return warp_sum(lane < blockDim.x / 32 ? sums[lane] : 0.0f);
}

template <class T>
__global__ void sum_partials_kernel(const float* __restrict__ partial, T* __restrict__ out, int64_t blocks, int64_t dim) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < dim; i += int64_t{gridDim.x} * blockDim.x) {
    float sum = 0;
    for (int64_t block = 0; block < blocks; ++block) sum += partial[block * dim + i];
    out[i] = from_f32<T>(sum);
  }
}

// out[dim] = Σ_blocks partial[blocks, dim], in block order.
template <class T>
void sum_partials(const float* partial, T* out, int64_t blocks, int64_t dim, cudaStream_t stream) {
  sum_partials_kernel<T><<<grid_for(dim, 256), 256, 0, stream>>>(partial, out, blocks, dim);
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
