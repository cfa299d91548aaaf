#include "native/ops/elem/binary.h"

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

Shape broadcast_shape(const char* op, const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  Shape out;
  for (int i = 0; i < rank; ++i) {
    const int ia = i - (rank - a.rank()), ib = i - (rank - b.rank());
    const int64_t na = ia < 0 ? 1 : a[ia], nb = ib < 0 ? 1 : b[ib];
    RL_CHECK(na == nb || na == 1 || nb == 1, code::kShape, op, ": cannot broadcast a ", a, " with b ", b,
             "; right-aligned sizes must be equal or 1");
    out.push_back(na == 1 ? nb : na);
  }
  return out;
}

BroadcastPlan broadcast_plan(const Shape& out, const Shape& a, const Shape& b) {
  BroadcastPlan plan;
  plan.count = out.numel();
  int64_t step_a = 1, step_b = 1;
  // Built from the last dimension; reversed at the end.
  for (int i = out.rank() - 1; i >= 0; --i) {
    const int ia = i - (out.rank() - a.rank()), ib = i - (out.rank() - b.rank());
    const int64_t na = ia < 0 ? 1 : a[ia], nb = ib < 0 ? 1 : b[ib], n = out[i];
    const int64_t sa = na == 1 ? 0 : step_a, sb = nb == 1 ? 0 : step_b;
    step_a *= na;
    step_b *= nb;
    if (n == 1) continue;
    if (plan.rank > 0) {
      const int last = plan.rank - 1;
      // This dimension continues the one before it when one step here is a full run there, for both operands.
      if (sa == plan.step_a[last] * plan.size[last] && sb == plan.step_b[last] * plan.size[last]) {
        plan.size[last] *= n;
        continue;
      }
    }
    plan.size[plan.rank] = n;
    plan.step_a[plan.rank] = sa;
    plan.step_b[plan.rank] = sb;
    ++plan.rank;
  }
  if (plan.rank == 0) {
    plan.rank = 1;
    plan.size[0] = 1;
  }
  for (int i = 0, j = plan.rank - 1; i < j; ++i, --j) {
    std::swap(plan.size[i], plan.size[j]);
    std::swap(plan.step_a[i], plan.step_a[j]);
    std::swap(plan.step_b[i], plan.step_b[j]);
  }
  return plan;
}

