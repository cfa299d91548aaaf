#include "native/backend/cpu/cpu_features.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>

#include "native/core/error.h"
#include "native/core/thread_pool.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace rl::cpu {
namespace {

constexpr const char* kNames[] = {"scalar", "avx2", "avx512", "avx512_bf16", "amx"};

#if defined(__x86_64__)

uint64_t read_xcr0() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

// Linux hands out the 8 KiB tile state only to processes that asked for it.
bool request_amx_state() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr int kGetXcompPerm = 0x1022, kReqXcompPerm = 0x1023, kXtileData = 18;
  if (syscall(SYS_arch_prctl, kReqXcompPerm, kXtileData) != 0) return false;
  uint64_t granted = 0;
  if (syscall(SYS_arch_prctl, kGetXcompPerm, &granted) != 0) return false;
  return (granted >> kXtileData & 1) != 0;
#else
  return false;
#endif
}

CpuFeatures detect() {
  CpuFeatures found;
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return found;
  const bool fma = c >> 12 & 1, osxsave = c >> 27 & 1, avx = c >> 28 & 1, f16c = c >> 29 & 1;
  if (!osxsave || !avx) return found;
  const uint64_t xcr0 = read_xcr0();
  const bool ymm_state = (xcr0 & 0x6) == 0x6, zmm_state = (xcr0 & 0xE6) == 0xE6;
  const bool tile_state = (xcr0 & 0x60000) == 0x60000;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
  const uint32_t max_subleaf = a, features_b = b, features_d = d;
  found.avx2_fma = ymm_state && fma && f16c && (features_b >> 5 & 1);
  const bool f = features_b >> 16 & 1, dq = features_b >> 17 & 1, bw = features_b >> 30 & 1, vl = features_b >> 31 & 1;
  found.avx512 = found.avx2_fma && zmm_state && f && dq && bw && vl;
  if (max_subleaf >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) found.avx512_bf16 = found.avx512 && (a >> 5 & 1);
  const bool amx = (features_d >> 22 & 1) && (features_d >> 24 & 1);  // amx-bf16, amx-tile
  found.amx_bf16 = found.avx512_bf16 && amx && tile_state && request_amx_state();
  return found;
}

#else

CpuFeatures detect() { return {}; }

#endif

Isa initial_isa() {
  const char* text = std::getenv("RL3DEDIT_ISA");
  if (!text || !*text) return detected_isa();
  for (int i = 0; i < 5; ++i) {
    if (std::string(text) != kNames[i]) continue;
    RL_CHECK(static_cast<Isa>(i) <= detected_isa(), code::kEnvironment, "RL3DEDIT_ISA: this machine has no ", text,
             "; its best is ", isa_name(detected_isa()));
    return static_cast<Isa>(i);
  }
  throw Error(code::kEnvironment,
              str("RL3DEDIT_ISA: expected scalar, avx2, avx512, avx512_bf16 or amx, got '", text, "'"));
}

std::atomic<Isa>& current_isa() {
  static std::atomic<Isa> isa{initial_isa()};
  return isa;
}

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures found = detect();
  return found;
}

Isa detected_isa() {
  const CpuFeatures& found = cpu_features();
  if (found.amx_bf16) return Isa::amx;
  if (found.avx512_bf16) return Isa::avx512_bf16;
  if (found.avx512) return Isa::avx512;
  return found.avx2_fma ? Isa::avx2 : Isa::scalar;
}

Isa best_isa() { return current_isa().load(std::memory_order_relaxed); }

void set_isa(Isa isa) {
  RL_CHECK(isa <= detected_isa(), code::kConfig, "set_isa: this machine has no ", isa_name(isa), "; its best is ",
           isa_name(detected_isa()));
  current_isa().store(isa);
}

const char* isa_name(Isa isa) { return kNames[static_cast<int>(isa)]; }

std::string describe() {
  const CpuFeatures& found = cpu_features();
  std::string text;
  if (found.avx2_fma) text += "avx2+fma ";
  if (found.avx512) text += "avx512 ";
  if (found.avx512_bf16) text += "avx512_bf16 ";
  if (found.amx_bf16) text += "amx_bf16 ";
  if (text.empty()) text = "no vector extensions ";
  text.back() = ';';
  return text + " using " + isa_name(best_isa()) + "; " + std::to_string(ThreadPool::instance().size()) + " threads";
}

}  // namespace rl::cpu
