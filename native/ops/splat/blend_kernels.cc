#include "native/ops/splat/blend_kernels.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "native/backend/cpu/cpu_features.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace rl::cpu::blend_base {
namespace {
constexpr int kLanes = 4;
#include "native/ops/splat/blend_kernels.inl"
}  // namespace
const BlendKernels& kernels() { return kKernels; }
}  // namespace rl::cpu::blend_base

#if defined(__x86_64__)

#include "native/backend/cpu/target_avx2.inl"
#define RL_BLEND_AVX2
namespace rl::cpu::blend_avx2 {
namespace {
constexpr int kLanes = 8;
#include "native/ops/splat/blend_kernels.inl"
}  // namespace
const BlendKernels& kernels() { return kKernels; }
}  // namespace rl::cpu::blend_avx2
#undef RL_BLEND_AVX2
#include "native/backend/cpu/target_end.inl"
#include "native/backend/cpu/target_avx512.inl"
#define RL_BLEND_AVX512
namespace rl::cpu::blend_avx512 {
namespace {
constexpr int kLanes = 16;
#include "native/ops/splat/blend_kernels.inl"
}  // namespace
const BlendKernels& kernels() { return kKernels; }
}  // namespace rl::cpu::blend_avx512
#undef RL_BLEND_AVX512
#include "native/backend/cpu/target_end.inl"

#endif  // __x86_64__

namespace rl::cpu {

const BlendKernels& blend_kernels() {
#if defined(__x86_64__)
  if (best_isa() >= Isa::avx512) return blend_avx512::kernels();
  if (best_isa() == Isa::avx2) return blend_avx2::kernels();
#endif
  return blend_base::kernels();
}

}  // namespace rl::cpu
