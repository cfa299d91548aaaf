#include "native/ops/conv/conv_cuda.h"
#include "native/ops/conv/conv_transpose2d.h"

namespace rl {

void conv_transpose2d_cuda(const ConvTranspose2dArgs& a, cudaStream_t stream) {
  cuda::conv_input_grad(a.shape, a.dtype, a.x, a.weight, a.bias, a.y, stream);
}

void conv_transpose2d_bwd_cuda(const ConvTranspose2dBwdArgs& a, cudaStream_t stream) {
  const cpu::ConvShape& s = a.shape;
  if (a.dx != nullptr) cuda::conv_forward(s, a.dtype, a.dy, a.weight, nullptr, a.dx, stream);
  if (a.dweight != nullptr) cuda::conv_weight_grad(s, a.dtype, a.dy, a.x, a.dweight, a.partial, a.parts, stream);
  if (a.dbias != nullptr) cuda::channel_sums(s.batch, s.in_channels, s.in_h * s.in_w, a.dtype, a.dy, a.dbias, stream);
}

}  // namespace rl
