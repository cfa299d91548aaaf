#include "native/ops/train/in_place.h"

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

template <class Y, class X>
void run(const InPlaceArgs& args) {
  ThreadPool::instance().parallel_for(args.count, 16384, [&](int64_t begin, int64_t end) {
    Y* y = static_cast<Y*>(args.y);
    const X* x = static_cast<const X*>(args.x);
    const float factor = args.factor;
    switch (args.kind) {
      case InPlaceKind::scale:
        if (factor == 0) {
          std::fill(y + begin, y + end, from_float<Y>(0.0f));
        } else {
          for (int64_t i = begin; i < end; ++i) y[i] = from_float<Y>(to_float(y[i]) * factor);
        }
        return;
      case InPlaceKind::axpy:
        for (int64_t i = begin; i < end; ++i) y[i] = from_float<Y>(to_float(y[i]) + factor * to_float(x[i]));
        return;
      case InPlaceKind::lerp:
        for (int64_t i = begin; i < end; ++i) {
          const float old = to_float(y[i]);
          y[i] = from_float<Y>(old + factor * (to_float(x[i]) - old));
        }
        return;
    }
  });
}

std::vector<Tensor> launch(const char* op, const Tensor& y, const Tensor& x, double factor, InPlaceKind kind) {
  check_float(op, "y", y);
  if (kind != InPlaceKind::scale) {
    check_float(op, "x", x);
    check_shape(op, "x", x, y.shape(), y);
    RL_CHECK(&x.device() == &y.device(), code::kShape, op, ": x is on ", x.device().name(), " but y is on ",
             y.device().name());
  }
  if (y.numel() == 0) return {};
  const InPlaceArgs args{y.data(), x.data(), y.numel(), static_cast<float>(factor), kind, y.dtype(), x.dtype()};
  RL_LAUNCH(y.device(), op, in_place_cpu(args), in_place_cuda(args, cuda_stream(y.device())));
  return {};
}

}  // namespace

void in_place_cpu(const InPlaceArgs& args) {
  RL_DISPATCH_FLOAT(args.y_dtype, Y, { RL_DISPATCH_FLOAT(args.x_dtype, X, { run<Y, X>(args); }); });
}

std::vector<Tensor> scale_in_place(const Tensor& y, double factor) {
  return launch("scale_in_place", y, Tensor{}, factor, InPlaceKind::scale);
}
std::vector<Tensor> axpy_in_place(const Tensor& y, const Tensor& x, double factor) {
  return launch("axpy_in_place", y, x, factor, InPlaceKind::axpy);
}
std::vector<Tensor> lerp_in_place(const Tensor& y, const Tensor& x, double weight) {
  return launch("lerp_in_place", y, x, weight, InPlaceKind::lerp);
}

RL_OP(scale_in_place);
RL_OP(axpy_in_place);
RL_OP(lerp_in_place);

}  // namespace rl
