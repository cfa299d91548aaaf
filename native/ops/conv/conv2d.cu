#include "native/ops/conv/conv2d.h"
#include "native/ops/conv/conv_cuda.h"

namespace rl {

void conv2d_cuda(const Conv2dArgs& a, cudaStream_t stream) {
  cuda::conv_forward(a.shape, a.dtype, a.x, a.weight, a.bias, a.y, stream);
}

void conv2d_bwd_cuda(const Conv2dBwdArgs& a, cudaStream_t stream) {
  const cpu::ConvShape& s = a.shape;
  if (a.dx != nullptr) cuda::conv_input_grad(s, a.dtype, a.dy, a.weight, nullptr, a.dx, stream);
  if (a.dweight != nullptr) cuda::conv_weight_grad(s, a.dtype, a.x, a.dy, a.dweight, a.partial, a.parts, stream);
  if (a.dbias != nullptr) cuda::channel_sums(s.batch, s.out_channels, s.out_h * s.out_w, a.dtype, a.dy, a.dbias,
      stream);
}

}  // namespace rl
