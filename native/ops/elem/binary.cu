#include "native/backend/cuda/types.cuh"
#include "native/ops/elem/binary.h"

namespace rl {

namespace {

template <BinaryKind kKind>
__device__ __forceinline__ float apply(float a, float b) {
  if constexpr (kKind == BinaryKind::add) return __fadd_rn(a, b);
  if constexpr (kKind == BinaryKind::sub) return __fsub_rn(a, b);
  if constexpr (kKind == BinaryKind::mul) return __fmul_rn(a, b);
  if constexpr (kKind == BinaryKind::div) return __fdiv_rn(a, b);
  if constexpr (kKind == BinaryKind::maximum) return a > b ? a : (b >= a ? b : a + b);
  if constexpr (kKind == BinaryKind::minimum) return a < b ? a : (b <= a ? b : a + b);
  if constexpr (kKind == BinaryKind::heaviside) return a > b ? 1.0f : (a < b ? 0.0f : (a == b ? 0.5f : a + b));
  if constexpr (kKind == BinaryKind::equal) return a == b ? 1.0f : 0.0f;
}

// Both operands walk like the output.
template <BinaryKind kKind, class T>
__global__ void same_shape_kernel(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ out, int64_t count) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x)
    out[i] = from_f32<T>(apply<kKind>(to_f32(a[i]), to_f32(b[i])));
}

template <BinaryKind kKind, class T>
__global__ void broadcast_kernel(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ out, BroadcastPlan plan) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < plan.count; i += int64_t{gridDim.x} * blockDim.x) {
    int64_t rest = i, at_a = 0, at_b = 0;
    for (int d = plan.rank - 1; d > 0; --d) {
      const int64_t index = rest % plan.size[d];
      rest /= plan.size[d];
      at_a += index * plan.step_a[d];
      at_b += index * plan.step_b[d];
    }
    at_a += rest * plan.step_a[0];
    at_b += rest * plan.step_b[0];
    out[i] = from_f32<T>(apply<kKind>(to_f32(a[at_a]), to_f32(b[at_b])));
  }
}

template <BinaryKind kKind, class T>
void launch(const BinaryArgs& args, cudaStream_t stream) {
  const T* a = static_cast<const T*>(args.a);
  const T* b = static_cast<const T*>(args.b);
  T* out = static_cast<T*>(args.out);
  const BroadcastPlan& plan = args.plan;
  const unsigned grid = grid_for(plan.count, 256);
  if (plan.rank == 1 && plan.step_a[0] == 1 && plan.step_b[0] == 1) {
    same_shape_kernel<kKind, T><<<grid, 256, 0, stream>>>(a, b, out, plan.count);
  } else {
    broadcast_kernel<kKind, T><<<grid, 256, 0, stream>>>(a, b, out, plan);
  }
  RL_CUDA(cudaGetLastError());
}

template <class T>
void dispatch(const BinaryArgs& args, cudaStream_t stream) {
  switch (args.kind) {
    case BinaryKind::add: return launch<BinaryKind::add, T>(args, stream);
    case BinaryKind::sub: return launch<BinaryKind::sub, T>(args, stream);
    case BinaryKind::mul: return launch<BinaryKind::mul, T>(args, stream);
    case BinaryKind::div: return launch<BinaryKind::div, T>(args, stream);
    case BinaryKind::maximum: return launch<BinaryKind::maximum, T>(args, stream);
    case BinaryKind::minimum: return launch<BinaryKind::minimum, T>(args, stream);
    case BinaryKind::heaviside: return launch<BinaryKind::heaviside, T>(args, stream);
    case BinaryKind::equal: return launch<BinaryKind::equal, T>(args, stream);
  }
}

}  // namespace

void binary_cuda(const BinaryArgs& args, cudaStream_t stream) {
  RL_DISPATCH_CUDA(args.dtype, T, { dispatch<T>(args, stream); });
}

}  // namespace rl
