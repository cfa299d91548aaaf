#include "native/ops/splat/splat_adam.h"

#include <cmath>

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

constexpr int64_t kStep = 512;  // elements whose scales are spread out at a time

// `scale` [end - begin] holds the scale of each element.
RL_VECTORIZED void update(const SplatAdamArgs& a, const float* scale, int64_t begin, int64_t end) {
  const float b1 = a.beta1, b2 = a.beta2, fresh1 = a.fresh1, fresh2 = a.fresh2, eps = a.eps;
  const float rate = a.rate, correction = a.correction;
  float* __restrict param = a.param + begin;
  float* __restrict m = a.m + begin;
  float* __restrict v = a.v + begin;
  const float* __restrict grad = a.grad + begin;
  const float* __restrict s = scale;
  const int64_t count = end - begin;
  for (int64_t i = 0; i < count; ++i) {
    const float g = grad[i];
    m[i] = b1 * m[i] + fresh1 * g;
    v[i] = b2 * v[i] + fresh2 * g * g;
    const float moved = param[i] - s[i] * (rate * m[i] / (std::sqrt(v[i]) * correction + eps));
    param[i] = s[i] == 0 ? param[i] : moved;
  }
}

}  // namespace

void splat_adam_cpu(const SplatAdamArgs& a) {
  const int64_t grain = std::max<int64_t>(1, 8192 / a.dim);
  ThreadPool::instance().parallel_for(a.rows, grain, [&](int64_t first, int64_t last) {
    float spread[kStep];
    std::fill(spread, spread + kStep, 1.0f);
    for (int64_t begin = first * a.dim; begin < last * a.dim; begin += kStep) {
      const int64_t end = std::min(begin + kStep, last * a.dim);
      if (a.row_scale == nullptr) {
        update(a, spread, begin, end);
      } else if (a.dim == 1) {
        update(a, a.row_scale + begin, begin, end);
      } else {
        int64_t row = begin / a.dim, left = (row + 1) * a.dim - begin;
        for (int64_t i = 0; i < end - begin; ++i) {
          spread[i] = a.row_scale[row];
          if (--left == 0) ++row, left = a.dim;
        }
        update(a, spread, begin, end);
      }
    }
  });
}

std::vector<Tensor> splat_adam(const Tensor& param, const Tensor& grad, const Tensor& m, const Tensor& v,
                               const Tensor& row_scale, double lr, double beta1, double beta2, double eps, int64_t step) {
  const char* op = "splat_adam";
  check_dtype(op, "param", param, DType::f32);
  RL_CHECK(param.rank() >= 1, code::kShape, "splat_adam: expected param [N,...], got ", param.shape());
  check_shape(op, "grad", grad, param.shape(), param);
  check_shape(op, "m", m, param.shape(), param);
  check_shape(op, "v", v, param.shape(), param);
  check_like(op, "grad", grad, param);
  check_like(op, "m", m, param);
  check_like(op, "v", v, param);
  if (row_scale) check_shape(op, "row_scale", row_scale, {param.size(0)}, param);
  check_like(op, "row_scale", row_scale, param);
  RL_CHECK(step >= 1, code::kConfig, "splat_adam: step counts from 1, got ", step);
  RL_CHECK(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1, code::kConfig, "splat_adam: beta1 ", beta1, " and beta2 ",
           beta2, " must lie in [0, 1)");
  RL_CHECK(eps > 0, code::kConfig, "splat_adam: eps must be positive, got ", eps);
  if (param.numel() == 0) return {};
  const double n = static_cast<double>(step);
  const SplatAdamArgs args{param.as<float>(), grad.as<float>(), m.as<float>(), v.as<float>(), row_scale.as<float>(),
                           param.size(0), param.numel() / param.size(0), static_cast<float>(beta1),
                           static_cast<float>(beta2), static_cast<float>(eps), static_cast<float>(1 - beta1),
                           static_cast<float>(1 - beta2), static_cast<float>(lr / (1 - std::pow(beta1, n))),
                           static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, n)))};
  RL_LAUNCH(param.device(), "splat_adam", splat_adam_cpu(args), splat_adam_cuda(args, cuda_stream(param.device())));
  return {};
}

RL_OP(splat_adam);

}  // namespace rl
