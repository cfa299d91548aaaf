// Scaled dot-product attention on the CPU, on raw pointers, in tiles (flash style).
//
//   out[b,i,h,:] = sum_j softmax_j(scale q[b,i,h,:] . k[b,j,h,:] + bias[h,i,j]) v[b,j,h,:]
//
// Method: online softmax over key blocks (Milakov & Gimelshein 2018; Dao et al. 2022, Algorithms 1 and 4). Nothing of size
// [lq, lk] exists beyond one tile. Work per call: 4 B H lq lk d FLOPs forward, 10 B H lq lk d backward (half if causal).
// Precision: f32 accumulation and softmax. Compute::bf16 rounds the operands of the matrix products, P and dS included.
// Results do not depend on the number of threads.
#pragma once

#include <cstdint>

#include "native/backend/cpu/gemm.h"

namespace rl::cpu {

struct AttentionArgs {
  int64_t batch = 0, heads = 0, lq = 0, lk = 0, d = 0;  // 1 <= d <= 512; lq or lk may be 0
  float scale = 1;
  bool causal = false;                    // aligned top-left: query i sees keys 0..i
  ElementType type = ElementType::f32;    // of q, k, v and out
  Compute compute = Compute::f32;
  const void *q = nullptr, *k = nullptr, *v = nullptr;  // [B,lq,H,d], [B,lk,H,d], [B,lk,H,d], contiguous
  const float* bias = nullptr;            // null or [H,lq,lk], for every batch; -inf masks a key
  void* out = nullptr;                    // [B,lq,H,d]
  float* lse = nullptr;                   // null or [B,H,lq]: log of the sum of exp of the scores
};

// A row with every key masked (or lk = 0) gives zeros and lse = -inf. NaN in q, or in a key or value that a row attends
// to, gives NaN in that row; a NaN value at a masked key may do so, too. Throws ERR_SHAPE for wrong sizes or pointers.
void attention_forward(const AttentionArgs& args);

struct AttentionGradArgs {
  AttentionArgs f;             // as in the forward call, with out and lse as it left them
  const void* dout = nullptr;  // [B,lq,H,d]
  void *dq = nullptr, *dk = nullptr, *dv = nullptr;  // of f.type, overwritten
  float* dbias = nullptr;      // null or [H,lq,lk], overwritten with the sum over the batch
};

void attention_backward(const AttentionGradArgs& args);

}  // namespace rl::cpu
