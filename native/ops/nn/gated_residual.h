// Gated residual: y = x + gate ∘ branch, the gate one row per batch item (adaLN-Zero, Peebles & Xie 2022; FLUX spec 1.6).
//
//   x, branch, y  [B, L, C]   f32 or bf16
//   gate          [B, C]      same dtype
// Backward: dx = dy (the caller passes it on), dbranch = gate ∘ dy, dgate = Σ_L dy ∘ branch.
//
// Precision: products and sums in f32, one rounding to the output type; dgate in the fixed order of column_sums.h.
// Tolerance: see test/native/gated_residual.test.cc (measured worst × 1.05).
// Bytes: 3 · B · L · C · size.   FLOPs: 2 · B · L · C forward, 3 · B · L · C backward.
#pragma once

#include "native/ops/nn/column_sums.h"

namespace rl {

struct GatedResidualArgs {
  const void* x;       // [batch, rows, dim]
  const void* gate;    // [batch, dim]
  const void* branch;  // [batch, rows, dim]
  void* y;             // [batch, rows, dim]
  int64_t batch, rows, dim;
  DType dtype;
};

struct GatedResidualBwdArgs {
  const void* dy;      // [batch, rows, dim]
  const void* gate;    // [batch, dim]
  const void* branch;  // [batch, rows, dim], null when dgate is not wanted
  void* dgate;         // [batch, dim] or null
  void* dbranch;       // [batch, rows, dim] or null
  float* partial;      // [batch, chunks, dim] scratch when dgate is wanted
  int64_t batch, rows, dim;
  DType dtype;
};

void gated_residual_cpu(const GatedResidualArgs& a);
void gated_residual_bwd_cpu(const GatedResidualBwdArgs& a);
#if RL_WITH_CUDA
void gated_residual_cuda(const GatedResidualArgs& a, cudaStream_t stream);
void gated_residual_bwd_cuda(const GatedResidualBwdArgs& a, cudaStream_t stream);
#endif

Tensor gated_residual(const Tensor& x, const Tensor& gate, const Tensor& branch);
// `branch` may be absent when dgate is not needed. -> [dgate, dbranch], absent where not needed
std::vector<Tensor> gated_residual_bwd(const Tensor& dy, const Tensor& gate, const Tensor& branch, bool need_dgate,
                                       bool need_dbranch);

}  // namespace rl
