// Internal: convolution on CUDA, shared by conv2d and conv_transpose2d. The twin of conv_cpu.h.
//
// Method: implicit matrix products over 64 x 64 tiles; the im2col operand is gathered into shared memory. bf16 operands
// go
// through the tensor cores, f32 operands through f32 multiply-adds; sums are f32 in a fixed order, without atomics.
#pragma once

#include <cuda_runtime.h>

#include "native/core/dtype.h"
#include "native/ops/conv/conv_cpu.h"

namespace rl::cuda {

void conv_forward(const cpu::ConvShape& s, DType dtype, const void* x, const void* w, const void* bias, void* y,
    cudaStream_t stream);
void conv_input_grad(const cpu::ConvShape& s, DType dtype, const void* dy, const void* w, const void* bias, void* dx,
                     cudaStream_t stream);
// `partial` is [parts, O, C, kh, kw]: the pixels are cut into `parts`, whose sums are added in order.
void conv_weight_grad(const cpu::ConvShape& s, DType dtype, const void* x, const void* dy, void* dw, float* partial,
                      int64_t parts, cudaStream_t stream);
void channel_sums(int64_t batch, int64_t channels, int64_t pixels, DType dtype, const void* x, void* out,
    cudaStream_t stream);

}  // namespace rl::cuda
