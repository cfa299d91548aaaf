#include "native/ops/elem/scalar.h"

#include <cmath>

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

template <class T, class F>
void map(const ScalarArgs& args, F f) {
  const T* x = static_cast<const T*>(args.x);
  T* y = static_cast<T*>(args.y);
  ThreadPool::instance().parallel_for(args.count, 16384, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = from_float<T>(f(to_float(x[i])));
  });
}

ScalarKind kind_from_name(const std::string& name) {
  static constexpr const char* kNames[] = {"affine", "clamp", "power", "within"};
  for (int i = 0; i < 4; ++i)
    if (name == kNames[i]) return static_cast<ScalarKind>(i);
  throw Error(code::kConfig, str("scalar: unknown kind '", name, "', expected affine, clamp, power or within"));
}

}  // namespace

void scalar_cpu(const ScalarArgs& args) {
  const float p = args.p, q = args.q;
  RL_DISPATCH_FLOAT(args.dtype, T, {
    switch (args.kind) {
      case ScalarKind::affine: return map<T>(args, [=](float v) { return v * p + q; });
      case ScalarKind::clamp: return map<T>(args, [=](float v) { return v < p ? p : (v > q ? q : v); });
      case ScalarKind::power: return map<T>(args, [=](float v) { return std::pow(v, p); });
      case ScalarKind::within:
        return map<T>(args, [=](float v) { return v >= p && v <= q ? 1.0f : (v != v ? v : 0.0f); });
    }
  });
}

Tensor scalar(const Tensor& x, const std::string& kind, double p, double q) {
  const ScalarKind op = kind_from_name(kind);
  check_float("scalar", "x", x);
  RL_CHECK((op != ScalarKind::clamp && op != ScalarKind::within) || p <= q, code::kConfig, kind, ": lower bound ", p,
           " is above upper bound ", q);
  Tensor y = Tensor::empty(x.device(), x.shape(), x.dtype());
  if (y.numel() == 0) return y;
  const ScalarArgs args{x.data(), y.data(), x.numel(), static_cast<float>(p), static_cast<float>(q), op, x.dtype()};
  RL_LAUNCH(x.device(), "scalar", scalar_cpu(args), scalar_cuda(args, cuda_stream(x.device())));
  return y;
}

RL_OP(scalar);

}  // namespace rl
