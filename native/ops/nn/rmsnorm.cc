#include "native/ops/nn/rmsnorm.h"

#include <algorithm>
#include <cmath>

#include "native/backend/cpu/bf16.h"
#include "native/core/thread_pool.h"
#include "native/ops/check.h"
#include "native/ops/dispatch.h"
#include "native/ops/registry.h"

namespace rl {

namespace {

// dweight is summed over this many fixed row blocks and then over the blocks, so its bits do not depend on the thread
// count.
constexpr int64_t kBlocks = 64;

template <class T>
RL_VECTORIZED void forward_rows(const T* x, const T* weight, T* y, int64_t begin, int64_t end, int64_t dim, float eps) {
  for (int64_t row = begin; row < end; ++row) {
    const T* xr = x + row * dim;
    T* yr = y + row * dim;
    float lanes[16] = {};
    const int64_t whole = dim / 16 * 16;
    for (int64_t i = 0; i < whole; i += 16)
      for (int k = 0; k < 16; ++k) lanes[k] += to_float(xr[i + k]) * to_float(xr[i + k]);
    float sum = 0;
    for (float lane : lanes) sum += lane;
    for (int64_t i = whole; i < dim; ++i) sum += to_float(xr[i]) * to_float(xr[i]);
    const float r = 1.0f / std::sqrt(sum / static_cast<float>(dim) + eps);
    for (int64_t i = 0; i < dim; ++i) yr[i] = from_float<T>(to_float(xr[i]) * r * to_float(weight[i]));
  }
}

template <class T>
RL_VECTORIZED void backward_rows(const T* dy, const T* x, const T* weight, T* dx, float* dweight, int64_t begin,
                                 int64_t end, int64_t dim, float eps) {
  for (int64_t row = begin; row < end; ++row) {
    const T* xr = x + row * dim;
    const T* dyr = dy + row * dim;
    T* dxr = dx + row * dim;
    float square = 0, product = 0;
    for (int64_t i = 0; i < dim; ++i) {
      const float v = to_float(xr[i]);
      square += v * v;
      product += to_float(dyr[i]) * to_float(weight[i]) * v;
    }
    const float r = 1.0f / std::sqrt(square / static_cast<float>(dim) + eps);
    const float along = product * r * r / static_cast<float>(dim);
    for (int64_t i = 0; i < dim; ++i)
      dxr[i] = from_float<T>(r * (to_float(dyr[i]) * to_float(weight[i]) - to_float(xr[i]) * along));
    if (dweight != nullptr)
      for (int64_t i = 0; i < dim; ++i) dweight[i] += to_float(dyr[i]) * to_float(xr[i]) * r;
  }
}

}  // namespace

void rmsnorm_cpu(const RmsnormArgs& a) {
  RL_DISPATCH_FLOAT(a.dtype, T, {
    ThreadPool::instance().parallel_for(a.rows, grain_for(a.dim), [&](int64_t begin, int64_t end) {
      forward_rows(static_cast<const T*>(a.x), static_cast<const T*>(a.weight), static_cast<T*>(a.y), begin, end, a.dim, a.eps);
    });
  });
}

void rmsnorm_bwd_cpu(const RmsnormBwdArgs& a) {
  RL_DISPATCH_FLOAT(a.dtype, T, {
    ThreadPool::instance().parallel_for(a.blocks, 1, [&](int64_t first, int64_t last) {
      for (int64_t block = first; block < last; ++block) {
        float* partial = a.dweight != nullptr ? a.partial + block * a.dim : nullptr;
        if (partial != nullptr) std::fill(partial, partial + a.dim, 0.0f);
        backward_rows(static_cast<const T*>(a.dy), static_cast<const T*>(a.x), static_cast<const T*>(a.weight),
                      static_cast<T*>(a.dx), partial, block * a.rows / a.blocks, (block + 1) * a.rows / a.blocks, a.dim, a.eps);
      }
    });
    if (a.dweight != nullptr) {
      for (int64_t i = 0; i < a.dim; ++i) {
        float sum = 0;
        for (int64_t block = 0; block < a.blocks; ++block) sum += a.partial[block * a.dim + i];
        static_cast<T*>(a.dweight)[i] = from_float<T>(sum);
      }
    }
  });
}

namespace {

void check(const char* op, const Tensor& x, const Tensor& weight) {
  check_float(op, "x", x);
  RL_CHECK(x.rank() >= 1, code::kShape, op, ": x must have at least one dimension");
  check_shape(op, "weight", weight, {x.size(-1)}, x);
  check_like(op, "weight", weight, x);
}

int64_t rows_of(const Tensor& x) { return x.shape().numel(0, x.rank() - 1); }

}  // namespace

Tensor rmsnorm(const Tensor& x, const Tensor& weight, double eps) {
  check("rmsnorm", x, weight);
  Tensor y = Tensor::empty(x.device(), x.shape(), x.dtype());
  const RmsnormArgs args{x.data(), weight.data(), y.data(), rows_of(x), x.size(-1), static_cast<float>(eps), x.dtype()};
  RL_LAUNCH(x.device(), "rmsnorm", rmsnorm_cpu(args), rmsnorm_cuda(args, cuda_stream(x.device())));
  return y;
}

std::vector<Tensor> rmsnorm_bwd(const Tensor& dy, const Tensor& x, const Tensor& weight, double eps, bool need_dweight) {
  check("rmsnorm_bwd", x, weight);
  check_shape("rmsnorm_bwd", "dy", dy, x.shape(), x);
  check_like("rmsnorm_bwd", "dy", dy, x);
  const int64_t rows = rows_of(x), dim = x.size(-1), blocks = std::clamp<int64_t>(rows, 1, kBlocks);
  Tensor dx = Tensor::empty(x.device(), x.shape(), x.dtype());
  Tensor dweight, partial;
  if (need_dweight) {
    dweight = Tensor::empty(x.device(), weight.shape(), weight.dtype());
    partial = Tensor::empty(x.device(), {blocks, dim});
  }
  const RmsnormBwdArgs args{dy.data(), x.data(), weight.data(), dx.data(), dweight.data(), partial.as<float>(),
                            rows, dim, blocks, static_cast<float>(eps), x.dtype()};
  RL_LAUNCH(x.device(), "rmsnorm_bwd", rmsnorm_bwd_cpu(args), rmsnorm_bwd_cuda(args, cuda_stream(x.device())));
  return {dx, dweight};
}

RL_OP(rmsnorm);
RL_OP(rmsnorm_bwd);

}  // namespace rl
