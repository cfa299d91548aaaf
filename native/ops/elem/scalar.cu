#include "native/backend/cuda/types.cuh"
#include "native/ops/elem/scalar.h"

namespace rl {

namespace {

template <ScalarKind kKind, class T>
__global__ void scalar_kernel(const T* __restrict__ x, T* __restrict__ y, int64_t count, float p, float q) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x) {
    const float v = to_f32(x[i]);
    float out;
    if constexpr (kKind == ScalarKind::affine) out = __fadd_rn(__fmul_rn(v, p), q);
    if constexpr (kKind == ScalarKind::clamp) out = v < p ? p : (v > q ? q : v);
    if constexpr (kKind == ScalarKind::power) out = powf(v, p);
    if constexpr (kKind == ScalarKind::within) out = v >= p && v <= q ? 1.0f : (v != v ? v : 0.0f);
    y[i] = from_f32<T>(out);
  }
}

template <ScalarKind kKind, class T>
void launch(const ScalarArgs& args, cudaStream_t stream) {
  scalar_kernel<kKind, T><<<grid_for(args.count, 256), 256, 0, stream>>>(
      static_cast<const T*>(args.x), static_cast<T*>(args.y), args.count, args.p, args.q);
  RL_CUDA(cudaGetLastError());
}

}  // namespace

void scalar_cuda(const ScalarArgs& args, cudaStream_t stream) {
  RL_DISPATCH_CUDA(args.dtype, T, {
    switch (args.kind) {
      case ScalarKind::affine: return launch<ScalarKind::affine, T>(args, stream);
      case ScalarKind::clamp: return launch<ScalarKind::clamp, T>(args, stream);
      case ScalarKind::power: return launch<ScalarKind::power, T>(args, stream);
      case ScalarKind::within: return launch<ScalarKind::within, T>(args, stream);
    }
  });
}

}  // namespace rl
