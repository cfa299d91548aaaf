#include "native/ops/conv/conv_transpose2d.h"

#include "native/ops/check.h"
#include "native/ops/dispatch.h"

namespace rl {

void conv_transpose2d_cpu(const ConvTranspose2dArgs& a) {
  cpu::conv_input_grad(a.shape, a.dtype, a.bf16_products, a.x, a.weight, a.bias, a.y);
}

void conv_transpose2d_bwd_cpu(const ConvTranspose2dBwdArgs& a) {
  const cpu::ConvShape& s = a.shape;
  if (a.dx != nullptr) cpu::conv_forward(s, a.dtype, a.bf16_products, a.dy, a.weight, nullptr, a.dx);
  if (a.dweight != nullptr) cpu::conv_weight_grad(s, a.dtype, a.bf16_products, a.dy, a.x, a.dweight);
  if (a.dbias != nullptr) cpu::channel_sums(s.batch, s.in_channels, s.in_h * s.in_w, a.dtype, a.dy, a.dbias);
}

namespace {

cpu::ConvShape check(const char* op, const Tensor& x, const Tensor& weight, int64_t stride) {
  check_float(op, "x", x);
  check_rank(op, "x", x, 4);
  check_rank(op, "weight", weight, 4);
  check_like(op, "weight", weight, x);
  RL_CHECK(weight.size(0) == x.size(1), code::kShape, op, ": expected weight [", x.size(1), ",O,kh,kw], got ",
           weight.shape(), " (x is ", x.shape(), ")");
  RL_CHECK(stride >= 1, code::kShape, op, ": stride must be at least 1, got ", stride);
  RL_CHECK(weight.size(2) >= 1 && weight.size(3) >= 1 && x.size(2) >= 1 && x.size(3) >= 1, code::kShape, op,
           ": kernel and image must have at least one pixel, got weight ", weight.shape(), ", x ", x.shape());
  return {x.size(0), weight.size(1), (x.size(2) - 1) * stride + weight.size(2),
      (x.size(3) - 1) * stride + weight.size(3),
          x.size(1), x.size(2), x.size(3), weight.size(2), weight.size(3), stride, 0, 0};
}

}  // namespace

Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t stride) {
  const cpu::ConvShape s = check("conv_transpose2d", x, weight, stride);
  if (bias) {
    check_shape("conv_transpose2d", "bias", bias, {s.in_channels}, x);
    check_like("conv_transpose2d", "bias", bias, x);
  }
  Tensor y = Tensor::empty(x.device(), {s.batch, s.in_channels, s.in_h, s.in_w}, x.dtype());
  const ConvTranspose2dArgs args{s, x.data(), weight.data(), bias.data(), y.data(), x.dtype(), bf16_products(x)};
  RL_LAUNCH(x.device(), "conv_transpose2d", conv_transpose2d_cpu(args),
      conv_transpose2d_cuda(args, cuda_stream(x.device())));
  return y;
}

std::vector<Tensor> conv_transpose2d_bwd(const Tensor& dy, const Tensor& x, const Tensor& weight, int64_t stride,
    bool need_dx,
                                         bool need_dweight, bool need_dbias) {
  const cpu::ConvShape s = check("conv_transpose2d_bwd", x, weight, stride);
  check_shape("conv_transpose2d_bwd", "dy", dy, {s.batch, s.in_channels, s.in_h, s.in_w}, x);
  check_like("conv_transpose2d_bwd", "dy", dy, x);
  Tensor dx, dweight, dbias, partial;
  int64_t parts = 0;
  if (need_dx) dx = Tensor::empty(x.device(), x.shape(), x.dtype());
  if (need_dweight) {
    dweight = Tensor::empty(x.device(), weight.shape(), x.dtype());
    if (x.device().is_cuda()) {
      parts = conv2d_weight_parts(s);
      partial = Tensor::empty(x.device(), {parts, weight.numel()});
    }
  }
  if (need_dbias) dbias = Tensor::empty(x.device(), {s.in_channels}, x.dtype());
  const ConvTranspose2dBwdArgs args{s, dy.data(), x.data(), weight.data(), dx.data(), dweight.data(), dbias.data(),
                                    partial.as<float>(), parts, x.dtype(), bf16_products(x)};
  RL_LAUNCH(x.device(), "conv_transpose2d_bwd", conv_transpose2d_bwd_cpu(args),
            conv_transpose2d_bwd_cuda(args, cuda_stream(x.device())));
  return {dx, dweight, dbias};
}

RL_OP(conv_transpose2d);
RL_OP(conv_transpose2d_bwd);

}  // namespace rl
