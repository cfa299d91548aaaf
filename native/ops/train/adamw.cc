#include "native/ops/train/adamw.h"

#include <cmath>

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

RL_VECTORIZED void update(const AdamwArgs& a, int64_t begin, int64_t end) {
  const float b1 = a.beta1, b2 = a.beta2, fresh1 = a.fresh1, fresh2 = a.fresh2, eps = a.eps;
  const float keep = a.keep, rate = a.rate, correction = a.correction;
  float* __restrict param = a.param;
  float* __restrict m = a.m;
  float* __restrict v = a.v;
  const float* __restrict grad = a.grad;
  for (int64_t i = begin; i < end; ++i) {
    const float g = grad[i];
    m[i] = b1 * m[i] + fresh1 * g;
    v[i] = b2 * v[i] + fresh2 * g * g;
    param[i] = param[i] * keep - rate * m[i] / (std::sqrt(v[i]) * correction + eps);
  }
}

}  // namespace

void adamw_cpu(const AdamwArgs& args) {
  ThreadPool::instance().parallel_for(args.count, 8192, [&](int64_t begin, int64_t end) { update(args, begin, end); });
}

std::vector<Tensor> adamw(const Tensor& param, const Tensor& grad, const Tensor& m, const Tensor& v, double lr, double beta1,
                          double beta2, double eps, double weight_decay, int64_t step) {
  check_dtype("adamw", "param", param, DType::f32);
  check_shape("adamw", "grad", grad, param.shape(), param);
  check_shape("adamw", "m", m, param.shape(), param);
  check_shape("adamw", "v", v, param.shape(), param);
  check_like("adamw", "grad", grad, param);
  check_like("adamw", "m", m, param);
  check_like("adamw", "v", v, param);
  RL_CHECK(step >= 1, code::kConfig, "adamw: step counts from 1, got ", step);
  RL_CHECK(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1, code::kConfig, "adamw: beta1 ", beta1, " and beta2 ", beta2,
           " must lie in [0, 1)");
  if (param.numel() == 0) return {};
  const double n = static_cast<double>(step);
  const AdamwArgs args{param.as<float>(), grad.as<float>(), m.as<float>(), v.as<float>(), param.numel(),
                       static_cast<float>(beta1), static_cast<float>(beta2), static_cast<float>(eps),
                       static_cast<float>(1 - beta1), static_cast<float>(1 - beta2),
                       static_cast<float>(1 - lr * weight_decay), static_cast<float>(lr / (1 - std::pow(beta1, n))),
                       static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, n)))};
  RL_LAUNCH(param.device(), "adamw", adamw_cpu(args), adamw_cuda(args, cuda_stream(param.device())));
  return {};
}

RL_OP(adamw);

}  // namespace rl
