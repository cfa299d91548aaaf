// Rotary position embedding (Su et al. 2021): inside blocks of `block` elements of the head dimension, element j and
// element j + block/2 are rotated by the angle of their pair.
//
//   x         [B, L, H, D]   f32 or bf16
//   cos, sin  [L, D/2]       f32 whatever x is; column = running pair number, b · block/2 + j for pair j of block b
//   y         [B, L, H, D]:  y[p] = x[p] cos − x[q] sin,  y[q] = x[p] sin + x[q] cos,  p = b · block + j, q = p + block/2
// block 2: neighbouring pairs (FLUX spec 1.5); block D/2: half-split inside each half (VGGT spec 1.8); block D: half-split.
// Backward is the inverse rotation: inverse = true turns the other way.
//
// Precision: f32 rotation, one rounding to the output type.
// Tolerance: see test/native/rope.test.cc (measured worst × 1.05).
// Bytes: 2 · B · L · H · D · size + 4 · L · D.   FLOPs: 3 · B · L · H · D.
#pragma once

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct RopeArgs {
  const void* x;       // [batch, length, heads, dim]
  const float* cosine; // [length, dim / 2]
  const float* sine;   // [length, dim / 2]
  void* y;             // [batch, length, heads, dim]
  int64_t batch, length, heads, dim, block;
  float direction;     // +1, or -1 for the inverse rotation
  DType dtype;
};

void rope_cpu(const RopeArgs& a);
#if RL_WITH_CUDA
void rope_cuda(const RopeArgs& a, cudaStream_t stream);
#endif

Tensor rope(const Tensor& x, const Tensor& cosine, const Tensor& sine, int64_t block, bool inverse);

}  // namespace rl
