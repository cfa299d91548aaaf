#include "native/backend/cuda/gemm_epilogue.h"

#include "native/backend/cuda/types.cuh"

namespace rl {

namespace {

using cpu::Activation;
using cpu::ElementType;

__device__ __forceinline__ float activated(float x, Activation activation) {
  switch (activation) {
    case Activation::gelu_tanh: return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
    case Activation::gelu_erf: return 0.5f * x * (1.0f + erff(x * 0.7071067811865476f));
    case Activation::quick_gelu: return x / (1.0f + expf(-1.702f * x));
    case Activation::silu: return x / (1.0f + expf(-x));
    case Activation::relu: return x < 0.0f ? 0.0f : x;  // keeps NaN
    default: return x;
  }
}

__device__ __forceinline__ float element(const void* data, ElementType type, int64_t i) {
  return type == ElementType::f32 ? static_cast<const float*>(data)[i]
                                  : to_f32(static_cast<const __nv_bfloat16*>(data)[i]);
}

template <class T>
__global__ void gemm_epilogue_kernel(GemmEpilogueArgs a) {
  const int64_t count = a.batch * a.m * a.n;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t column = i % a.n, row = i / a.n % a.m, item = i / a.n / a.m;
    float value = a.product == nullptr ? 0.0f : a.product[i];
    if (a.bias != nullptr) value += element(a.bias, a.bias_type, column);
    value = activated(value, a.activation);
    T* c = static_cast<T*>(a.c) + item * a.c_batch_stride + row * a.c_row_stride + column;
    *c = from_f32<T>(a.accumulate ? value + to_f32(*c) : value);
  }
}

}  // namespace

void gemm_epilogue_cuda(const GemmEpilogueArgs& a, cudaStream_t stream) {
  const int64_t count = a.batch * a.m * a.n;
  if (count == 0) return;
  if (a.c_type == ElementType::f32) {
    gemm_epilogue_kernel<float><<<grid_for(count, 256), 256, 0, stream>>>(a);
  } else {
    gemm_epilogue_kernel<__nv_bfloat16><<<grid_for(count, 256), 256, 0, stream>>>(a);
  }
  RL_CUDA(cudaGetLastError());
}

}  // namespace rl
