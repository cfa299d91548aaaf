// Internal: the CUDA attention kernels by element type. lq, batch and heads are positive, sizes fit their kernels.
#pragma once

#include <cuda_runtime.h>

#include "native/backend/cpu/attention.h"

namespace rl {

void attention_bf16_cuda(const cpu::AttentionArgs& a, cudaStream_t stream);
void attention_f32_cuda(const cpu::AttentionArgs& a, cudaStream_t stream);
// delta[B,H,Lq] = Σ_D dout ∘ out.
void attention_bf16_bwd_cuda(const cpu::AttentionGradArgs& a, const float* delta, cudaStream_t stream);
void attention_f32_bwd_cuda(const cpu::AttentionGradArgs& a, const float* delta, cudaStream_t stream);

}  // namespace rl
