// Images to tokens and back: FLUX's packing (specs: token (r, c) of the grid, channel index = ch·p² + ph·p + pw).
//
//   x  [B, C, H, W]  f32 or bf16, H and W multiples of p
//   y  [B, (H/p)·(W/p), C·p·p],  y[b, r·(W/p) + c, (ch·p + ph)·p + pw] = x[b, ch, r·p + ph, c·p + pw]
// unpatchify is the inverse; each is the other's gradient. Exact (copies only).
// Bytes: 2 · numel · size.   FLOPs: 0.
#pragma once

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct PatchifyArgs {
  const void* in;
  void* out;
  int64_t batch, channels, grid_h, grid_w, patch;
  DType dtype;
};

void patchify_cpu(const PatchifyArgs& a);
void unpatchify_cpu(const PatchifyArgs& a);
#if RL_WITH_CUDA
void patchify_cuda(const PatchifyArgs& a, cudaStream_t stream);
void unpatchify_cuda(const PatchifyArgs& a, cudaStream_t stream);
#endif

Tensor patchify(const Tensor& x, int64_t patch);
// x [B, (height/p)·(width/p), C·p·p] -> [B, C, height, width]
Tensor unpatchify(const Tensor& x, int64_t patch, int64_t height, int64_t width);

}  // namespace rl
