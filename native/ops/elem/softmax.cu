#include "native/backend/cuda/reduce.cuh"
#include "native/backend/cuda/types.cuh"
#include "native/ops/elem/softmax.h"

namespace rl {

namespace {

// fmaxf drops NaN: this keeps it.
__device__ __forceinline__ float larger(float a, float b) { return a < b || b != b ? b : a; }

__device__ __forceinline__ float block_max(float value) {
  __shared__ float warps[32];
  const unsigned lane = threadIdx.x & 31u, warp = threadIdx.x / 32;
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value = larger(value, __shfl_xor_sync(0xFFFFFFFFu, value, offset));
  __syncthreads();
  if (lane == 0) warps[warp] = value;
  __syncthreads();
  value = lane < blockDim.x / 32 ? warps[lane] : -INFINITY;
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value = larger(value, __shfl_xor_sync(0xFFFFFFFFu, value, offset));
  return value;
}

// One block per row.
template <class T>
__global__ void softmax_kernel(const T* __restrict__ x, T* __restrict__ y, int64_t rows, int64_t dim, bool log) {
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const T* xr = x + row * dim;
    T* yr = y + row * dim;
    float peak = -INFINITY;
    for (int64_t i = threadIdx.x; i < dim; i += blockDim.x) peak = larger(peak, to_f32(xr[i]));
    peak = block_max(peak);
    float sum = 0;
    for (int64_t i = threadIdx.x; i < dim; i += blockDim.x) sum += expf(to_f32(xr[i]) - peak);
    sum = block_sum(sum);
    const float shift = logf(sum), factor = 1.0f / sum;
    for (int64_t i = threadIdx.x; i < dim; i += blockDim.x) {
      const float v = to_f32(xr[i]) - peak;
      yr[i] = from_f32<T>(log ? v - shift : expf(v) * factor);
    }
  }
}

template <class T>
__global__ void softmax_bwd_kernel(const T* __restrict__ dy, const T* __restrict__ y, T* __restrict__ dx, int64_t rows,
                                   int64_t dim, bool log) {
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const T* dyr = dy + row * dim;
    const T* yr = y + row * dim;
    float sum = 0;
    for (int64_t i = threadIdx.x; i < dim; i += blockDim.x) sum += log ? to_f32(dyr[i]) : to_f32(dyr[i]) * to_f32(yr[i]);
    sum = block_sum(sum);
    for (int64_t i = threadIdx.x; i < dim; i += blockDim.x) {
      const float d = to_f32(dyr[i]), v = to_f32(yr[i]);
      dx[row * dim + i] = from_f32<T>(log ? d - expf(v) * sum : v * (d - sum));
    }
  }
}

}  // namespace

void softmax_cuda(const SoftmaxArgs& args, cudaStream_t stream) {
  RL_DISPATCH_CUDA(args.dtype, T, {
    const T* x = static_cast<const T*>(args.x);
    T* out = static_cast<T*>(args.out);
    const unsigned grid = grid_for(args.rows, 1), threads = row_threads(args.dim);
    if (args.dy == nullptr) {
      softmax_kernel<T><<<grid, threads, 0, stream>>>(x, out, args.rows, args.dim, args.log);
    } else {
      softmax_bwd_kernel<T><<<grid, threads, 0, stream>>>(static_cast<const T*>(args.dy), x, out, args.rows, args.dim, args.log);
    }
  });
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
