// LayerNorm of rows with a gain and a shift that groups of rows share: the common core of layernorm (one group, gain =
// weight) and modulate (one group per batch item, gain = 1 + scale).
//
//   y = x̂ gain + shift,  x̂ = (x − mean(x)) r,  r = 1/sqrt(var(x) + eps),  var biased
//   dx = r (g − mean(g) − x̂ mean(g x̂)),  g = dy gain;   dgain = Σ_rows dy x̂;   dshift = Σ_rows dy
#pragma once

#include "native/ops/nn/column_sums.h"

namespace rl {

struct NormRowsArgs {
  const void* x;      // [groups, rows, dim]
  const void* gain;   // [groups, dim] or null: 1
  const void* shift;  // [groups, dim] or null: 0
  void* y;            // [groups, rows, dim]
  int64_t groups, rows, dim;
  float gain_offset;  // added to gain: 1 when gain is a scale around 1
  float eps;
  DType dtype;
};

struct NormRowsBwdArgs {
  const void* dy;     // [groups, rows, dim]
  const void* x;      // [groups, rows, dim]
  const void* gain;   // [groups, dim] or null: 1
  void* dx;           // [groups, rows, dim] or null
  void* dgain;        // [groups, dim] or null
  void* dshift;       // [groups, dim] or null
  float* partial;     // [2, groups, chunks, dim] scratch when dgain or dshift is wanted
  float* stats;       // [groups, rows, 2] scratch of CUDA when dgain or dshift is wanted
  int64_t groups, rows, dim;
  float gain_offset;
  float eps;
  DType dtype;
};

void norm_rows_cpu(const NormRowsArgs& a);
void norm_rows_bwd_cpu(const NormRowsBwdArgs& a);
#if RL_WITH_CUDA
void norm_rows_cuda(const NormRowsArgs& a, cudaStream_t stream);
void norm_rows_bwd_cuda(const NormRowsBwdArgs& a, cudaStream_t stream);
#endif

}  // namespace rl
