#include "native/ops/elem/unary.h"

#include <cmath>
#include <cstring>

#include "native/backend/cpu/vec_math.h"
#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

constexpr int64_t kBlock = 2048;  // elements kept in the L1 cache between two passes

template <class F>
inline void map(const float* x, float* y, int64_t count, F f) {
  for (int64_t i = 0; i < count; ++i) y[i] = f(x[i]);
}
template <class F>
inline void map_grad(const float* dy, const float* x, float* dx, int64_t count, F derivative) {
  for (int64_t i = 0; i < count; ++i) dx[i] = dy[i] * derivative(x[i]);
}

// x = m 2^e with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh(s) with s = (m - 1)/(m + 1) as a series; no branches. Subnormal
// numbers are scaled up first; zero, infinity, NaN and negative numbers are patched in at the end.
inline float log_of(float x) {
  const float small = x < 1.17549435e-38f ? 1.0f : 0.0f, scaled = x < 1.17549435e-38f ? x * 8388608.0f : x;
  int32_t bits;
  std::memcpy(&bits, &scaled, sizeof bits);
  const int32_t exponent = (bits - 0x3F3504F3) >> 23;
  bits -= exponent << 23;
  float m;
  std::memcpy(&m, &bits, sizeof m);
  const float e = static_cast<float>(exponent) - 23.0f * small, s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
  float p = s2 * 0.22222222f + 0.28571429f;
  p = p * s2 + 0.4f;
  p = p * s2 + 0.66666667f;
  // ln 2 in two parts: e times the first is exact.
  float y = e * 0.693359375f + ((s * s2 * p + e * -2.12194440e-4f) + 2.0f * s);
  y = x > 3.40282347e38f ? x : y;
  y = x == 0.0f ? -HUGE_VALF : y;
  return x >= 0.0f ? y : NAN;
}

cpu::Activation activation_of(UnaryKind kind) {
  switch (kind) {
    case UnaryKind::gelu_tanh: return cpu::Activation::gelu_tanh;
    case UnaryKind::gelu_erf: return cpu::Activation::gelu_erf;
    case UnaryKind::quick_gelu: return cpu::Activation::quick_gelu;
    case UnaryKind::silu: return cpu::Activation::silu;
    default: return cpu::Activation::relu;
  }
}

void forward(UnaryKind kind, const float* x, float* y, int64_t n) {
  switch (kind) {
    case UnaryKind::softplus:
      return map(x, y, n, [](float v) { return v > 0 ? v + std::log1p(std::exp(-v)) : std::log1p(std::exp(v)); });
    case UnaryKind::exp: return cpu::vexp(x, y, n);
    case UnaryKind::expm1: return map(x, y, n, [](float v) { return std::expm1(v); });
    case UnaryKind::log: return map(x, y, n, log_of);
    case UnaryKind::sqrt: return map(x, y, n, [](float v) { return std::sqrt(v); });
    case UnaryKind::square: return map(x, y, n, [](float v) { return v * v; });
    case UnaryKind::abs: return map(x, y, n, [](float v) { return std::fabs(v); });
    case UnaryKind::sigmoid: return cpu::vsigmoid(x, y, n);
    case UnaryKind::tanh: return cpu::vtanh(x, y, n);
    case UnaryKind::sign: return map(x, y, n, [](float v) { return v > 0 ? 1.0f : (v < 0 ? -1.0f : v * 0.0f); });
    case UnaryKind::neg: return map(x, y, n, [](float v) { return -v; });
    case UnaryKind::reciprocal: return map(x, y, n, [](float v) { return 1.0f / v; });
    default: return cpu::vactivation(activation_of(kind), x, y, n);
  }
}

