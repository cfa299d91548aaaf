#include "native/ops/conv/conv2d.h"

#include <algorithm>

#include "native/ops/check.h"
#include "native/ops/dispatch.h"

namespace rl {

void conv2d_cpu(const Conv2dArgs& a) { cpu::conv_forward(a.shape, a.dtype, a.bf16_products, a.x, a.weight, a.bias,
    a.y); }

void conv2d_bwd_cpu(const Conv2dBwdArgs& a) {
  const cpu::ConvShape& s = a.shape;
  if (a.dx != nullptr) cpu::conv_input_grad(s, a.dtype, a.bf16_products, a.dy, a.weight, nullptr, a.dx);
  if (a.dweight != nullptr) cpu::conv_weight_grad(s, a.dtype, a.bf16_products, a.x, a.dy, a.dweight);
  if (a.dbias != nullptr) cpu::channel_sums(s.batch, s.out_channels, s.out_h * s.out_w, a.dtype, a.dy, a.dbias);
}

bool bf16_products(const Tensor& x) {
  return x.dtype() == DType::bf16 || x.device().matmul_precision == MatmulPrecision::bf16;
}

int64_t conv2d_weight_parts(const cpu::ConvShape& s) {
  const int64_t size = std::max<int64_t>(1, s.out_channels * s.in_channels * s.kernel_h * s.kernel_w);
  const int64_t pixels = s.batch * s.out_h * s.out_w;
  return std::clamp<int64_t>(std::min(pixels / 1024, (int64_t{1} << 20) / size), 1, 64);
}

namespace {

cpu::ConvShape check(const char* op, const Tensor& x, const Tensor& weight, int64_t stride, const Ints& padding) {
  check_float(op, "x", x);
  check_rank(op, "x", x, 4);
  check_rank(op, "weight", weight, 4);
  check_like(op, "weight", weight, x);
  RL_CHECK(weight.size(1) == x.size(1), code::kShape, op, ": expected weight [O,", x.size(1), ",kh,kw], got ",
           weight.shape(), " (x is ", x.shape(), ")");
  RL_CHECK(stride >= 1, code::kShape, op, ": stride must be at least 1, got ", stride);
  RL_CHECK(padding.size() == 4, code::kShape, op, ": padding must be [top,left,bottom,right], got ", padding.size(),
           " numbers");
  for (int64_t side : padding) RL_CHECK(side >= 0, code::kShape, op, ": padding must not be negative, got ", side);
  const int64_t height = x.size(2) + padding[0] + padding[2], width = x.size(3) + padding[1] + padding[3];
  RL_CHECK(weight.size(2) >= 1 && weight.size(3) >= 1 && height >= weight.size(2) && width >= weight.size(3),
           code::kShape, op, ": kernel ", weight.shape(), " does not fit the padded image of ", height, "x", width,
           " (x is ", x.shape(), ")");
  return {x.size(0), x.size(1), x.size(2), x.size(3), weight.size(0), (height - weight.size(2)) / stride + 1,
          (width - weight.size(3)) / stride + 1, weight.size(2), weight.size(3), stride, padding[0], padding[1]};
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t stride, const Ints& padding) {
  const cpu::ConvShape s = check("conv2d", x, weight, stride, padding);
  if (bias) {
    check_shape("conv2d", "bias", bias, {s.out_channels}, x);
    check_like("conv2d", "bias", bias, x);
  }
  Tensor y = Tensor::empty(x.device(), {s.batch, s.out_channels, s.out_h, s.out_w}, x.dtype());
  const Conv2dArgs args{s, x.data(), weight.data(), bias.data(), y.data(), x.dtype(), bf16_products(x)};
  RL_LAUNCH(x.device(), "conv2d", conv2d_cpu(args), conv2d_cuda(args, cuda_stream(x.device())));
  return y;
}

std::vector<Tensor> conv2d_bwd(const Tensor& dy, const Tensor& x, const Tensor& weight, int64_t stride,
    const Ints& padding,
                               bool need_dx, bool need_dweight, bool need_dbias) {
  const cpu::ConvShape s = check("conv2d_bwd", x, weight, stride, padding);
  check_shape("conv2d_bwd", "dy", dy, {s.batch, s.out_channels, s.out_h, s.out_w}, x);
  check_like("conv2d_bwd", "dy", dy, x);
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
  if (need_dbias) dbias = Tensor::empty(x.device(), {s.out_channels}, x.dtype());
  const Conv2dBwdArgs args{s, dy.data(), x.data(), weight.data(), dx.data(), dweight.data(), dbias.data(),
                           partial.as<float>(), parts, x.dtype(), bf16_products(x)};
  RL_LAUNCH(x.device(), "conv2d_bwd", conv2d_bwd_cpu(args), conv2d_bwd_cuda(args, cuda_stream(x.device())));
  return {dx, dweight, dbias};
}

RL_OP(conv2d);
RL_OP(conv2d_bwd);

}  // namespace rl
