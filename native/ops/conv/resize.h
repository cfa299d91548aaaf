// Bilinear and bicubic resizing of images (PyTorch's interpolate). The weights of an axis are in resize_taps.h.
//
//   x  [B, C, H, W]    f32 or bf16      y  [B, C, h, w]
//   y[i, j] = Σ_u Σ_v rows[i, u] · columns[j, v] · x[u, v]: rows first, then columns.
// Backward: the same sum with both tables transposed.
//
// Precision: weights computed in f64 and rounded to f32, sums in f32, one rounding to the output type.
// Tolerance: see test/native/resize.test.cc (measured worst × 1.05).
// Bytes: (x + y) · size.   FLOPs: 2 · B·C · (h·W·taps_h + h·w·taps_w), taps: 2 bilinear, 4 bicubic, 4·H/h when
// shrinking antialiased.
#pragma once

#include "native/core/tensor.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

// Taps of one axis in device memory (see ResizeTaps).
struct ResizeAxis {
  const int32_t* starts;
  const int32_t* index;
  const float* weight;
};

struct ResizeArgs {
  const void* x;
  void* y;
  int64_t planes, in_h, in_w, out_h, out_w;
  ResizeAxis rows, columns;
  DType dtype;
};

void resize_cpu(const ResizeArgs& a);
#if RL_WITH_CUDA
void resize_cuda(const ResizeArgs& a, cudaStream_t stream);
#endif

Tensor resize_bilinear(const Tensor& x, int64_t height, int64_t width, bool align_corners);
// dy [B,C,h,w] -> dx [B,C,in_height,in_width]
Tensor resize_bilinear_bwd(const Tensor& dy, int64_t in_height, int64_t in_width, bool align_corners);
Tensor resize_bicubic(const Tensor& x, int64_t height, int64_t width, bool antialias);
Tensor resize_bicubic_bwd(const Tensor& dy, int64_t in_height, int64_t in_width, bool antialias);

}  // namespace rl
