#include "native/ops/conv/conv_kernels.h"

#include <utility>

#include "native/backend/cpu/cpu_features.h"

namespace rl::cpu::conv_base {
namespace {
constexpr int kLanes = 4, kRows = 4;
#include "native/ops/conv/conv_kernels.inl"
}  // namespace
const ConvKernels& kernels() { return kKernels; }
}  // namespace rl::cpu::conv_base

#if defined(__x86_64__)

#include "native/backend/cpu/target_avx2.inl"
namespace rl::cpu::conv_avx2 {
namespace {
constexpr int kLanes = 8, kRows = 4;
#include "native/ops/conv/conv_kernels.inl"
}  // namespace
const ConvKernels& kernels() { return kKernels; }
}  // namespace rl::cpu::conv_avx2
#include "native/backend/cpu/target_end.inl"
#include "native/backend/cpu/target_avx512.inl"
namespace rl::cpu::conv_avx512 {
namespace {
constexpr int kLanes = 16, kRows = 8;
#include "native/ops/conv/conv_kernels.inl"
}  // namespace
const ConvKernels& kernels() { return kKernels; }
}  // namespace rl::cpu::conv_avx512
#include "native/backend/cpu/target_end.inl"

#endif  // __x86_64__

namespace rl::cpu {

const ConvKernels& conv_kernels() {
#if defined(__x86_64__)
  if (best_isa() >= Isa::avx512) return conv_avx512::kernels();
  if (best_isa() == Isa::avx2) return conv_avx2::kernels();
#endif
  return conv_base::kernels();
}

}  // namespace rl::cpu
