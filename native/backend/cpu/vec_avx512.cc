// Vector routines for AVX-512.
#include "native/backend/cpu/vec_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define RL_VEC_AVX512  // masked loads and stores for the last lanes

#include "native/backend/cpu/target_avx512.inl"

namespace rl::cpu {
namespace {

constexpr int kLanes = 16;
#include "native/backend/cpu/vec_kernels.inl"

}  // namespace

const VecKernels& vec_kernels_avx512() { return kKernels; }

}  // namespace rl::cpu

#include "native/backend/cpu/target_end.inl"

#endif  // __x86_64__
