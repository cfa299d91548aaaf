#include "native/ops/nn/modulate.h"

#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

void check(const char* op, const Tensor& x, const char* name, const Tensor& row) {
  check_float(op, "x", x);
  check_rank(op, "x", x, 3);
  check_shape(op, name, row, {x.size(0), x.size(2)}, x);
  check_like(op, name, row, x);
}

}  // namespace

Tensor modulate(const Tensor& x, const Tensor& shift, const Tensor& scale, double eps) {
  check("modulate", x, "shift", shift);
  check("modulate", x, "scale", scale);
  Tensor y = Tensor::empty(x.device(), x.shape(), x.dtype());
  const NormRowsArgs args{x.data(), scale.data(), shift.data(), y.data(), x.size(0), x.size(1), x.size(2),
                          1.0f, static_cast<float>(eps), x.dtype()};
  RL_LAUNCH(x.device(), "modulate", norm_rows_cpu(args), norm_rows_cuda(args, cuda_stream(x.device())));
  return y;
}

std::vector<Tensor> modulate_bwd(const Tensor& dy, const Tensor& x, const Tensor& scale, double eps, bool need_dx,
                                 bool need_dshift, bool need_dscale) {
  check("modulate_bwd", x, "scale", scale);
  check_shape("modulate_bwd", "dy", dy, x.shape(), x);
  check_like("modulate_bwd", "dy", dy, x);
  Device& device = x.device();
  Tensor dx, dshift, dscale, partial, stats;
  if (need_dx) dx = Tensor::empty(device, x.shape(), x.dtype());
  if (need_dshift) dshift = Tensor::empty(device, scale.shape(), x.dtype());
  if (need_dscale) dscale = Tensor::empty(device, scale.shape(), x.dtype());
  if (need_dshift || need_dscale) {
    partial = Tensor::empty(device, {2, x.size(0), chunks_of(x.size(1)), x.size(2)});
    if (device.is_cuda()) stats = Tensor::empty(device, {x.size(0), x.size(1), 2});
  }
  const NormRowsBwdArgs args{dy.data(), x.data(), scale.data(), dx.data(), dscale.data(), dshift.data(),
                             partial.as<float>(), stats.as<float>(), x.size(0), x.size(1), x.size(2), 1.0f,
                             static_cast<float>(eps), x.dtype()};
  RL_LAUNCH(device, "modulate_bwd", norm_rows_bwd_cpu(args), norm_rows_bwd_cuda(args, cuda_stream(device)));
  return {dx, dshift, dscale};
}

RL_OP(modulate);
RL_OP(modulate_bwd);

}  // namespace rl
