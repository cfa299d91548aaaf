// Vector routines for AVX2 and FMA.
#include "native/backend/cpu/vec_kernels.h"

#if defined(__x86_64__)

// Only code below is compiled for the target; headers above are not, so no inline function of theirs can leak into
// the rest of the program with instructions it may lack.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

namespace rl::cpu {
namespace {

constexpr int kLanes = 8;
#include "native/backend/cpu/vec_kernels.inl"

}  // namespace

const VecKernels& vec_kernels_avx2() { return kKernels; }

}  // namespace rl::cpu

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // __x86_64__
