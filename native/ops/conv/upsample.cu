#include "native/backend/cuda/types.cuh"
#include "native/ops/conv/upsample.h"

namespace rl {

namespace {

template <class T>
__global__ void upsample_kernel(const T* __restrict__ in, T* __restrict__ out, int64_t total, int64_t height,
    int64_t width) {
  for (int64_t at = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; at < total; at += int64_t{gridDim.x} * blockDim.x) {
    const int64_t j = at % (2 * width), row = at / (2 * width);  // row runs over planes and rows of the large image
    out[at] = in[(row / (2 * height) * height + row % (2 * height) / 2) * width + j / 2];
  }
}

template <class T>
__global__ void upsample_bwd_kernel(const T* __restrict__ in, T* __restrict__ out, int64_t total, int64_t width) {
  for (int64_t at = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; at < total; at += int64_t{gridDim.x} * blockDim.x) {
    const T* top = in + at / width * 4 * width + at % width * 2;
    const T* bottom = top + 2 * width;
    out[at] = from_f32<T>((to_f32(top[0]) + to_f32(top[1])) + (to_f32(bottom[0]) + to_f32(bottom[1])));
  }
}

}  // namespace

void upsample_nearest2x_cuda(const UpsampleArgs& a, cudaStream_t stream) {
  const int64_t total = 4 * a.planes * a.height * a.width;
  if (total == 0) return;
  RL_DISPATCH_CUDA(a.dtype, T, {
    upsample_kernel<T><<<grid_for(total, 256), 256, 0,
        stream>>>(static_cast<const T*>(a.in), static_cast<T*>(a.out), total,
                                                                 a.height, a.width);
  });
  RL_CUDA(cudaGetLastError());
}

void upsample_nearest2x_bwd_cuda(const UpsampleArgs& a, cudaStream_t stream) {
  const int64_t total = a.planes * a.height * a.width;
  if (total == 0) return;
  RL_DISPATCH_CUDA(a.dtype, T, {
    upsample_bwd_kernel<T><<<grid_for(total, 256), 256, 0,
        stream>>>(static_cast<const T*>(a.in), static_cast<T*>(a.out), total,
                                                                     a.width);
  });
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
