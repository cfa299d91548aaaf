// Element access, error checks and dispatch shared by the CUDA kernels.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "native/core/dtype.h"
#include "native/core/error.h"

namespace rl {

__device__ __forceinline__ float to_f32(float x) { return x; }
__device__ __forceinline__ float to_f32(__nv_bfloat16 x) { return __bfloat162float(x); }
template <class T>
__device__ __forceinline__ T from_f32(float x);
template <>
__device__ __forceinline__ float from_f32<float>(float x) { return x; }
template <>
__device__ __forceinline__ __nv_bfloat16 from_f32<__nv_bfloat16>(float x) { return __float2bfloat16_rn(x); }

// Threads for one row: a power of two between one warp and 1024, about four elements each.
inline unsigned row_threads(int64_t elements) {
  unsigned threads = 32;
  while (threads < 1024 && threads * 4 < elements) threads *= 2;
  return threads;
}

// Blocks of `threads` covering `count` elements; kernels stride over the rest.
inline unsigned grid_for(int64_t count, unsigned threads) {
  const int64_t blocks = (count + threads - 1) / threads;
  return static_cast<unsigned>(blocks < 1 ? 1 : blocks > 65535 ? 65535 : blocks);
}

}  // namespace rl

// Throws rl::Error for a CUDA call that failed, naming the call.
#define RL_CUDA(call)                                                                                       \
  do {                                                                                                      \
    const cudaError_t status_ = (call);                                                                     \
    RL_CHECK(status_ == cudaSuccess, status_ == cudaErrorMemoryAllocation ? ::rl::code::kOutOfMemory        \
                                                                          : ::rl::code::kDevice,            \
             #call, ": ", cudaGetErrorString(status_), " (", static_cast<int>(status_), ")");               \
  } while (0)

// Runs `...` with T = float or __nv_bfloat16.
#define RL_DISPATCH_CUDA(dtype, T, ...)       \
  do {                                        \
    if ((dtype) == ::rl::DType::f32) {        \
      using T = float;                        \
      __VA_ARGS__                             \
    } else {                                  \
      using T = __nv_bfloat16;                \
      __VA_ARGS__                             \
    }                                         \
  } while (0)
