// Scaled dot-product attention: out = softmax(scale · q kᵀ + bias) v per batch item and head (Vaswani et al. 2017).
//
//   q     [B, Lq, H, D]   f32 or bf16, 1 <= D <= 512
//   k, v  [B, Lk, H, D]   same dtype
//   bias  [H, Lq, Lk]     f32 or absent, the same for every batch item; -inf masks a key
//   out   [B, Lq, H, D]   same dtype
//   lse   [B, H, Lq]      f32: log Σ exp of the scores, what the backward pass recomputes the probabilities from
// causal: query i sees keys 0..i. A query that sees no key gives zeros and lse = -inf.
// Backward (Dao et al. 2022): Δ = Σ_D dout ∘ out, P = exp(S − lse), dV = Pᵀ dout, dS = P ∘ (dout Vᵀ − Δ),
//   dQ = scale dS K, dK = scale dSᵀ Q, dbias = Σ_B dS.
//
// Method: flash style, nothing of size [Lq, Lk] beyond one tile; CPU in native/backend/cpu/attention.h, CUDA in attention.cu.
// Precision: f32 softmax and sums; bf16 tensors (or device.matmul_precision = bf16) round P and dS to bf16.
// Tolerance: see test/native/attention_op.test.cc (measured worst × 1.05).
// Bytes: (2 Lq + 2 Lk) · B · H · D · size.   FLOPs: 4 · B · H · Lq · Lk · D forward, 10 backward; half when causal.
#pragma once

#include "native/backend/cpu/attention.h"
#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

#if RL_WITH_CUDA
void attention_cuda(const cpu::AttentionArgs& a, cudaStream_t stream);
// `delta` is scratch of [B, H, Lq].
void attention_bwd_cuda(const cpu::AttentionGradArgs& a, float* delta, cudaStream_t stream);
#endif

// -> [out, lse]; lse is absent unless asked for.
std::vector<Tensor> attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias, double scale,
                              bool causal, bool need_lse);
// -> [dq, dk, dv, dbias or absent]; dbias is summed over the batch
std::vector<Tensor> attention_bwd(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                                  const Tensor& lse, const Tensor& bias, double scale, bool causal, bool need_dbias);

}  // namespace rl
