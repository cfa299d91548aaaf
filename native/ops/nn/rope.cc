#include "native/ops/nn/rope.h"

#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

template <class T>
RL_VECTORIZED void rotate_neighbours(const T* x, const float* c, const float* s, T* y, int64_t pairs, float direction) {
  for (int64_t j = 0; j < pairs; ++j) {
    const float a = to_float(x[2 * j]), b = to_float(x[2 * j + 1]), sine = s[j] * direction;
    y[2 * j] = from_float<T>(a * c[j] - b * sine);
    y[2 * j + 1] = from_float<T>(a * sine + b * c[j]);
  }
}

template <class T>
RL_VECTORIZED void rotate_blocks(const T* x, const float* c, const float* s, T* y, int64_t dim, int64_t half, float direction) {
  for (int64_t first = 0; first < dim; first += 2 * half) {
    for (int64_t j = 0; j < half; ++j) {
      const int64_t p = first + j, column = first / 2 + j;
      const float a = to_float(x[p]), b = to_float(x[p + half]), sine = s[column] * direction;
      y[p] = from_float<T>(a * c[column] - b * sine);
      y[p + half] = from_float<T>(a * sine + b * c[column]);
    }
  }
}

}  // namespace

void rope_cpu(const RopeArgs& a) {
  RL_DISPATCH_FLOAT(a.dtype, T, {
    ThreadPool::instance().parallel_for(a.batch * a.length, grain_for(a.heads * a.dim), [&](int64_t begin, int64_t end) {
      for (int64_t token = begin; token < end; ++token) {
        const float* c = a.cosine + token % a.length * (a.dim / 2);
        const float* s = a.sine + token % a.length * (a.dim / 2);
        for (int64_t head = 0; head < a.heads; ++head) {
          const int64_t at = (token * a.heads + head) * a.dim;
          const T* x = static_cast<const T*>(a.x) + at;
          T* y = static_cast<T*>(a.y) + at;
          if (a.block == 2) rotate_neighbours(x, c, s, y, a.dim / 2, a.direction);
          else rotate_blocks(x, c, s, y, a.dim, a.block / 2, a.direction);
        }
      }
    });
  });
}

Tensor rope(const Tensor& x, const Tensor& cosine, const Tensor& sine, int64_t block, bool inverse) {
  check_float("rope", "x", x);
  check_rank("rope", "x", x, 4);
  const int64_t dim = x.size(3);
  RL_CHECK(block >= 2 && block % 2 == 0 && dim % block == 0, code::kShape,
           "rope: block must be even and divide the head dimension ", dim, ", got ", block, " (x is ", x.shape(), ")");
  check_shape("rope", "cos", cosine, {x.size(1), dim / 2}, x);
  check_shape("rope", "sin", sine, {x.size(1), dim / 2}, x);
  check_dtype("rope", "cos", cosine, DType::f32);
  check_dtype("rope", "sin", sine, DType::f32);
  check_device("rope", "cos", cosine, x);
  check_device("rope", "sin", sine, x);
  Tensor y = Tensor::empty(x.device(), x.shape(), x.dtype());
  const RopeArgs args{x.data(), cosine.as<float>(), sine.as<float>(), y.data(), x.size(0), x.size(1), x.size(2), dim,
                      block, inverse ? -1.0f : 1.0f, x.dtype()};
  RL_LAUNCH(x.device(), "rope", rope_cpu(args), rope_cuda(args, cuda_stream(x.device())));
  return y;
}

RL_OP(rope);

}  // namespace rl
