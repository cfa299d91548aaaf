#include "native/backend/cuda/types.cuh"
#include "native/ops/train/in_place.h"

namespace rl {

namespace {

template <InPlaceKind kKind, class Y, class X>
__global__ void in_place_kernel(Y* __restrict__ y, const X* __restrict__ x, int64_t count, float factor) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x) {
    if constexpr (kKind == InPlaceKind::scale) y[i] = from_f32<Y>(factor == 0 ? 0.0f : to_f32(y[i]) * factor);
    if constexpr (kKind == InPlaceKind::axpy) y[i] = from_f32<Y>(to_f32(y[i]) + factor * to_f32(x[i]));
    if constexpr (kKind == InPlaceKind::lerp) {
      const float old = to_f32(y[i]);
      y[i] = from_f32<Y>(old + factor * (to_f32(x[i]) - old));
    }
  }
}

template <class Y, class X>
void run(const InPlaceArgs& a, cudaStream_t stream) {
  Y* y = static_cast<Y*>(a.y);
  const X* x = static_cast<const X*>(a.x);
  const unsigned grid = grid_for(a.count, 256);
  switch (a.kind) {
    case InPlaceKind::scale: in_place_kernel<InPlaceKind::scale, Y, X><<<grid, 256, 0, stream>>>(y, x, a.count, a.factor); break;
    case InPlaceKind::axpy: in_place_kernel<InPlaceKind::axpy, Y, X><<<grid, 256, 0, stream>>>(y, x, a.count, a.factor); break;
    case InPlaceKind::lerp: in_place_kernel<InPlaceKind::lerp, Y, X><<<grid, 256, 0, stream>>>(y, x, a.count, a.factor); break;
  }
  RL_CUDA(cudaGetLastError());
}

}  // namespace

void in_place_cuda(const InPlaceArgs& args, cudaStream_t stream) {
  RL_DISPATCH_CUDA(args.y_dtype, Y, { RL_DISPATCH_CUDA(args.x_dtype, X, { run<Y, X>(args, stream); }); });
}

}  // namespace rl
