// Transposed 2-D convolution without padding: the gradient map of conv2d.
//
//   x       [B, C, H, W]      f32 or bf16
//   weight  [C, O, kh, kw]    same dtype as x (IOHW, as in PyTorch)
//   bias    [O] or absent
//   y       [B, O, (H − 1)·stride + kh, (W − 1)·stride + kw]
//   y[b, o, stride·i + u, stride·j + v] += weight[c,o,u,v] · x[b,c,i,j], summed over c and all (i,u), (j,v) that meet;
//   + bias[o]
// Backward: dx = conv2d(dy, weight) with the roles of the channels exchanged; dweight[c,o,u,v] = Σ x[b,c,i,j]
// dy[b,o,…].
//
// Precision: products and sums in f32, one rounding to the output type.
// Tolerance: see test/native/conv_transpose2d.test.cc (measured worst × 1.05).
// Bytes: (x + weight + y) · size.   FLOPs: 2 · B·C·H·W·O·kh·kw, the same for each of dx and dweight.
#pragma once

#include "native/ops/conv/conv2d.h"

namespace rl {

// `shape` is that of the convolution whose gradient this is: its input is y, its output x.
struct ConvTranspose2dArgs {
  cpu::ConvShape shape;
  const void* x;
  const void* weight;
  const void* bias;  // or null
  void* y;
  DType dtype;
  bool bf16_products;  // CPU: may round f32 operands to bf16
};

struct ConvTranspose2dBwdArgs {
  cpu::ConvShape shape;
  const void* dy;
  const void* x;
  const void* weight;
  void* dx;        // null when not wanted, like the other two
  void* dweight;
  void* dbias;
  float* partial;  // [parts, C, O, kh, kw] scratch of the CUDA weight gradient
  int64_t parts;
  DType dtype;
  bool bf16_products;  // CPU: may round f32 operands to bf16
};

void conv_transpose2d_cpu(const ConvTranspose2dArgs& a);
void conv_transpose2d_bwd_cpu(const ConvTranspose2dBwdArgs& a);
#if RL_WITH_CUDA
void conv_transpose2d_cuda(const ConvTranspose2dArgs& a, cudaStream_t stream);
void conv_transpose2d_bwd_cuda(const ConvTranspose2dBwdArgs& a, cudaStream_t stream);
#endif

Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t stride);
// -> [dx, dweight, dbias], each absent when not needed.
std::vector<Tensor> conv_transpose2d_bwd(const Tensor& dy, const Tensor& x, const Tensor& weight, int64_t stride,
    bool need_dx,
                                         bool need_dweight, bool need_dbias);

}  // namespace rl
