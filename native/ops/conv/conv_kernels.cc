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

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
namespace rl::cpu::conv_avx2 {
namespace {
constexpr int kLanes = 8, kRows = 4;
#include "native/ops/conv/conv_kernels.inl"
}  // namespace
const ConvKernels& kernels() { return kKernels; }
}  // namespace rl::cpu::conv_avx2
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")
#endif
namespace rl::cpu::conv_avx512 {
namespace {
constexpr int kLanes = 16, kRows = 8;
#include "native/ops/conv/conv_kernels.inl"
}  // namespace
const ConvKernels& kernels() { return kKernels; }
}  // namespace rl::cpu::conv_avx512
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

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
