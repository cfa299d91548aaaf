// Small helpers of the CPU kernels: element access by type, dispatch on dtype, work per thread, run-time vector width.
#pragma once

#include <algorithm>

#include "native/backend/cpu/bf16.h"
#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include "native/backend/cuda/cuda_device.h"
#endif

namespace rl {

inline float to_float(float x) { return x; }  // the bf16 twin is rl::cpu::to_float, found through its argument
template <class T>
inline T from_float(float x);
template <>
inline float from_float<float>(float x) { return x; }
template <>
inline cpu::bf16 from_float<cpu::bf16>(float x) { return cpu::to_bf16(x); }

// Rows per task so that a task has at least some 16 k elements: below that, waking a thread costs more than it gains.
inline int64_t grain_for(int64_t elements_per_row) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, elements_per_row)); }

}  // namespace rl

// Compiles a function for AVX-512, AVX2 and the baseline and chooses when the library loads. Results differ between
// machines in the last bits (fused multiply-add, wider sums), never between runs on one machine.
#define RL_VECTORIZED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"))) inline

// Runs `...` with T = float or rl::cpu::bf16.
#define RL_DISPATCH_FLOAT(dtype, T, ...)      \
  do {                                        \
    if ((dtype) == ::rl::DType::f32) {        \
      using T = float;                        \
      __VA_ARGS__                             \
    } else {                                  \
      using T = ::rl::cpu::bf16;              \
      __VA_ARGS__                             \
    }                                         \
  } while (0)
