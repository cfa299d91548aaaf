// Vector routines for AVX2 and FMA.
#include "native/backend/cpu/vec_kernels.h"

#if defined(__x86_64__)

#include "native/backend/cpu/target_avx2.inl"

namespace rl::cpu {
namespace {

constexpr int kLanes = 8;
#include "native/backend/cpu/vec_kernels.inl"

}  // namespace

const VecKernels& vec_kernels_avx2() { return kKernels; }

}  // namespace rl::cpu

#include "native/backend/cpu/target_end.inl"

#endif  // __x86_64__
