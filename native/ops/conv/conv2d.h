// 2-D convolution (cross-correlation, as in PyTorch), zero padding that may differ on each side.
//
//   x       [B, C, H, W]      f32 or bf16
//   weight  [O, C, kh, kw]    same dtype as x
//   bias    [O] or absent
//   y       [B, O, Ho, Wo],   Ho = (H + top + bottom − kh) / stride + 1 (rounded down), Wo likewise
//   y[b,o,i,j] = bias[o] + Σ_{c,u,v} weight[o,c,u,v] · x[b, c, stride·i + u − top, stride·j + v − left]
// Backward: dx is the transposed map of dy, dweight[o,c,u,v] = Σ_{b,i,j} dy[b,o,i,j] · x[b,c,…], dbias[o] = Σ dy.
//
// Precision: products and sums in f32, one rounding to the output type. With matmul_precision bf16 the CPU may round
// f32
// operands to bf16 first (with AMX, 8 channels and more); sums stay f32.
// Tolerance: see test/native/conv2d.test.cc (measured worst × 1.05).
// Bytes: (B·C·H·W + O·C·kh·kw + B·O·Ho·Wo) · size.   FLOPs: 2 · B·O·Ho·Wo·C·kh·kw, the same for each of dx and dweight.
#pragma once

#include "native/ops/conv/conv_cpu.h"
#include "native/ops/registry.h"
#if RL_WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rl {

struct Conv2dArgs {
  cpu::ConvShape shape;
  const void* x;
  const void* weight;
  const void* bias;  // or null
  void* y;
  DType dtype;
  bool bf16_products;  // CPU: may round f32 operands to bf16
};

struct Conv2dBwdArgs {
  cpu::ConvShape shape;
  const void* dy;
  const void* x;
  const void* weight;
  void* dx;        // null when not wanted, like the other two
  void* dweight;
  void* dbias;
  float* partial;  // [parts, O, C, kh, kw] scratch of the CUDA weight gradient
  int64_t parts;
  DType dtype;
  bool bf16_products;  // CPU: may round f32 operands to bf16
};

void conv2d_cpu(const Conv2dArgs& a);
void conv2d_bwd_cpu(const Conv2dBwdArgs& a);
#if RL_WITH_CUDA
void conv2d_cuda(const Conv2dArgs& a, cudaStream_t stream);
void conv2d_bwd_cuda(const Conv2dBwdArgs& a, cudaStream_t stream);
#endif

// May the CPU round operands to bf16? They already are, or the device says so.
bool bf16_products(const Tensor& x);

// The number of parts the CUDA weight gradient is summed in.
int64_t conv2d_weight_parts(const cpu::ConvShape& s);

// `padding` is [top, left, bottom, right].
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t stride, const Ints& padding);
// -> [dx, dweight, dbias], each absent when not needed.
std::vector<Tensor> conv2d_bwd(const Tensor& dy, const Tensor& x, const Tensor& weight, int64_t stride,
    const Ints& padding,
                               bool need_dx, bool need_dweight, bool need_dbias);

}  // namespace rl
