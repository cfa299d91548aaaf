// Nearest-neighbour upsampling by two.
//
//   x  [B, C, H, W]  f32 or bf16      y  [B, C, 2H, 2W],  y[i, j] = x[i/2, j/2]
// Backward: dx[i, j] = dy[2i, 2j] + dy[2i, 2j+1] + dy[2i+1, 2j] + dy[2i+1, 2j+1], summed in f32.
//
// Precision: forward exact; backward three f32 additions, one rounding to the output type.
// Bytes: 5 · B·C·H·W · size.   FLOPs: 0 forward, 3 · B·C·H·W backward.
#pragma once

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

// height and width are those of the small image: forward reads [planes, height, width], backward [planes, 2 height, 2
// width].
struct UpsampleArgs {
  const void* in;
  void* out;
  int64_t planes, height, width;
  DType dtype;
};

void upsample_nearest2x_cpu(const UpsampleArgs& a);
void upsample_nearest2x_bwd_cpu(const UpsampleArgs& a);
#if RL_WITH_CUDA
void upsample_nearest2x_cuda(const UpsampleArgs& a, cudaStream_t stream);
void upsample_nearest2x_bwd_cuda(const UpsampleArgs& a, cudaStream_t stream);
#endif

Tensor upsample_nearest2x(const Tensor& x);
Tensor upsample_nearest2x_bwd(const Tensor& dy);

}  // namespace rl
