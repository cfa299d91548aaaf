// Vector routines for the baseline of the build (SSE2 on x86-64).
#include "native/backend/cpu/vec_kernels.h"

namespace rl::cpu {
namespace {

constexpr int kLanes = 4;
#include "native/backend/cpu/vec_kernels.inl"

}  // namespace

const VecKernels& vec_kernels_scalar() { return kKernels; }

}  // namespace rl::cpu