namespace {

constexpr int64_t kGrain = 16384;  // elements per task: below this a second thread costs more than it gives

template <BinaryKind kKind>
inline float apply(float a, float b) {
  if constexpr (kKind == BinaryKind::add) return a + b;
  if constexpr (kKind == BinaryKind::sub) return a - b;
  if constexpr (kKind == BinaryKind::mul) return a * b;
  if constexpr (kKind == BinaryKind::div) return a / b;
  // Selections without branches, which vectorise. A NaN in b falls through the first, one in a is kept by the second.
  if constexpr (kKind == BinaryKind::maximum) {
    const float larger = a > b ? a : b;
    return a != a ? a : larger;
  }
  if constexpr (kKind == BinaryKind::minimum) {
    const float smaller = a < b ? a : b;
    return a != a ? a : smaller;
  }
  if constexpr (kKind == BinaryKind::heaviside) {
    const float half = a == b ? 0.5f : 0.0f, nan = a != a ? a : (b != b ? b : 0.0f);
    return (a > b ? 1.0f : half) + nan;
  }
  if constexpr (kKind == BinaryKind::equal) return a == b ? 1.0f : 0.0f;
}

// One run of the inner loop; the steps are 0 or 1.
template <BinaryKind kKind, class T>
void run_inner(const T* a, int64_t step_a, const T* b, int64_t step_b, T* __restrict out, int64_t count) {
  if (step_a == 1 && step_b == 1) {
    for (int64_t i = 0; i < count; ++i) out[i] = from_float<T>(apply<kKind>(to_float(a[i]), to_float(b[i])));
  } else if (step_a == 1) {
    const float value = to_float(*b);
    for (int64_t i = 0; i < count; ++i) out[i] = from_float<T>(apply<kKind>(to_float(a[i]), value));
  } else if (step_b == 1) {
    const float value = to_float(*a);
    for (int64_t i = 0; i < count; ++i) out[i] = from_float<T>(apply<kKind>(value, to_float(b[i])));
  } else {
    const float value = apply<kKind>(to_float(*a), to_float(*b));
    for (int64_t i = 0; i < count; ++i) out[i] = from_float<T>(value);
  }
}

template <BinaryKind kKind, class T>
void run(const BinaryArgs& args) {
  const BroadcastPlan plan = args.plan;
  const T* a = static_cast<const T*>(args.a);
  const T* b = static_cast<const T*>(args.b);
  T* out = static_cast<T*>(args.out);
  const int last = plan.rank - 1;
  const int64_t inner = plan.size[last];
  ThreadPool::instance().parallel_for(plan.count, kGrain, [&](int64_t begin, int64_t end) {
    int64_t index[Shape::kMaxRank] = {};
    int64_t row = begin / inner, offset_a = 0, offset_b = 0;
    for (int d = last - 1; d >= 0; --d) {
      index[d] = row % plan.size[d];
      row /= plan.size[d];
      offset_a += index[d] * plan.step_a[d];
      offset_b += index[d] * plan.step_b[d];
    }
    int64_t column = begin % inner;
    for (int64_t i = begin; i < end;) {
      const int64_t count = std::min(inner - column, end - i);
      run_inner<kKind>(a + offset_a + column * plan.step_a[last], plan.step_a[last],
                       b + offset_b + column * plan.step_b[last], plan.step_b[last], out + i, count);
      i += count;
      column = 0;
      for (int d = last - 1; d >= 0; --d) {
        offset_a += plan.step_a[d];
        offset_b += plan.step_b[d];
        if (++index[d] < plan.size[d]) break;
        index[d] = 0;
        offset_a -= plan.size[d] * plan.step_a[d];
        offset_b -= plan.size[d] * plan.step_b[d];
      }
    }
  });
}

template <class T>
void dispatch(const BinaryArgs& args) {
  switch (args.kind) {
    case BinaryKind::add: return run<BinaryKind::add, T>(args);
    case BinaryKind::sub: return run<BinaryKind::sub, T>(args);
    case BinaryKind::mul: return run<BinaryKind::mul, T>(args);
    case BinaryKind::div: return run<BinaryKind::div, T>(args);
    case BinaryKind::maximum: return run<BinaryKind::maximum, T>(args);
    case BinaryKind::minimum: return run<BinaryKind::minimum, T>(args);
    case BinaryKind::heaviside: return run<BinaryKind::heaviside, T>(args);
    case BinaryKind::equal: return run<BinaryKind::equal, T>(args);
  }
}

BinaryKind kind_from_name(const std::string& name) {
  static constexpr const char* kNames[] = {"add", "sub", "mul", "div", "maximum", "minimum", "heaviside", "equal"};
  for (int i = 0; i < 8; ++i)
    if (name == kNames[i]) return static_cast<BinaryKind>(i);
  throw Error(code::kConfig, str("binary: unknown kind '", name,
                                 "', expected add, sub, mul, div, maximum, minimum, heaviside or equal"));
}

}  // namespace

void binary_cpu(const BinaryArgs& args) {
  RL_DISPATCH_FLOAT(args.dtype, T, { dispatch<T>(args); });
}

Tensor binary(const Tensor& a, const Tensor& b, const std::string& kind) {
  const BinaryKind op = kind_from_name(kind);
  check_float("binary", "a", a);
  check_float("binary", "b", b);
  check_like("binary", "b", b, a);
  const Shape shape = broadcast_shape(kind.c_str(), a.shape(), b.shape());
  Tensor out = Tensor::empty(a.device(), shape, a.dtype());
  if (out.numel() == 0) return out;
  const BinaryArgs args{a.data(), b.data(), out.data(), broadcast_plan(shape, a.shape(), b.shape()), op, a.dtype()};
  RL_LAUNCH(a.device(), "binary", binary_cpu(args), binary_cuda(args, cuda_stream(a.device())));
  return out;
}

RL_OP(binary);

}  // namespace rl
