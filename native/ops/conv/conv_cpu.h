// Internal: convolution on the CPU, shared by conv2d and conv_transpose2d (each is the other's gradient).
//
// Method: implicit matrix product, without im2col. The input block is copied once into zero-padded planes, split by the
// remainders of row and column modulo the stride; then row k = (channel, tap) of the im2col matrix is the same memory
// for every k, shifted: row[p] = planes[offset[k] + p] with p running over whole padded rows (the few positions that
// lie in the
// padding are computed and dropped). The gradient of the input is the same product over dy, one per remainder of
// the input position modulo the stride; the gradient of the weight is a product along p.
// Precision: f32 sums in a fixed order, whatever the number of threads.
#pragma once

#include <cstdint>

#include "native/core/dtype.h"

namespace rl::cpu {

// y[b, o, i, j] = bias[o] + sum_{c, u, v} w[o, c, u, v] x[b, c, stride i + u - pad_top, stride j + v - pad_left]
struct ConvShape {
  int64_t batch, in_channels, in_h, in_w;
  int64_t out_channels, out_h, out_w;
  int64_t kernel_h, kernel_w, stride, pad_top, pad_left;
};

// All pointers are of `dtype` (f32 or bf16). bf16_products: operands may be rounded to bf16, which is faster where
// there are AMX tiles.
void conv_forward(const ConvShape& s, DType dtype, bool bf16_products, const void* x, const void* w, const void* bias,
    void* y);
// dx from dy; `bias` [in_channels] or null is added (conv_transpose2d).
void conv_input_grad(const ConvShape& s, DType dtype, bool bf16_products, const void* dy, const void* w,
    const void* bias,
                     void* dx);
void conv_weight_grad(const ConvShape& s, DType dtype, bool bf16_products, const void* x, const void* dy, void* dw);
// out[c] = sum over batch and pixels of x[batch, channels, pixels].
void channel_sums(int64_t batch, int64_t channels, int64_t pixels, DType dtype, const void* x, void* out);

}  // namespace rl::cpu