void backward(UnaryKind kind, const float* dy, const float* x, float* dx, int64_t n) {
  float t[kBlock];
  switch (kind) {
    case UnaryKind::softplus:
      cpu::vsigmoid(x, t, n);
      return map_grad(dy, t, dx, n, [](float s) { return s; });
    case UnaryKind::exp:
    case UnaryKind::expm1:
      cpu::vexp(x, t, n);
      return map_grad(dy, t, dx, n, [](float e) { return e; });
    case UnaryKind::log:
    case UnaryKind::reciprocal:
      if (kind == UnaryKind::log) return map_grad(dy, x, dx, n, [](float v) { return 1.0f / v; });
      return map_grad(dy, x, dx, n, [](float v) { return -1.0f / (v * v); });
    case UnaryKind::sqrt: return map_grad(dy, x, dx, n, [](float v) { return 0.5f / std::sqrt(v); });
    case UnaryKind::square: return map_grad(dy, x, dx, n, [](float v) { return v + v; });
    case UnaryKind::abs:
      return map_grad(dy, x, dx, n, [](float v) { return v > 0 ? 1.0f : (v < 0 ? -1.0f : v * 0.0f); });
    case UnaryKind::sigmoid:
      cpu::vsigmoid(x, t, n);
      return map_grad(dy, t, dx, n, [](float s) { return s * (1.0f - s); });
    case UnaryKind::tanh:
      cpu::vtanh(x, t, n);
      return map_grad(dy, t, dx, n, [](float s) { return (1.0f - s) * (1.0f + s); });
    case UnaryKind::sign: return map_grad(dy, x, dx, n, [](float v) { return v != v ? v : 0.0f; });
    case UnaryKind::neg: return map(dy, dx, n, [](float v) { return -v; });
    default: return cpu::vactivation_grad(activation_of(kind), x, dy, dx, n);
  }
}

// Contiguous f32 view of count elements: the data itself, or its conversion in `scratch`.
inline const float* widen(const float* x, float*, int64_t) { return x; }
inline const float* widen(const cpu::bf16* x, float* scratch, int64_t count) {
  cpu::to_float(x, scratch, count);
  return scratch;
}
inline float* target(float* y, float*) { return y; }
inline float* target(cpu::bf16*, float* scratch) { return scratch; }
inline void narrow(const float*, float*, int64_t) {}
inline void narrow(const float* y, cpu::bf16* out, int64_t count) { cpu::to_bf16(y, out, count); }

UnaryKind kind_from_name(const std::string& name) {
  static constexpr const char* kNames[] = {"gelu_tanh", "gelu_erf", "quick_gelu", "silu", "relu", "softplus", "exp",
                                           "expm1", "log", "sqrt", "square", "abs", "sigmoid", "tanh", "sign", "neg",
                                           "reciprocal"};
  std::string known;
  for (int i = 0; i < static_cast<int>(std::size(kNames)); ++i) {
    if (name == kNames[i]) return static_cast<UnaryKind>(i);
    known += std::string(" ") + kNames[i];
  }
  throw Error(code::kConfig, str("unary: unknown kind '", name, "', expected one of", known));
}

Tensor launch(const Tensor& dy, const Tensor& x, UnaryKind kind) {
  Tensor out = Tensor::empty(x.device(), x.shape(), x.dtype());
  if (out.numel() == 0) return out;
  const UnaryArgs args{dy.data(), x.data(), out.data(), x.numel(), kind, x.dtype()};
  RL_LAUNCH(x.device(), "unary", unary_cpu(args), unary_cuda(args, cuda_stream(x.device())));
  return out;
}

}  // namespace

void unary_cpu(const UnaryArgs& args) {
  RL_DISPATCH_FLOAT(args.dtype, T, {
    const T* dy = static_cast<const T*>(args.dy);
    const T* x = static_cast<const T*>(args.x);
    T* out = static_cast<T*>(args.out);
    ThreadPool::instance().parallel_for(args.count, 8192, [&](int64_t begin, int64_t end) {
      float a[kBlock], b[kBlock], c[kBlock];
      for (int64_t i = begin; i < end; i += kBlock) {
        const int64_t n = std::min(kBlock, end - i);
        float* y = target(out + i, c);
        if (dy == nullptr) {
          forward(args.kind, widen(x + i, a, n), y, n);
        } else {
          backward(args.kind, widen(dy + i, b, n), widen(x + i, a, n), y, n);
        }
        narrow(y, out + i, n);
      }
    });
  });
}

Tensor unary(const Tensor& x, const std::string& kind) {
  const UnaryKind op = kind_from_name(kind);
  check_float("unary", "x", x);
  return launch(Tensor{}, x, op);
}

Tensor unary_bwd(const Tensor& dy, const Tensor& x, const std::string& kind) {
  const UnaryKind op = kind_from_name(kind);
  check_float("unary_bwd", "x", x);
  check_shape("unary_bwd", "dy", dy, x.shape(), x);
  check_like("unary_bwd", "dy", dy, x);
  return launch(dy, x, op);
}

RL_OP(unary);
RL_OP(unary_bwd);

}  // namespace rl
