#include "native/backend/cuda/types.cuh"
#include "native/ops/elem/unary.h"

namespace rl {

namespace {

constexpr float kSqrt2OverPi = 0.797884561f, kGeluCubic = 0.044715f, kSqrtHalf = 0.707106781f;
constexpr float kQuick = 1.702f, kInvSqrt2Pi = 0.398942280f;

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

template <UnaryKind kKind>
__device__ __forceinline__ float value(float x) {
  if constexpr (kKind == UnaryKind::gelu_tanh) return 0.5f * x * (1.0f + tanhf(kSqrt2OverPi * (x + kGeluCubic * x * x * x)));
  if constexpr (kKind == UnaryKind::gelu_erf) return 0.5f * x * (1.0f + erff(x * kSqrtHalf));
  if constexpr (kKind == UnaryKind::quick_gelu) return x * sigmoid(kQuick * x);
  if constexpr (kKind == UnaryKind::silu) return x * sigmoid(x);
  if constexpr (kKind == UnaryKind::relu) return x < 0 ? 0.0f : x;
  if constexpr (kKind == UnaryKind::softplus) return x > 0 ? x + log1pf(expf(-x)) : log1pf(expf(x));
  if constexpr (kKind == UnaryKind::exp) return expf(x);
  if constexpr (kKind == UnaryKind::expm1) return expm1f(x);
  if constexpr (kKind == UnaryKind::log) return logf(x);
  if constexpr (kKind == UnaryKind::sqrt) return sqrtf(x);
  if constexpr (kKind == UnaryKind::square) return x * x;
  if constexpr (kKind == UnaryKind::abs) return fabsf(x);
  if constexpr (kKind == UnaryKind::sigmoid) return sigmoid(x);
  if constexpr (kKind == UnaryKind::tanh) return tanhf(x);
  if constexpr (kKind == UnaryKind::sign) return x > 0 ? 1.0f : (x < 0 ? -1.0f : x * 0.0f);
  if constexpr (kKind == UnaryKind::neg) return -x;
  if constexpr (kKind == UnaryKind::reciprocal) return 1.0f / x;
}

template <UnaryKind kKind>
__device__ __forceinline__ float derivative(float x) {
  if constexpr (kKind == UnaryKind::gelu_tanh) {
    const float t = tanhf(kSqrt2OverPi * (x + kGeluCubic * x * x * x));
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * kSqrt2OverPi * (1.0f + 3.0f * kGeluCubic * x * x);
  }
  if constexpr (kKind == UnaryKind::gelu_erf) return 0.5f * (1.0f + erff(x * kSqrtHalf)) + x * expf(-0.5f * x * x) * kInvSqrt2Pi;
  if constexpr (kKind == UnaryKind::quick_gelu) {
    const float s = sigmoid(kQuick * x);
    return s + kQuick * x * s * (1.0f - s);
  }
  if constexpr (kKind == UnaryKind::silu) {
    const float s = sigmoid(x);
    return s + x * s * (1.0f - s);
  }
  if constexpr (kKind == UnaryKind::relu) return x > 0 ? 1.0f : (x <= 0 ? 0.0f : x);
  if constexpr (kKind == UnaryKind::softplus) return sigmoid(x);
  if constexpr (kKind == UnaryKind::exp || kKind == UnaryKind::expm1) return expf(x);
  if constexpr (kKind == UnaryKind::log) return 1.0f / x;
  if constexpr (kKind == UnaryKind::sqrt) return 0.5f / sqrtf(x);
  if constexpr (kKind == UnaryKind::square) return x + x;
  if constexpr (kKind == UnaryKind::abs) return x > 0 ? 1.0f : (x < 0 ? -1.0f : x * 0.0f);
  if constexpr (kKind == UnaryKind::sigmoid) {
    const float s = sigmoid(x);
    return s * (1.0f - s);
  }
  if constexpr (kKind == UnaryKind::tanh) {
    const float t = tanhf(x);
    return (1.0f - t) * (1.0f + t);
  }
  if constexpr (kKind == UnaryKind::sign) return x != x ? x : 0.0f;
  if constexpr (kKind == UnaryKind::neg) return -1.0f;
  if constexpr (kKind == UnaryKind::reciprocal) return -1.0f / (x * x);
}

template <UnaryKind kKind, class T>
__global__ void unary_kernel(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ out, int64_t count) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x) {
    const float v = to_f32(x[i]);
    out[i] = from_f32<T>(dy == nullptr ? value<kKind>(v) : to_f32(dy[i]) * derivative<kKind>(v));
  }
}

template <class T, UnaryKind kKind>
void launch(const UnaryArgs& args, cudaStream_t stream) {
  unary_kernel<kKind, T><<<grid_for(args.count, 256), 256, 0, stream>>>(
      static_cast<const T*>(args.dy), static_cast<const T*>(args.x), static_cast<T*>(args.out), args.count);
  RL_CUDA(cudaGetLastError());
}

// The kinds are numbered 0, 1, 2, …: the table has one launcher for each.
template <class T, int... kKinds>
void dispatch(const UnaryArgs& args, cudaStream_t stream, std::integer_sequence<int, kKinds...>) {
  using Launcher = void (*)(const UnaryArgs&, cudaStream_t);
  static constexpr Launcher kTable[] = {launch<T, static_cast<UnaryKind>(kKinds)>...};
  kTable[static_cast<int>(args.kind)](args, stream);
}

}  // namespace

void unary_cuda(const UnaryArgs& args, cudaStream_t stream) {
  constexpr int kCount = static_cast<int>(UnaryKind::reciprocal) + 1;
  RL_DISPATCH_CUDA(args.dtype, T, { dispatch<T>(args, stream, std::make_integer_sequence<int, kCount>{}); });
}

}  // namespace rl
