#include "native/ops/conv/group_norm.h"

#include <cmath>

#include "native/backend/cpu/gemm_kernels.h"
#include "native/backend/cpu/vec_math.h"
#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

// Elements per step: the buffers of a step stay in L1, and f32 sums are added up in f64 after each.
constexpr int64_t kStep = 512;

template <class T>
RL_VECTORIZED float sum_step(const T* x, int64_t count) {
  float lanes[32] = {};
  const int64_t whole = count / 32 * 32;
  for (int64_t i = 0; i < whole; i += 32)
    for (int k = 0; k < 32; ++k) lanes[k] += to_float(x[i + k]);
  float sum = 0;
  for (float lane : lanes) sum += lane;
  for (int64_t i = whole; i < count; ++i) sum += to_float(x[i]);
  return sum;
}

template <class T>
RL_VECTORIZED float square_step(const T* x, float mean, int64_t count) {
  float lanes[32] = {};
  const int64_t whole = count / 32 * 32;
  for (int64_t i = 0; i < whole; i += 32)
    for (int k = 0; k < 32; ++k) {
      const float d = to_float(x[i + k]) - mean;
      lanes[k] += d * d;
    }
  float sum = 0;
  for (float lane : lanes) sum += lane;
  for (int64_t i = whole; i < count; ++i) sum += (to_float(x[i]) - mean) * (to_float(x[i]) - mean);
  return sum;
}

// sum dz and sum dz (x - mean).
template <class T>
RL_VECTORIZED void product_step(const float* dz, const T* x, float mean, int64_t count, float* sum, float* product) {
  float lanes[16] = {}, products[16] = {};
  const int64_t whole = count / 16 * 16;
  for (int64_t i = 0; i < whole; i += 16)
    for (int k = 0; k < 16; ++k) {
      lanes[k] += dz[i + k];
      products[k] += dz[i + k] * (to_float(x[i + k]) - mean);
    }
  float s = 0, p = 0;
  for (int k = 0; k < 16; ++k) s += lanes[k], p += products[k];
  for (int64_t i = whole; i < count; ++i) s += dz[i], p += dz[i] * (to_float(x[i]) - mean);
  *sum = s;
  *product = p;
}

// out = (x - mean) * scale + shift: the difference first, so that a large mean does not cancel digits.
template <class T, class U>
RL_VECTORIZED void affine_step(const T* x, float mean, float scale, float shift, U* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = from_float<U>((to_float(x[i]) - mean) * scale + shift);
}

template <class T>
RL_VECTORIZED void copy_step(const float* x, T* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = from_float<T>(x[i]);
}

template <class T>
RL_VECTORIZED void load_step(const T* x, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = to_float(x[i]);
}

// dx = dz * a + (x - mean) * b + c.
template <class T>
RL_VECTORIZED void combine_step(const float* dz, const T* x, float mean, float a, float b, float c, T* dx,
    int64_t count) {
  for (int64_t i = 0; i < count; ++i) dx[i] = from_float<T>(dz[i] * a + ((to_float(x[i]) - mean) * b + c));
}

template <class T>
void forward_group(const GroupNormArgs& a, int64_t b, int64_t g) {
  const int64_t width = a.channels / a.groups, count = width * a.pixels;
  const int64_t base = (b * a.channels + g * width) * a.pixels;
  const T* x = static_cast<const T*>(a.x) + base;
  T* y = static_cast<T*>(a.y) + base;
  double sum = 0, square = 0;
  for (int64_t i = 0; i < count; i += kStep) sum += sum_step(x + i, std::min(kStep, count - i));
  const auto mean = static_cast<float>(sum / static_cast<double>(count));
  for (int64_t i = 0; i < count; i += kStep) square += square_step(x + i, mean, std::min(kStep, count - i));
  const auto rstd = static_cast<float>(1 / std::sqrt(square / static_cast<double>(count) + a.eps));
  a.stats[(b * a.groups + g) * 2] = mean;
  a.stats[(b * a.groups + g) * 2 + 1] = rstd;
  float z[kStep];
  for (int64_t c = 0; c < width; ++c, x += a.pixels, y += a.pixels) {
    const float scale = rstd * to_float(static_cast<const T*>(a.weight)[g * width + c]);
    const float shift = to_float(static_cast<const T*>(a.bias)[g * width + c]);
    for (int64_t i = 0; i < a.pixels; i += kStep) {
      const int64_t n = std::min(kStep, a.pixels - i);
      if (!a.silu) {
        affine_step(x + i, mean, scale, shift, y + i, n);
        continue;
      }
      affine_step(x + i, mean, scale, shift, z, n);
      cpu::vactivation(cpu::Activation::silu, z, z, n);
      copy_step(z, y + i, n);
    }
  }
}

