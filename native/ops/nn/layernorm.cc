#include "native/ops/nn/layernorm.h"

#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

void check(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check_float(op, "x", x);
  RL_CHECK(x.rank() >= 1, code::kShape, op, ": x must have at least one dimension");
  if (weight) check_shape(op, "weight", weight, {x.size(-1)}, x);
  if (bias) check_shape(op, "bias", bias, {x.size(-1)}, x);
  check_like(op, "weight", weight, x);
  check_like(op, "bias", bias, x);
}

int64_t rows_of(const Tensor& x) { return x.shape().numel(0, x.rank() - 1); }

}  // namespace

Tensor layernorm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  check("layernorm", x, weight, bias);
  Tensor y = Tensor::empty(x.device(), x.shape(), x.dtype());
  const NormRowsArgs args{x.data(), weight.data(), bias.data(), y.data(), 1, rows_of(x), x.size(-1),
                          0.0f, static_cast<float>(eps), x.dtype()};
  RL_LAUNCH(x.device(), "layernorm", norm_rows_cpu(args), norm_rows_cuda(args, cuda_stream(x.device())));
  return y;
}

std::vector<Tensor> layernorm_bwd(const Tensor& dy, const Tensor& x, const Tensor& weight, double eps, bool need_dx,
                                  bool need_dweight, bool need_dbias) {
  check("layernorm_bwd", x, weight, {});
  check_shape("layernorm_bwd", "dy", dy, x.shape(), x);
  check_like("layernorm_bwd", "dy", dy, x);
  Device& device = x.device();
  const int64_t rows = rows_of(x), dim = x.size(-1);
  Tensor dx, dweight, dbias, partial, stats;
  if (need_dx) dx = Tensor::empty(device, x.shape(), x.dtype());
  if (need_dweight) dweight = Tensor::empty(device, {dim}, x.dtype());
  if (need_dbias) dbias = Tensor::empty(device, {dim}, x.dtype());
  if (need_dweight || need_dbias) {
    partial = Tensor::empty(device, {2, chunks_of(rows), dim});
    if (device.is_cuda()) stats = Tensor::empty(device, {rows, 2});
  }
  const NormRowsBwdArgs args{dy.data(), x.data(), weight.data(), dx.data(), dweight.data(), dbias.data(),
                             partial.as<float>(), stats.as<float>(), 1, rows, dim, 0.0f, static_cast<float>(eps), x.dtype()};
  RL_LAUNCH(device, "layernorm_bwd", norm_rows_bwd_cpu(args), norm_rows_bwd_cuda(args, cuda_stream(device)));
  return {dx, dweight, dbias};
}

RL_OP(layernorm);
RL_OP(layernorm_bwd);

}  // namespace rl
