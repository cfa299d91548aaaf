#include "native/backend/cuda/types.cuh"
#include "native/ops/conv/resize.h"

namespace rl {

namespace {

// One thread per output element; the taps of a warp's neighbours overlap in cache.
template <class T>
__global__ void resize_kernel(ResizeArgs a) {
  const int64_t total = a.planes * a.out_h * a.out_w;
  for (int64_t at = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; at < total; at += int64_t{gridDim.x} * blockDim.x) {
    const int64_t j = at % a.out_w, i = at / a.out_w % a.out_h;
    const T* plane = static_cast<const T*>(a.x) + at / a.out_w / a.out_h * a.in_h * a.in_w;
    float sum = 0;
    for (int t = a.rows.starts[i]; t < a.rows.starts[i + 1]; ++t) {
      const T* row = plane + a.rows.index[t] * a.in_w;
      float part = 0;
      for (int q = a.columns.starts[j]; q < a.columns.starts[j + 1];
          ++q) part += a.columns.weight[q] * to_f32(row[a.columns.index[q]]);
      sum += a.rows.weight[t] * part;
    }
    static_cast<T*>(a.y)[at] = from_f32<T>(sum);
  }
}

}  // namespace

void resize_cuda(const ResizeArgs& a, cudaStream_t stream) {
  const int64_t total = a.planes * a.out_h * a.out_w;
  if (total == 0) return;
  RL_DISPATCH_CUDA(a.dtype, T, { resize_kernel<T><<<grid_for(total, 256), 256, 0, stream>>>(a); });
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