template <class T>
void backward_group(const GroupNormBwdArgs& a, int64_t b, int64_t g) {
  thread_local cpu::Workspace buffer;
  const int64_t width = a.channels / a.groups, count = width * a.pixels;
  const int64_t base = (b * a.channels + g * width) * a.pixels;
  const T* x = static_cast<const T*>(a.x) + base;
  const T* dy = static_cast<const T*>(a.dy) + base;
  T* dx = static_cast<T*>(a.dx) + base;
  const float mean = a.stats[(b * a.groups + g) * 2], rstd = a.stats[(b * a.groups + g) * 2 + 1];
  float* dz = buffer.floats(count);
  float z[kStep];
  double sum_g = 0, sum_gx = 0;
  for (int64_t c = 0; c < width; ++c) {
    const float weight = to_float(static_cast<const T*>(a.weight)[g * width + c]);
    const float shift = to_float(static_cast<const T*>(a.bias)[g * width + c]);
    double sum = 0, product = 0;
    for (int64_t i = 0; i < a.pixels; i += kStep) {
      const int64_t n = std::min(kStep, a.pixels - i), at = c * a.pixels + i;
      load_step(dy + at, dz + at, n);
      if (a.silu) {
        affine_step(x + at, mean, rstd * weight, shift, z, n);
        cpu::vactivation_grad(cpu::Activation::silu, z, dz + at, dz + at, n);
      }
      float s, p;
      product_step(dz + at, x + at, mean, n, &s, &p);
      sum += s;
      product += p;
    }
    product *= rstd;
    if (a.partial != nullptr) {
      a.partial[b * a.channels + g * width + c] = static_cast<float>(product);
      a.partial[(a.batch + b) * a.channels + g * width + c] = static_cast<float>(sum);
    }
    sum_g += weight * sum;
    sum_gx += weight * product;
  }
  const double scale = rstd / static_cast<double>(count);
  const auto along = static_cast<float>(-scale * rstd * sum_gx), shift = static_cast<float>(-scale * sum_g);
  for (int64_t c = 0; c < width; ++c) {
    const float weight = rstd * to_float(static_cast<const T*>(a.weight)[g * width + c]);
    const int64_t at = c * a.pixels;
    combine_step(dz + at, x + at, mean, weight, along, shift, dx + at, a.pixels);
  }
}

}  // namespace

void group_norm_cpu(const GroupNormArgs& a) {
  if (a.channels == 0 || a.pixels == 0) return;
  RL_DISPATCH_FLOAT(a.dtype, T, {
    ThreadPool::instance().parallel_for(a.batch * a.groups, grain_for(a.channels / a.groups * a.pixels),
        [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) forward_group<T>(a, i / a.groups, i % a.groups);
    });
  });
}

void group_norm_bwd_cpu(const GroupNormBwdArgs& a) {
  RL_DISPATCH_FLOAT(a.dtype, T, {
    if (a.channels > 0 && a.pixels > 0) {
      ThreadPool::instance().parallel_for(a.batch * a.groups, grain_for(a.channels / a.groups * a.pixels),
          [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) backward_group<T>(a, i / a.groups, i % a.groups);
      });
    }
    if (a.dweight == nullptr) return;
    for (int64_t c = 0; c < a.channels; ++c) {
      float weight = 0, bias = 0;
      for (int64_t b = 0; b < a.batch && a.pixels > 0; ++b) {
        weight += a.partial[b * a.channels + c];
        bias += a.partial[(a.batch + b) * a.channels + c];
      }
      static_cast<T*>(a.dweight)[c] = from_float<T>(weight);
      static_cast<T*>(a.dbias)[c] = from_float<T>(bias);
    }
  });
}

namespace {

void check(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t groups) {
  check_float(op, "x", x);
  RL_CHECK(x.rank() >= 2, code::kShape, op, ": expected x [B,C,...], got ", x.shape());
  RL_CHECK(groups >= 1 && x.size(1) % groups == 0, code::kShape, op, ": ", x.size(1), " channels cannot be cut into ",
           groups, " groups (x is ", x.shape(), ")");
  check_shape(op, "weight", weight, {x.size(1)}, x);
  check_shape(op, "bias", bias, {x.size(1)}, x);
  check_like(op, "weight", weight, x);
  check_like(op, "bias", bias, x);
}

}  // namespace

std::vector<Tensor> group_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t groups, double eps,
    bool silu) {
  check("group_norm", x, weight, bias, groups);
  Tensor y = Tensor::empty(x.device(), x.shape(), x.dtype());
  Tensor stats = Tensor::empty(x.device(), {x.size(0), groups, 2});
  Tensor partial;
  if (x.device().is_cuda()) partial = Tensor::empty(x.device(), {2, x.size(0), x.size(1)});
  const GroupNormArgs args{x.data(), weight.data(), bias.data(), y.data(), stats.as<float>(), partial.as<float>(),
      x.size(0), x.size(1),
                           x.shape().numel(2, x.rank()), groups, eps, silu, x.dtype()};
  RL_LAUNCH(x.device(), "group_norm", group_norm_cpu(args), group_norm_cuda(args, cuda_stream(x.device())));
  return {y, stats};
}

std::vector<Tensor> group_norm_bwd(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& bias,
                                   const Tensor& stats, int64_t groups, bool silu, bool need_dweight) {
  check("group_norm_bwd", x, weight, bias, groups);
  check_shape("group_norm_bwd", "dy", dy, x.shape(), x);
  check_like("group_norm_bwd", "dy", dy, x);
  check_shape("group_norm_bwd", "stats", stats, {x.size(0), groups, 2}, x);
  check_dtype("group_norm_bwd", "stats", stats, DType::f32);
  Tensor dx = Tensor::empty(x.device(), x.shape(), x.dtype());
  Tensor dweight, dbias;
  // CUDA needs the sums for dx as well.
  Tensor partial = Tensor::empty(x.device(), {2, x.size(0), x.size(1)});
  if (need_dweight) {
    dweight = Tensor::empty(x.device(), weight.shape(), x.dtype());
    dbias = Tensor::empty(x.device(), weight.shape(), x.dtype());
  }
  const GroupNormBwdArgs args{dy.data(), x.data(), weight.data(), bias.data(), stats.as<float>(), dx.data(),
                              dweight.data(), dbias.data(), partial.as<float>(), x.size(0), x.size(1),
                              x.shape().numel(2, x.rank()), groups, silu, x.dtype()};
  RL_LAUNCH(x.device(), "group_norm_bwd", group_norm_bwd_cpu(args), group_norm_bwd_cuda(args, cuda_stream(x.device())));
  return {dx, dweight, dbias};
}

RL_OP(group_norm);
RL_OP(group_norm_bwd);

}  // namespace rl
