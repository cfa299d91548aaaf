// What this processor can do, found at run time. Kernels are compiled for every ISA with target attributes, so the
// build needs no machine flags and one binary runs everywhere.
#pragma once

#include <string>

namespace rl::cpu {

// In rising order: each level includes the ones before it.
enum class Isa { scalar, avx2, avx512, avx512_bf16, amx };

struct CpuFeatures {
  bool avx2_fma = false;
  bool avx512 = false;       // f, bw, vl, dq
  bool avx512_bf16 = false;  // vdpbf16ps
  bool amx_bf16 = false;     // tile instructions, and the kernel granted the tile state
};

// Detected once (cpuid, xgetbv; AMX also asks the kernel for the tile state and checks that it was granted).
const CpuFeatures& cpu_features();

// The highest level this machine can run.
Isa detected_isa();

// The level in use: detected_isa(), lowered by RL3DEDIT_ISA=scalar|avx2|avx512|avx512_bf16|amx or by set_isa.
// Throws ERR_ENVIRONMENT if the variable names no level or one this machine lacks.
Isa best_isa();

// For tests: use this level from now on. Throws ERR_CONFIG if the machine lacks it.
void set_isa(Isa isa);

const char* isa_name(Isa isa);

// One line for `doctor`: "avx2+fma avx512 avx512_bf16 amx_bf16; using amx; 2 threads".
std::string describe();

}  // namespace rl::cpu
