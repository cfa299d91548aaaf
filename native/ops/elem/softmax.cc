#include "native/ops/elem/softmax.h"

#include <cmath>

#include "native/backend/cpu/vec_math.h"
#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

constexpr int kLanes = 8;  // independent partial results: one alone would wait for each addition

template <class T>
float peak_of(const T* x, int64_t dim) {
  float lanes[kLanes];
  for (float& lane : lanes) lane = -HUGE_VALF;
  const int64_t whole = dim / kLanes * kLanes;
  const auto larger = [](float a, float v) { return (a < v) | (v != v) ? v : a; };
  for (int64_t i = 0; i < whole; i += kLanes)
    for (int k = 0; k < kLanes; ++k) lanes[k] = larger(lanes[k], to_float(x[i + k]));
  for (int64_t i = whole; i < dim; ++i) lanes[0] = larger(lanes[0], to_float(x[i]));
  for (int k = 1; k < kLanes; ++k) lanes[0] = larger(lanes[0], lanes[k]);
  return lanes[0];
}

// Σ term(i) in f64, in a fixed order.
template <class Term>
double sum_of(int64_t dim, Term term) {
  double lanes[kLanes] = {}, sum = 0;
  const int64_t whole = dim / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes)
    for (int k = 0; k < kLanes; ++k) lanes[k] += term(i + k);
  for (int64_t i = whole; i < dim; ++i) sum += term(i);
  for (double lane : lanes) sum += lane;
  return sum;
}

template <class T>
void forward_row(const T* x, T* y, float* e, int64_t dim, bool log) {
  const float peak = peak_of(x, dim);
  for (int64_t i = 0; i < dim; ++i) e[i] = to_float(x[i]) - peak;
  cpu::vexp(e, e, dim);
  const double sum = sum_of(dim, [&](int64_t i) -> double { return e[i]; });
  if (log) {
    const float shift = static_cast<float>(std::log(sum));
    for (int64_t i = 0; i < dim; ++i) y[i] = from_float<T>(to_float(x[i]) - peak - shift);
  } else {
    const float factor = static_cast<float>(1.0 / sum);
    for (int64_t i = 0; i < dim; ++i) y[i] = from_float<T>(e[i] * factor);
  }
}

template <class T>
void backward_row(const T* dy, const T* y, T* dx, float* e, int64_t dim, bool log) {
  if (log) {
    const double sum = sum_of(dim, [&](int64_t i) -> double { return to_float(dy[i]); });
    for (int64_t i = 0; i < dim; ++i) e[i] = to_float(y[i]);
    cpu::vexp(e, e, dim);
    const float total = static_cast<float>(sum);
    for (int64_t i = 0; i < dim; ++i) dx[i] = from_float<T>(to_float(dy[i]) - e[i] * total);
  } else {
    const double sum = sum_of(dim, [&](int64_t i) { return static_cast<double>(to_float(dy[i])) * to_float(y[i]); });
    // In f64: the difference cancels in rows that are nearly one-hot.
    for (int64_t i = 0; i < dim; ++i) dx[i] = from_float<T>(static_cast<float>(to_float(y[i]) * (to_float(dy[i]) - sum)));
  }
}

Tensor launch(const Tensor& dy, const Tensor& x, bool log) {
  Tensor out = Tensor::empty(x.device(), x.shape(), x.dtype());
  if (out.numel() == 0) return out;
  const SoftmaxArgs args{dy.data(), x.data(), out.data(), x.numel() / x.size(-1), x.size(-1), log, x.dtype()};
  RL_LAUNCH(x.device(), "softmax", softmax_cpu(args), softmax_cuda(args, cuda_stream(x.device())));
  return out;
}

}  // namespace

void softmax_cpu(const SoftmaxArgs& args) {
  RL_DISPATCH_FLOAT(args.dtype, T, {
    ThreadPool::instance().parallel_for(args.rows, grain_for(args.dim), [&](int64_t begin, int64_t end) {
      std::vector<float> e(static_cast<size_t>(args.dim));
      for (int64_t row = begin; row < end; ++row) {
        const T* x = static_cast<const T*>(args.x) + row * args.dim;
        T* out = static_cast<T*>(args.out) + row * args.dim;
        if (args.dy == nullptr) {
          forward_row(x, out, e.data(), args.dim, args.log);
        } else {
          backward_row(static_cast<const T*>(args.dy) + row * args.dim, x, out, e.data(), args.dim, args.log);
        }
      }
    });
  });
}

Tensor softmax(const Tensor& x, bool log) {
  check_float("softmax", "x", x);
  RL_CHECK(x.rank() >= 1, code::kShape, "softmax: x must have at least one dimension");
  return launch(Tensor{}, x, log);
}

Tensor softmax_bwd(const Tensor& dy, const Tensor& y, bool log) {
  check_float("softmax_bwd", "y", y);
  RL_CHECK(y.rank() >= 1, code::kShape, "softmax_bwd: y must have at least one dimension");
  check_shape("softmax_bwd", "dy", dy, y.shape(), y);
  check_like("softmax_bwd", "dy", dy, y);
  return launch(dy, y, log);
}

RL_OP(softmax);
RL_OP(softmax_bwd);

}  // namespace rl
