// Vector routines for AVX-512.
#include "native/backend/cpu/vec_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define RL_VEC_AVX512  // masked loads and stores for the last lanes

// Only code below is compiled for the target; headers above are not, so no inline function of theirs can leak into
// the rest of the program with instructions it may lack.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")
#endif

namespace rl::cpu {
namespace {

constexpr int kLanes = 16;
#include "native/backend/cpu/vec_kernels.inl"

}  // namespace

const VecKernels& vec_kernels_avx512() { return kKernels; }

}  // namespace rl::cpu

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // __x86_64__
